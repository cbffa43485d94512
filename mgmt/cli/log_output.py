"""Log messages on stderr, safe for a terminal."""

import logging

from mgmt.shown import safe


class _SafeFormatter(logging.Formatter):
    """A formatter that escapes: messages may contain names of files."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def show(verbose: int, *, quiet: bool) -> None:
    """Log warnings to stderr, errors only if `quiet`; with `verbose` 1 also what mgmt does, with 2 every request."""
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.ERROR if quiet else logging.WARNING)
        logging.lastResort.setFormatter(_SafeFormatter("%(message)s"))
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_SafeFormatter("%(name)s: %(message)s"))
        logging.basicConfig(handlers=[handler])
        # Only our own logger: at these levels, libraries may log credentials.
        logging.getLogger("mgmt").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
