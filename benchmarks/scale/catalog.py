"""Times and sizes of a catalog with a million archives: `python -m benchmarks.scale.catalog URL ARCHIVES MEMBERS`.

The catalog at URL must be empty, or filled by an earlier run with the same numbers. Prints a row of a table for each
figure as soon as it is known.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from benchmarks.measure import Cost, run
from benchmarks.scale.fill import fill
from benchmarks.scale.others import add_others
from benchmarks.scale.rows import names
from benchmarks.store import directory_store
from mgmt.catalog import Database, open_catalog
from mgmt.catalog.db.engine import parse

MIB = 1 << 20
REBUILT, REBUILT_MEMBERS = 2_000, 100
"""Archives in a store from which a catalog is rebuilt, and members of each."""

VERIFY = """
import sys
from mgmt.catalog import open_catalog
assert not list(open_catalog(sys.argv[1]).audit.verification().findings())
"""


def main(arguments: list[str]) -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.catalog")
    parser.add_argument("url")
    parser.add_argument("archives", type=int)
    parser.add_argument("members", type=int, help="of each archive")
    parser.add_argument("--filled", action="store_true", help="measure only: an earlier run has filled it")
    parser.add_argument("--others", action="store_true", help="add nine operations of other types for each upload")
    parser.add_argument("--only", choices=("queries", "commands"))
    options = parser.parse_args(arguments)
    for what, figure in _figures(options):
        print(f"| {what} | {figure} |", flush=True)
    return 0


def _figures(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    url, archives, members = options.url, options.archives, options.members
    if not options.filled:
        began = time.monotonic()
        fill(url, archives, members, lambda _: None)
        yield "filled in bulk", f"{time.monotonic() - began:,.0f} s"
        if members:
            with closing(open_catalog(url)) as catalog:
                began = time.monotonic()
                catalog.members.index_names()
                yield "names indexed", f"{time.monotonic() - began:,.0f} s"
        if options.others:
            add_others(url, archives)
    yield from _sizes(url)
    if options.only != "commands":
        yield from _queries(url, archives, members)
    if options.only != "queries":
        yield from _commands(url, archives, members)


def _sizes(url: str) -> Iterator[tuple[str, str]]:
    with closing(Database(url)) as database:
        if database.path is not None:
            database.close()
            yield "size", f"{os.path.getsize(database.path) / MIB:,.0f} MiB"
            return
        with database.connection() as connection:
            size = connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
            yield "size", f"{size / MIB:,.0f} MiB"
            largest = (
                "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
                "ORDER BY pg_total_relation_size(oid) DESC LIMIT 6"
            )
            for name, rows, indexes in connection.execute(text(largest)):
                yield f"of that {name}", f"{rows / MIB:,.0f} MiB, indexes {indexes / MIB:,.0f} MiB"


def _queries(url: str, archives: int, members: int) -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "benchmarks.scale.queries", url, str(archives), str(members)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            if "peak_rss" in found:
                yield "peak memory of the queries", f"{found['peak_rss'] / MIB:,.0f} MiB"
                continue
            scans = f"; reads all of {', '.join(found['scans'])}" if found["scans"] else ""
            least, cpu, first = (_milliseconds(found[each]) for each in ("least", "cpu", "first"))
            yield found["what"], f"{least}, CPU {cpu}, first {first}{scans}"
    if process.returncode:
        raise SystemExit(f"the queries failed with {process.returncode}")


def _commands(url: str, archives: int, members: int) -> Iterator[tuple[str, str]]:
    """Whole processes, with their peak memory."""
    some = names(archives // 2, members)
    commands = [
        ["ls"],
        ["log"],
        ["report"],
        ["report", "--html", "-"],
        ["metrics", "-"],
        ["search", "Lisbon"],
        ["search", "no such name"],
        ["db", "check"],
    ]
    if members:
        commands.insert(1, ["ls", "--members", some.key])
    with tempfile.TemporaryDirectory(prefix="mgmt-scale-") as temporary:
        home = Path(temporary)
        for command in commands:
            yield f"`mgmt {' '.join(command)}`", as_text(_mgmt(url, home, "file:///srv/bench/archive", *command))
        # Not the command: it looks for anchors in the store, which is not there.
        yield (
            "verify the history",
            as_text(run([sys.executable, "-c", VERIFY, url], cwd=Path.cwd(), environment=os.environ)),
        )
        store = f"file://{directory_store(home / 'store', REBUILT, REBUILT_MEMBERS)}"
        empty = f"sqlite:///{home}/empty.db" if parse(url).get_backend_name() == "sqlite" else None
        for where, catalog in (("into an empty catalog", empty), ("into this one", url)):
            if catalog is None:
                continue
            cost = _mgmt(catalog, home, store, "db", "rebuild")
            rate = REBUILT * REBUILT_MEMBERS / cost.seconds
            yield (
                f"`mgmt db rebuild` of {REBUILT:,} archives with {REBUILT_MEMBERS} members each, {where}",
                f"{as_text(cost)}: {rate:,.0f} members a second",
            )


def _mgmt(url: str, home: Path, store: str, *command: str) -> Cost:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MGMT_", "XDG_"))}
    environment = {**own, "HOME": str(home), "MGMT_STORE": store, "MGMT_CATALOG": url}
    return run([sys.executable, "-m", "mgmt", "-q", *command], cwd=Path.cwd(), environment=environment)


def as_text(cost: Cost) -> str:
    """Seconds, CPU seconds of the client, and its peak memory."""
    return f"{cost.seconds:,.1f} s, CPU {cost.cpu_seconds:,.1f} s, {cost.peak_rss / MIB:,.0f} MiB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
