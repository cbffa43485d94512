"""A history moves to PostgreSQL: `python -m benchmarks.scale history [UPLOADS...]`, each a multiple of a thousand.

`mgmt db export` from SQLite, and `mgmt db import` into a new database of a server of our own, as whole processes. The
CPU seconds of the server are those of its processes that have ended.
"""

import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks.measure import run
from benchmarks.scale.catalog import as_text
from benchmarks.scale.fill import fill
from mgmt.catalog import open_catalog
from tests.postgresql import own_postgresql


def main(counts: list[int]) -> None:
    """Print a row of a table for each."""
    with own_postgresql("fsync=on", "shared_buffers=512MB", "max_wal_size=2GB") as server:
        assert server.process is not None
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="mgmt-scale-") as temporary, server.database() as target:
                folder = Path(temporary)
                source, export = f"sqlite:///{folder}/catalog.db", folder / "history.jsonl.gz"
                fill(source, count, 0, lambda _: None)
                with closing(open_catalog(target)) as catalog:
                    catalog.metadata.list_files()  # creates its schema
                before = _ended(server.process.pid)
                for url, *command in ((source, "export"), (target, "import")):
                    environment = {**os.environ, "HOME": temporary, "MGMT_CATALOG": url}
                    done = [sys.executable, "-m", "mgmt", "-q", "db", *command, str(export)]
                    cost = run(done, cwd=folder, environment=environment)
                    print(f"| `db {command[0]}` of {count:,} uploads | {as_text(cost)} |", flush=True)
                print(f"| the server's CPU for the import | {_ended(server.process.pid) - before:,.1f} s |", flush=True)


def _ended(server: int) -> float:
    """The CPU seconds of the children of `server` that have ended."""
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [20_000])
