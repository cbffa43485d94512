"""What is logged, as a terminal may have it."""

import logging

from mgmt.cli.render import safe


class _SafeFormatter(logging.Formatter):
    """What is logged may name a file."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def show(verbose: int) -> None:
    """Let warnings be seen on stderr; from 1 on what mgmt does, from 2 on every request."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_SafeFormatter("%(message)s"))
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_SafeFormatter("%(name)s: %(message)s"))
        logging.basicConfig(handlers=[handler])
        # Ours only: what a library logs at these levels may carry credentials.
        logging.getLogger("mgmt").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
