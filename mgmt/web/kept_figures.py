"""The figures of the report, kept for a while: to make them may take seconds."""

import threading
import time
from collections.abc import Callable

from mgmt.catalog import Catalog, ReadOnly
from mgmt.services.browse import look
from mgmt.services.steps.figures import Report

SECONDS = 60.0
"""How long the same figures are shown."""


class KeptFigures:
    """Figures of one catalog. Threads that ask while they are made wait for them."""

    def __init__(self, catalog: ReadOnly, gather: Callable[[Catalog], Report]) -> None:
        self._catalog = catalog
        self._gather = gather
        self._kept: tuple[Report, float] | None = None
        self._making = threading.Lock()

    def report(self) -> Report:
        """The figures, at most `SECONDS` old. Raises CatalogError."""
        with self._making:
            if self._kept is not None and time.monotonic() < self._kept[1]:
                return self._kept[0]
            with look(self._catalog) as catalog:
                report = self._gather(catalog)
            self._kept = report, time.monotonic() + SECONDS
            return report
