"""Requests that wait for another machine, where no worker seems to run."""

from datetime import UTC, datetime, timedelta

from mgmt.catalog import Catalog, stranded
from mgmt.words import shell_word

WAITING = timedelta(hours=1)
"""How long work may wait until somebody should look whether a worker runs."""


def waiting_elsewhere(catalog: Catalog) -> list[tuple[str, str]]:
    """What waits for each machine where nothing has run for an hour, and the commands that mend it."""
    found = []
    for each in stranded(catalog.database, datetime.now(UTC) - WAITING):
        what = "1 operation waits" if each.count == 1 else f"{each.count} operations wait"
        ran = "has ever run" if each.last_seen is None else f"has run since {each.last_seen:%Y-%m-%d %H:%M} UTC"
        move = f"mgmt queue --move-from {shell_word(each.host)}"
        next_step = f"mgmt worker\n# on {each.host}; or, if that is the former name of this machine: {move}"
        found.append((f"{what} for a worker on {each.host}, where nothing {ran}", next_step))
    return found
