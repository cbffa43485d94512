"""The file of metrics, written at the end of a command that has changed the catalog."""

from typing import TYPE_CHECKING

from mgmt.errors import MgmtError
from mgmt.progress import Progress
from mgmt.signals import finish_first

if TYPE_CHECKING:
    from mgmt.catalog import Catalog

SECONDS = 5.0
"""How long a command takes longer, at most, for its metrics."""


class MetricsFile:
    """The file at `path`, which the setting metrics_file names."""

    def __init__(self, path: str, catalog: "Catalog") -> None:
        self._path = path
        self._catalog = catalog
        self._has_changed = False
        catalog.database.listen("after_commit", self._note, everywhere=True)

    def _note(self, _session: object) -> None:
        self._has_changed = True

    def finish(self, progress: Progress) -> None:
        """Write the file if this process has changed the catalog, and the file is due. Raises nothing."""
        if not self._has_changed:
            return
        finish_first()  # the work is done, and its exit status says so
        from mgmt.services.metrics import is_due, metrics, write

        try:
            if is_due(self._path):
                write(self._path, metrics(self._catalog, within=SECONDS))
        except MgmtError as error:
            progress.note(f"warning: no metrics were written: {error.message}")
