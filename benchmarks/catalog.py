"""The catalog, from ten thousand to ten million members, against plain SQLite."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import history, plain
from benchmarks.bench import MIB, Bench, Row
from benchmarks.collection import archive
from benchmarks.measure import Cost, run
from benchmarks.recorder import a_record
from benchmarks.store import directory_store
from mgmt.archive.member import Member
from mgmt.catalog import Catalog, open_catalog

ARCHIVES = (1, 10, 100, 1000)
MEMBERS = 10_000
"""Of each archive, so that there are ten thousand to ten million."""

MILLION = 1_000_000
PAGE, LAST_PAGE = 50, 10_000
WRITERS, WRITING = 16, 10.0
LIKE = "a LIKE scan of one row a member"

KEYWORDS = {
    "of one day on a phone": "IMG_20190714_15",
    "of one camera": "DSC04711",
    "in a third of all names": ".jpg",
    "in source code": "mailer_query",
    "in the name of a folder": "Lisbon and the Alentejo",
    "that nothing has": "no such name",
}


def rows(bench: Bench) -> Iterator[Row]:
    """In this process, which imports and opens the catalog once, unless a row states otherwise."""
    with bench.scratch() as folder:
        yield from _recording(bench, folder)
    with bench.scratch() as folder:
        yield from _growing(bench, folder)
    with bench.scratch() as folder:
        yield from _pages(bench, folder)
    with bench.scratch() as folder:
        yield from _rebuilding(bench, folder)


def _recording(bench: Bench, folder: Path) -> Iterator[Row]:
    """The same rows in the same tables, in one transaction, written from memory."""
    facts = [each for n in range(10) for each in archive(n, bench.scaled(MILLION) // 10)]
    with _catalog(folder / "schema.db") as catalog:
        a_record(catalog, "any.tar.gz")
    schema, statements = _as_statements(folder / "schema.db", facts)
    ours, theirs = [], []
    for number in range(bench.runs):
        with _catalog(folder / f"{number}.db") as catalog:
            ours.append(_seconds(partial(catalog.members.record, a_record(catalog, "any.tar.gz").id, facts)))
        theirs.append(plain.insert(folder / "plain.db", schema, statements))
    ratio = median(theirs) / median(ours)
    yield Row(
        "record a million members", "sqlite3 executemany", median(ours), median(theirs), "s", f"{ratio:.2f}×", "≥ 0.9×",
        ratio >= 0.9, f"{len(facts):,} rows, one transaction, the same tables, indexes and PRAGMAs",
    )  # fmt: skip
    facts.clear()
    small, large = (_recorder(bench, folder / f"{n}.db", 0, 1, bench.scaled(n)) for n in (MILLION // 10, MILLION))
    growth = large.peak_rss / small.peak_rss
    yield Row(
        "memory for it", "a hundred thousand", large.peak_rss / MIB, small.peak_rss / MIB, "MiB", f"{growth:.2f}×",
        "≤ 1.1×", growth <= 1.1, "a process of its own",
    )  # fmt: skip


def _as_statements(path: Path, facts: list[Member]) -> tuple[list[str], list[tuple[str, list[tuple[object, ...]]]]]:
    """The tables that members need, and their rows."""
    tables = ("files", "operations", "directories", "members", "member_ranges", "directory_archives")
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        schema = [sql for table, sql in made if table in tables]
        files = connection.execute("SELECT * FROM files").fetchall()
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(members)") if name != "id"]
    ids: dict[str, int] = {}
    rows = []
    for fact in facts:
        folder, _, name = fact.path.rpartition("/")
        values = {
            "archive_id": 1, "directory_id": ids.setdefault(folder, len(ids) + 1), "name": name, "type": fact.type,
            "mode": fact.mode, "size": fact.size, "mtime_ns": fact.mtime_ns, "header_offset": fact.header_offset,
            "data_offset": fact.data_offset, "sha256": fact.sha256,
        }  # fmt: skip
        rows.append(tuple(values.get(column) for column in columns))
    statements: list[tuple[str, list[tuple[object, ...]]]] = [
        (f"INSERT INTO files VALUES ({', '.join('?' * len(files[0]))})", files),
        ("INSERT INTO directories (path, id) VALUES (?, ?)", list(ids.items())),
        ("INSERT INTO directory_archives (directory_id, archive_id) VALUES (?, 1)", [(id_,) for id_ in ids.values()]),
        (f"INSERT INTO members ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows),
    ]
    return schema, statements


def _growing(bench: Bench, folder: Path) -> Iterator[Row]:
    """A growing catalog and its peer; both are searched at each size, and written concurrently at the end."""
    count, path, peer = bench.scaled(MEMBERS), folder / "catalog.db", folder / "plain.db"
    for first, last in zip((0, *ARCHIVES), ARCHIVES, strict=False):
        _recorder(bench, path, first, last, count)
        plain.add(peer, first, last, count)
        with _catalog(path) as catalog:
            searches = {what: _warm(partial(catalog.members.search, keyword)) for what, keyword in KEYWORDS.items()}
            in_the_middle = catalog.members.list(last // 2 + 1, limit=count // 2)[-1]
            page = _warm(partial(catalog.members.list, in_the_middle.archive_id, after=in_the_middle.id))
        scan = plain.search(peer, KEYWORDS["that nothing has"])
        for line, seconds in (("search", max(searches.values())), ("ls --members", page), ("a LIKE scan", scan)):
            bench.point("rows", line, last * count, seconds)
    yield from _searches(searches, scan)
    bytes_, theirs = os.path.getsize(path), os.path.getsize(peer)
    ratio = bytes_ / theirs
    yield Row(
        "bytes for ten million members", "one row with the full path each", bytes_ / MIB, theirs / MIB, "MiB",
        f"{ratio:.3f}×", "≤ 0.45×", ratio <= 0.45, "with the index of names; the peer has an index of paths",
    )  # fmt: skip
    yield from _writers(bench, path)


def _searches(searches: dict[str, float], scan: float) -> Iterator[Row]:
    for what, seconds in searches.items():
        ratio = seconds / scan
        yield Row(
            f"search ten million members for a keyword {what}", LIKE, seconds * 1000, scan * 1000, "ms",
            f"1/{scan / seconds:,.0f}", "≤ 1/100 and < 20 ms", ratio <= 0.01 and seconds < 0.02,
            f"{KEYWORDS[what]!r}, 50 at most",
        )  # fmt: skip


def _writers(bench: Bench, path: Path) -> Iterator[Row]:
    """Processes that record uploads of a few files as fast as they can."""
    os.sync()  # so that no flush waits for gigabytes written by the peer
    seconds = WRITING / 10 if bench.quick else WRITING
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.writer", f"sqlite:///{path}", str(number), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # wait until it is ready, so that no start is measured
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate() for process in running]
    errors = [text.splitlines()[-1] for (_, text), each in zip(answers, running, strict=True) if each.returncode]
    done = [answer.split() for answer, _ in answers if answer]
    longest = max((float(each) for _, each in done), default=0.0)
    yield Row(
        f"the longest of all writes, {WRITERS} processes", "", longest, None, "s", "", "≤ 1 s, no error",
        longest <= 1 and not errors,
        f"{sum(int(each) for each, _ in done):,} uploads in {seconds:.0f} s; {len(errors)} errors {errors[:1] or ''}",
    )  # fmt: skip


@dataclass(frozen=True)
class _List:
    """A list of the catalog, read in pages."""

    what: str
    page: Callable[[Any], object]
    """Takes the value of the column `key` in the last row of the previous page, or None."""
    key: str
    of: str
    """The rows of the list in SQL, in its order."""


def _pages(bench: Bench, folder: Path) -> Iterator[Row]:
    count, page = bench.scaled(MILLION), bench.scaled(LAST_PAGE)
    path = folder / "catalog.db"
    with _catalog(path) as catalog:
        members = a_record(catalog, "members.tar.gz")
        catalog.members.record(members.id, archive(0, count))
        history.fill(path, count * 2)
        metadata = catalog.metadata
        lists = (
            _List("log", lambda after: metadata.list_operations(after=after), "operation_id",
                  "operations ORDER BY seq DESC"),
            _List("ls", lambda after: metadata.list_files(after=after, deleted=False), "id",
                  "files ORDER BY path, id"),
            _List("ls --members", lambda after: catalog.members.list(members.id, after=after), "id",
                  f"members WHERE archive_id = {members.id} ORDER BY id"),
        )  # fmt: skip
        with closing(sqlite3.connect(path)) as connection:
            for each in lists:
                last = f"SELECT {each.key} FROM {each.of} LIMIT 1 OFFSET {(page - 1) * PAGE - 1}"
                (after,) = connection.execute(last).fetchone()
                first, far = _warm(partial(each.page, None)), _warm(partial(each.page, after))
                yield Row(
                    f"page {page:,} of `{each.what}`", "page 1", far * 1000, first * 1000, "ms", f"{far / first:.2f}×",
                    "≤ 1.5×", far <= 1.5 * first, f"{PAGE} of {count:,} or more",
                )  # fmt: skip
            joined = _warm(lambda: connection.execute(_JOIN).fetchall())
        loaded = _warm(lambda: _uncached(catalog, metadata.list_operations))
        yield Row(
            "`log` of 50 mixed operations", "one join in plain sqlite3", loaded * 1000, joined * 1000, "ms", "",
            "≤ 4 ms", loaded <= 0.004, f"of {2 * count:,}; as records, none of which was in memory",
        )  # fmt: skip


_JOIN = (
    "SELECT * FROM operations LEFT JOIN uploads USING (operation_id) LEFT JOIN downloads USING (operation_id)"
    " LEFT JOIN searches USING (operation_id) LEFT JOIN verifications USING (operation_id) ORDER BY seq DESC LIMIT 50"
)


def _rebuilding(bench: Bench, folder: Path) -> Iterator[Row]:
    """Rebuild the catalog from the indexes in a directory, in a whole process."""
    costs = []
    for archives in (1, 10):
        store = directory_store(folder / f"store-{archives}", archives, bench.scaled(MILLION // 10))
        costs.append(
            run(
                [sys.executable, "-m", "mgmt", "-q", "db", "rebuild"],
                cwd=folder,
                environment={
                    **os.environ,
                    "HOME": str(folder),
                    "MGMT_STORE": f"file://{store}",
                    "MGMT_CATALOG": f"sqlite:///{folder}/{archives}.db",
                },
            )
        )
    small, large = costs
    ratio = large.seconds / small.seconds / 10
    note = f"peak memory {large.peak_rss / MIB:.0f} MiB, and {small.peak_rss / MIB:.0f} MiB for a tenth of them"
    yield Row(
        "`db rebuild` of a million members", "ten times that of a tenth", large.seconds, small.seconds * 10, "s",
        f"{ratio:.2f}×", "≤ 1.25×, memory flat", ratio <= 1.25 and large.peak_rss <= 1.1 * small.peak_rss, note,
    )  # fmt: skip


def _recorder(bench: Bench, path: Path, first: int, last: int, count: int) -> Cost:
    numbers = map(str, (first, last, count))
    return run(
        [sys.executable, "-m", "benchmarks.recorder", f"sqlite:///{path}", *numbers],
        cwd=Path.cwd(),
        environment=os.environ,
    )


@contextmanager
def _catalog(path: Path) -> Iterator[Catalog]:
    catalog = open_catalog(f"sqlite:///{path}")
    try:
        yield catalog
    finally:
        catalog.close()


def _uncached(catalog: Catalog, work: Callable[[], object]) -> None:
    with catalog.database.reading() as session:
        session.expunge_all()
    work()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _warm(work: Callable[[], object], times: int = 15) -> float:
    """The median of several runs, after a warm-up."""
    work()
    return median(_seconds(work) for _ in range(times))
