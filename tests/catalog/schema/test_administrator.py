"""The commands and queries of docs/dba.md work as documented, on both databases."""

import re
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    FileRecord,
    FileStatus,
    JobRecord,
    Location,
    NewJob,
    Role,
    Status,
    UploadRecord,
    VerifyRecord,
)
from mgmt.catalog.schema import soundness
from mgmt.errors import MgmtError
from tests.postgresql import OwnPostgreSQL
from tests.program import Program

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "dba.md").read_text("utf-8")
QUERIES = re.findall(r"^([^\n]+):\n\n```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
PAGES_OF_ROWS = re.findall(r"```sql\n(.*?)```", (DOCS / "catalog.md").read_text("utf-8"), re.DOTALL)


@pytest.fixture
def in_use(catalog: Catalog, make_archive: Callable[..., FileRecord], make_member: Callable[..., object]) -> Catalog:
    """A catalog with rows for each query: a batch of two uploads, a failed upload, a running one."""
    with catalog.journal.record(BatchRecord(target_path="2 uploads")) as batch:
        for key in ("holiday.tar.gz", "wedding.tar.gz"):
            upload = UploadRecord(target_path=f"/films/{key}", parent_id=batch.operation_id, s3_object_key=key)
            upload.original_size, upload.compressed_size = 1000, 370
            with catalog.journal.record(upload):
                archive = make_archive(
                    key, size=370, original_size=1000, digest=key, tags={"year": "2026"}, proven_at=batch.started_at
                )
                archive.operation_id = upload.operation_id
                copy = FileRecord(path=f"/completed/{key}", location=Location.COMPLETED, host="nas", digest=key)
                copy.status, copy.original_size = FileStatus.COMPLETED, 1000
                with catalog.transaction():
                    archive = catalog.metadata.save_file_record(archive)
                    catalog.journal.link(upload, archive, Role.ARCHIVE)
                    catalog.journal.link(upload, catalog.metadata.save_file_record(copy), Role.COMPLETED)
                    members = [make_member("a", type="d", sha256=None), make_member("a/IMG_1.jpg")]
                    catalog.members.record(archive.id, members)  # type: ignore[arg-type]
    with pytest.raises(MgmtError), catalog.journal.record(UploadRecord(target_path="/films/bad")):
        raise MgmtError("the disk is full")
    catalog.metadata.save_operation(UploadRecord(target_path="/films/cut off", status=Status.RUNNING))
    job = JobRecord(operation_id="", command="verify", queue="any")
    catalog.queue.add([NewJob(VerifyRecord(target_path="holiday"), job)])
    return catalog


@pytest.mark.parametrize(("what", "query"), QUERIES, ids=[what for what, _ in QUERIES])
def test_each_documented_query_finds_the_expected_rows(what: str, query: str, in_use: Catalog) -> None:
    with in_use.database.connection() as connection:
        # PostgreSQL rounds to a Decimal.
        rows = [
            tuple(float(v) if isinstance(v, Decimal) else v for v in row) for row in connection.exec_driver_sql(query)
        ]
    expected = {
        "Archives by store": [("file:///store", 2, 740, 2000)],
        "Contents archived more than once": [("IMG_1.jpg", 2, 5)],
        "Compression ratios": [
            ("/films/wedding.tar.gz", "wedding.tar.gz", 1000, 370, 2.7),
            ("/films/holiday.tar.gz", "holiday.tar.gz", 1000, 370, 2.7),
        ],
        "By tag": [("holiday.tar.gz",), ("wedding.tar.gz",)],
        "Archives that contain a file of this name": [
            ("holiday.tar.gz", "a/IMG_1.jpg", 5),
            ("wedding.tar.gz", "a/IMG_1.jpg", 5),
        ],
    }
    assert expected.keys() <= dict(QUERIES).keys()
    assert rows
    assert rows == expected.get(what, rows)


@pytest.mark.parametrize("queries", PAGES_OF_ROWS)
def test_each_query_of_the_catalog_page_runs(queries: str, in_use: Catalog) -> None:
    for query in filter(str.strip, queries.split(";")):
        with in_use.database.connection() as connection:
            connection.execute(text(query)).all()


def test_the_page_has_enough_queries() -> None:
    assert len(QUERIES) >= 10


def test_each_connection_has_the_documented_pragmas(sqlite_catalog: Catalog) -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| `(\w+)`", PAGE, re.MULTILINE))
    assert {
        "journal_mode",
        "synchronous",
        "foreign_keys",
        "recursive_triggers",
        "journal_size_limit",
        "busy_timeout",
    } == listed.keys()
    sqlite_catalog.metadata.list_files()
    with sqlite_catalog.database.connection() as reading, sqlite_catalog.transaction():
        for connection in (reading, sqlite_catalog.database.bind().connect()):
            for name, value in listed.items():
                assert str(connection.exec_driver_sql(f"PRAGMA {name}").scalar()) == value
            connection.close()


@pytest.mark.sqlite
def test_restore_from_a_sqlite_backup(on_directory: Program, tmp_path: Path) -> None:
    for name in ("before", "after"):
        (on_directory.work / name).write_text(name)
        on_directory.ok("upload", on_directory.work / name)
        if name == "before":
            on_directory.ok("db", "backup", tmp_path / "copy.db")
    (commands,) = re.findall(r"```\n(cd .*?)```", PAGE, re.DOTALL)
    commands = commands.replace("~/.local/share/mgmt", str(on_directory.catalog.parent))
    commands = commands.replace("~/backup/catalog-2026-01-31.db", str(tmp_path / "copy.db"))
    subprocess.run(["sh", "-e", "-c", commands], check=True)
    assert on_directory.json("db", "check")["sound"]
    assert [each["s3_object_key"] for each in on_directory.json("ls", "--location", "s3")] == ["before.tar.gz"]
    on_directory.ok("db", "rebuild")
    on_directory.ok("verify", "--all")
    assert len(on_directory.json("ls", "--location", "s3")) == 2


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_restore_from_a_postgresql_dump(
    in_use: Catalog, postgresql_server: object, reopen: Callable[[], Catalog], tmp_path: Path
) -> None:
    if not isinstance(postgresql_server, OwnPostgreSQL) or not (postgresql_server.programs / "pg_dump").exists():
        pytest.skip("there is no pg_dump of the version of this server")
    url = in_use.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dump, restore = re.findall(r"`(pg_dump .*?)` \||`(pg_restore .*?)` \|", PAGE)
    for command in (dump[0], restore[1]):
        program, *arguments = command.split()
        filled = [{"FILE": str(tmp_path / "dump"), "mgmt": url}.get(each, each) for each in arguments]
        subprocess.run([postgresql_server.programs / program, *filled], check=True)
        if program == "pg_dump":
            in_use.metadata.save_operation(UploadRecord(target_path="/films/later"))
            in_use.close()
    restored = reopen()
    assert soundness.check(restored.database) == []
    assert len(restored.metadata.list_operations()) == 6
    assert [member.path for member, _ in restored.members.search("IMG_1")] == ["a/IMG_1.jpg"] * 2
