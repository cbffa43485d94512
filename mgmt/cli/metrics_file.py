"""The file of metrics, written at the end of a command that has changed the catalog."""

from typing import TYPE_CHECKING

from mgmt.errors import Interrupted, MgmtError
from mgmt.progress import Progress
from mgmt.signals import finish_first, may_stop

if TYPE_CHECKING:
    from mgmt.catalog import Catalog
    from mgmt.config import Settings

SECONDS = 5.0
"""How long a command takes longer, at most, for its metrics."""


class MetricsFile:
    """The file at `path`, which the setting metrics_file of these `settings` names."""

    def __init__(self, path: str, settings: "Settings", catalog: "Catalog") -> None:
        self._path = path
        self._settings = settings
        self._catalog = catalog
        self._has_changed = False
        catalog.database.listen("after_commit", self._note, everywhere=True)

    def _note(self, _session: object) -> None:
        self._has_changed = True

    def finish(self, progress: Progress) -> None:
        """Write the file if this process has changed the catalog, and the file is due. Raises nothing.

        The work is done, and its exit status says so. A signal, also one that waited for the work, ends only this.
        """
        if not self._has_changed:
            return
        try:
            may_stop()
            self._write()
        except Interrupted:
            finish_first()
            progress.note("warning: no metrics were written: interrupted")
        except MgmtError as error:
            progress.note(f"warning: no metrics were written: {error.message}")
        finally:
            finish_first()

    def _write(self) -> None:
        from mgmt.services.metrics import is_due, metrics, write
        from mgmt.services.steps.overlaps import refuse_output

        if is_due(self._path):
            refuse_output(self._path, self._settings, self._catalog)
            write(self._path, metrics(self._catalog, within=SECONDS))
