"""What a person waits for, in a large catalog: `python -m benchmarks.scale.queries URL ARCHIVES MEMBERS`.

Each query runs in this process, several times: the first, with what the database has in memory by chance, and the
fastest, in seconds and in CPU seconds, which depend less on what else the machine does. These include a PostgreSQL
server on this machine, but not its parallel workers. One line of JSON for each, with the tables that its plan reads
whole. The last line is the peak memory.
"""

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from benchmarks.scale.rows import BEGAN, EVERY, HOST, STORE, Names, names
from mgmt.catalog import Catalog, FileFilter, Location, Scope, archive_keys, open_catalog
from mgmt.errors import MgmtError, StoreUnavailableError
from mgmt.progress import NoProgress
from mgmt.services.metrics import metrics
from mgmt.services.report import gather
from mgmt.services.search import Query, search
from mgmt.services.status import status
from mgmt.services.steps.context import Context

MOST, LONGEST = 8, 6.0
"""Runs of a query, and the seconds after which there are no more."""

_SCAN = re.compile(r"(?:^SCAN (\w+)|Seq Scan on (\w+))")
_SORT = re.compile(r"USE TEMP B-TREE FOR ORDER BY|^\s*->\s+Sort")

Queries = dict[str, Callable[[], object]]


def main(url: str, archives: int, members: int) -> None:
    """Run all queries, each within a time that a person waits."""
    with closing(open_catalog(url)) as catalog:
        for what, query in _queries(catalog, archives, members).items():
            cpu_seconds = _clock(catalog)
            runs = [_seconds(query, cpu_seconds)]
            while len(runs) < MOST and sum(each for each, _ in runs) < LONGEST:
                runs.append(_seconds(query, cpu_seconds))
            least, cpu = (min(each) for each in zip(*runs, strict=True))
            scans = sorted(set(_plan(catalog, query))) if runs[0][0] < 60 else []
            line = {"what": what, "first": runs[0][0], "least": least, "cpu": cpu, "scans": scans}
            print(json.dumps(line), flush=True)
    print(json.dumps({"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def _queries(catalog: Catalog, archives: int, members: int) -> Queries:
    some = names(archives // 2, members)
    operations, files = _lists(catalog, some, archives)
    names_of = {**_names(catalog, some), **_lookups(catalog, some)}
    names_of |= {"report": lambda: gather(catalog), "metrics": lambda: metrics(catalog)}
    return {**operations, **files, **names_of, **(_members(catalog, some, members) if members else {})}


def _lists(catalog: Catalog, some: Names, archives: int) -> tuple[Queries, Queries]:
    metadata = catalog.metadata
    middle = BEGAN + EVERY * (archives // 2)
    day = {"start_date": middle, "end_date": middle + timedelta(days=1)}
    log: Queries = {
        "log": metadata.list_operations,
        "log, a page in the middle": lambda: metadata.list_operations(after=some.operation_id),
        "log --status partial": lambda: metadata.list_operations(status="partial"),
        "log --status failed, of which there are none": lambda: metadata.list_operations(status="failed"),
        "log --type upload, a page in the middle": lambda: metadata.list_operations("upload", after=some.operation_id),
        "log --since --until, a day in the middle": lambda: metadata.list_operations(**day),  # type: ignore[arg-type]
        "log --until, the first day": lambda: metadata.list_operations(end_date=BEGAN + timedelta(days=1)),
        "log --user, of a rare one": lambda: metadata.list_operations(user="zoe"),
        "log --target, the whole path": lambda: metadata.list_operations(target=some.target),
        "log --target, what nothing has": lambda: metadata.list_operations(target="no such target"),
    }
    stored = metadata.find(some.key)[0]
    ls: Queries = {
        "ls": lambda: metadata.list_files(location="s3", status="completed"),
        "ls, a page in the middle": lambda: metadata.list_files(location="s3", status="completed", after=stored.id),
        "ls --prefix": lambda: metadata.list_files(some.key[:-12], Location.S3, "completed"),
        "ls --sort size": lambda: metadata.list_files(None, Location.S3, "completed", sort="-size"),
        "ls --sort modified": lambda: metadata.list_files(None, Location.S3, "completed", sort="-modified"),
        "ls --sort recorded": lambda: metadata.list_files(None, Location.S3, "completed", sort="-recorded"),
        "ls --location completed": lambda: metadata.list_files(None, Location.COMPLETED, "completed"),
    }
    return log, ls


def _names(catalog: Catalog, some: Names) -> Queries:
    context = Context(_no_store, catalog, NoProgress())
    metadata = catalog.metadata
    return {
        "find an archive by its key": lambda: metadata.find(some.key),
        "find an archive by its URL": lambda: metadata.find(f"file:///srv/bench/archive/{some.key}"),
        "find an archive by the path of its original": lambda: metadata.find(some.target),
        "find an archive by the name of its original": lambda: metadata.find(some.target.rpartition("/")[2]),
        "find what there is not": lambda: metadata.find("no such archive"),
        "status of an archive": lambda: status(some.key, context, host=None),
        "status of an operation": lambda: status(some.operation_id, context, host=None),
        "status of what there is not": lambda: _missing(context),
        "search files, by a rare tag": lambda: metadata.search_files(tags={"case": "42"}),
        "search files, by a tag of a tenth": lambda: metadata.search_files(tags={"year": "2017"}),
        "search files, a day": lambda: metadata.search_files(
            since=datetime(2016, 12, 24, tzinfo=UTC), until=datetime(2016, 12, 25, tzinfo=UTC)
        ),
        "search files, a keyword of many": lambda: metadata.search_files("Lisbon"),
        "search files, a keyword of one": lambda: metadata.search_files(some.target.rpartition("/")[2]),
        "search files, a keyword of none": lambda: metadata.search_files("no such name"),
    }


def _lookups(catalog: Catalog, some: Names) -> Queries:
    """What commands look up by themselves."""
    metadata = catalog.metadata
    archive = metadata.find(some.key)[0]
    digest, size = str(archive.digest), archive.original_size or 0
    keys = [names(number, 1).key for number in range(250)]
    listed = {key: key for key in keys} | {f"{key}.0123456789ab.index.jsonl.gz": key for key in keys}
    return {
        "the copies of a content": lambda: metadata.copies_of(digest),
        "the archives of a content": lambda: metadata.archives_of(digest),
        "whether an archive has this size": lambda: metadata.has_archive_of(size),
        "whether an archive has a size that none has": lambda: metadata.has_archive_of(12345),
        "whether there is an archive with an id that none has": lambda: metadata.is_archive_id("none"),
        "the uploads of an original": lambda: metadata.get_upload_history(some.target),
        "the newest archive of an original": lambda: metadata.latest_archive(some.target),
        "which of 500 objects are unknown": lambda: metadata.unknown_keys(STORE, listed),
        "archives whose key was used again, of one key": lambda: metadata.replaced_archives(STORE, some.key),
        "archives whose key was used again": metadata.replaced_archives,
        "the stores in use": metadata.stores_in_use,
        "all stores": metadata.stores,
        "the folders of completed copies": lambda: metadata.completed_folders(HOST),
        "interrupted operations": catalog.journal.interrupted,
        "complete the name of an archive": lambda: archive_keys(str(catalog.database.url), some.key[:6], 50),
    }


def _members(catalog: Catalog, some: Names, members: int) -> Queries:
    found = catalog.members
    archive = catalog.metadata.find(some.key)[0].id
    last = found.list(archive, limit=None)[-1].path
    folder, _, name = last.rpartition("/")
    context = Context(_no_store, catalog, NoProgress())

    def whole(keyword: str) -> object:
        query = Query(keyword=keyword, location=Scope.S3)
        with search(query, context, local_dir=None, live=False) as (_, matches):
            return matches

    return {
        "ls --members": lambda: found.list(archive),
        "members of an archive, counted": lambda: found.count(archive),
        "a member by its path": lambda: found.find(archive, last),
        "search members, of one day on a phone": lambda: found.search("IMG_20190714_15"),
        "search members, of one camera": lambda: found.search("DSC04711"),
        "search members, in a third of all names": lambda: found.search(".jpg"),
        "search members, in source code": lambda: found.search("mailer_query"),
        "search members, that nothing has": lambda: found.search("no such name"),
        "search members, two letters": lambda: found.search("zq"),
        "search members, folder/prefix": lambda: found.search(f"{folder.rpartition('/')[2]}/{name[:5]}"),
        "search members, a whole path": lambda: found.search(last),
        "search members, a folder that nothing has": lambda: found.search("no such folder/img"),
        "search members, with a rare tag": lambda: found.search(".jpg", only=FileFilter(tags={"case": "42"})),
        "search members, modified in one month": lambda: found.search(
            ".jpg",
            only=FileFilter(since=datetime(2015, 3, 1, tzinfo=UTC), until=datetime(2015, 4, 1, tzinfo=UTC)),
        ),
        "`search` as a whole, recorded: a keyword of many": lambda: whole("Lisbon"),
        "`search` as a whole, recorded: what nothing has": lambda: whole("no such name"),
    }


def _missing(context: Context) -> None:
    with suppress(MgmtError):
        status("no such archive", context, host=None)


def _no_store(_: object) -> Any:
    raise StoreUnavailableError("this store is not there")


def _clock(catalog: Catalog) -> Callable[[], float]:
    """Returns the CPU seconds of this process, and of the server's for this connection."""
    if catalog.database.is_sqlite:
        return time.process_time
    with catalog.database.reading() as session:
        backend = session.scalar(text("SELECT pg_backend_pid()"))
    return lambda: time.process_time() + int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9


def _seconds(work: Callable[[], object], cpu_seconds: Callable[[], float]) -> tuple[float, float]:
    """Seconds, and CPU seconds."""
    began, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - began, cpu_seconds() - cpu


def _plan(catalog: Catalog, query: Callable[[], object]) -> Iterator[str]:
    """The tables that a query reads whole, and "sort" where it sorts what it has read."""
    steps: list[str] = []
    is_sqlite = catalog.database.is_sqlite
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"

    def listen(connection: Any, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            driver = connection.connection.driver_connection
            steps.extend(str(row[-1]) for row in driver.execute(f"{explain} {statement}", values).fetchall())

    bound = catalog.database.bind()
    event.listen(bound, "before_cursor_execute", listen)
    try:
        query()
    finally:
        event.remove(bound, "before_cursor_execute", listen)
    for step in steps:
        if "USING INDEX" in step or "VIRTUAL TABLE" in step:
            yield from [] if not step.startswith("SCAN files") else [step]
            continue
        if (match := _SCAN.search(step)) and (table := match[1] or match[2]) not in ("CONSTANT", "member_names_mark"):
            yield table
        elif _SORT.search(step):
            yield "sort"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
