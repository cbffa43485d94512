"""Export of the whole history, and its import into a catalog of either database."""

import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    DownloadRecord,
    FileRecord,
    FileStatus,
    JobRecord,
    Location,
    NewJob,
    OperationRecord,
    OutboxRecord,
    Role,
    ScheduleRecord,
    SearchRecord,
    Status,
    UploadRecord,
    VerifyRecord,
    Wanted,
    open_catalog,
)
from mgmt.catalog.audit import export
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.schema import soundness
from mgmt.errors import ConfigurationError, ConflictError, IntegrityError, MgmtError, StoreError
from tests.postgresql import PostgreSQL

Make = Callable[..., FileRecord]


@pytest.fixture
def other(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog of the other kind."""
    if url.startswith("sqlite"):
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        with server.database() as made:
            opened = open_catalog(made)
            yield opened
            opened.close()
    else:
        opened = open_catalog(f"sqlite:///{tmp_path}/other/catalog.db")
        yield opened
        opened.close()


@pytest.fixture
def full(catalog: Catalog, make_archive: Make, make_member: Callable[..., Any]) -> Catalog:
    """A catalog with rows in every table."""
    with catalog.journal.record(BatchRecord(target_path="2 targets")) as batch:
        for number in range(3):
            upload = UploadRecord(target_path=f"/films/caf\udce9 {number}", parent_id=batch.operation_id)
            with catalog.journal.record(upload):
                archive = make_archive(f"caf\udce9-{number}.tar.gz", tags={"é": "ü"}, operation_id=upload.operation_id)
                archive = catalog.metadata.save_file_record(archive)
                catalog.journal.link(upload, archive, Role.ARCHIVE)
                paths = ["caf\udce9/a", "caf\udce9/b", "c"]
                catalog.members.record(archive.id, [make_member(path=path) for path in paths])
                upload.original_size = 5_000_000_000 + number
    catalog.audit.seal()
    with pytest.raises(StoreError), catalog.journal.record(DownloadRecord(target_path="a.tar.gz")):
        raise StoreError("no")
    search = SearchRecord(keyword="caf\udce9", local_matches=["/caf\udce9"], download_selected="caf\udce9.tar.gz")
    for operation in (search, VerifyRecord(store="file:///store")):
        with catalog.journal.record(operation):
            pass
    original = FileRecord(path="/films/x", location=Location.LOCAL, host="nas", status=FileStatus.COMPLETED)
    catalog.metadata.save_file_record(original)
    catalog.metadata.save_operation(UploadRecord(target_path="/running", status=Status.RUNNING))
    catalog.audit.seal()
    return catalog


def exported(catalog: Catalog, *, members: bool = True) -> bytes:
    out = io.BytesIO()
    export.export(catalog.database, out, members=members)
    return out.getvalue()


def imported(catalog: Catalog, history: bytes, *, update: bool = False) -> export.ExchangeResult:
    return import_history(catalog.database, io.BytesIO(history), update=update)


def test_export_import_export_gives_the_same_bytes(full: Catalog, other: Catalog) -> None:
    history = exported(full)
    done = imported(other, history)
    assert (done.operations, done.files, done.members, done.seals) == (8, 4, 9, 2)
    assert exported(other) == history
    assert list(other.audit.verification().findings()) == []
    assert other.audit.seal() == 0

    again = imported(other, history)
    assert again.new == 0
    assert exported(other) == history

    (found,) = other.metadata.list_operations("upload", target="é 2") or other.metadata.list_operations(
        "upload", target="xe9 2"
    )
    assert found.target_path == "/films/caf\udce9 2"
    (archive,) = other.metadata.find("caf\udce9-2.tar.gz")
    assert [member.path for member in other.members.list(archive.id)] == ["caf\udce9/a", "caf\udce9/b", "c"]
    assert other.members.find(archive.id, "caf\udce9/b").path == "caf\udce9/b"


def test_an_imported_catalog_can_be_used(full: Catalog, other: Catalog, make_archive: Make, make_member: Any) -> None:
    """New ids continue after the imported ones."""
    imported(other, exported(full))
    (running,) = other.journal.running()
    other.journal.close(running)
    with other.journal.record(UploadRecord(target_path="/new")) as upload:
        archive = other.metadata.save_file_record(make_archive("new.tar.gz"))
        other.journal.link(upload, archive, Role.ARCHIVE)
        other.members.record(archive.id, [make_member(path="new/one")])
    assert other.audit.seal() == 2
    assert list(other.audit.verification().findings()) == []
    assert [member.path for member, _ in other.members.search("one")] == ["new/one"]


def test_a_second_import_adds_new_operations(full: Catalog, other: Catalog) -> None:
    (running,) = full.journal.running()
    full.journal.close(running)
    full.audit.seal()
    imported(other, exported(full))
    with full.journal.record(UploadRecord(target_path="/later")):
        pass
    full.audit.seal()
    done = imported(other, exported(full))
    assert done.new == 3  # the operation, its row in uploads, its seal
    assert exported(other) == exported(full)


def test_export_without_members(full: Catalog, other: Catalog) -> None:
    history = exported(full, members=False)
    assert b'"members"' not in history
    assert imported(other, history).members == 0
    assert exported(other) == history


def test_a_gzipped_export_is_reproducible_and_can_be_imported(full: Catalog, other: Catalog) -> None:
    outs = io.BytesIO(), io.BytesIO()
    for out in outs:
        with export.compressed(out) as inside:
            export.export(full.database, inside, members=True)  # type: ignore[arg-type]
    assert outs[0].getvalue() == outs[1].getvalue()
    assert gzip.decompress(outs[0].getvalue()) == exported(full)
    imported(other, outs[0].getvalue())
    assert exported(other) == exported(full)


def test_an_empty_history_can_be_exported_and_imported(catalog: Catalog, other: Catalog) -> None:
    history = exported(catalog)
    assert len(history.splitlines()) == 2
    assert imported(other, history).new == 0


def resealed(lines: list[bytes]) -> bytes:
    """The lines with a valid last line."""
    tally = export.Tally()
    for line in lines:
        tally.note(line + b"\n", next(iter(json.loads(line))))
    return b"\n".join([*lines, json.dumps({"end": tally.end()}).encode()]) + b"\n"


DAMAGED: list[tuple[str, Callable[[list[bytes]], bytes], type[MgmtError], str]] = [
    ("cut off", lambda lines: b"\n".join(lines[:-1]), IntegrityError, "truncated"),
    ("cut off in a line", lambda lines: b"\n".join(lines)[:-300], IntegrityError, "cannot be read"),
    ("nothing", lambda _: b"", IntegrityError, "truncated"),
    ("no history", lambda _: b'{"a":1}\n', ConfigurationError, "not an mgmt export"),
    ("something else", lambda _: b"hello\nworld\n", IntegrityError, "cannot be read"),
    ("a list", lambda _: b"[1]\n", IntegrityError, "cannot be read"),
    ("a line less", lambda lines: b"\n".join(lines[:3] + lines[4:]), IntegrityError, "does not match"),
    (
        "a fact",
        lambda lines: resealed([line.replace(b"/later", b"/x") for line in lines[:-1]]),
        IntegrityError,
        "does not match its seals",
    ),
    (
        "a newer format",
        lambda lines: resealed([b'{"history":{"format":2,"schema":"0001"}}']),
        ConfigurationError,
        "newer",
    ),
    ("a newer schema", lambda lines: resealed([b'{"history":{"format":1,"schema":"9"}}']), ConfigurationError, "newer"),
    ("a new table", lambda lines: resealed([lines[0], b'{"recipes":{}}']), ConfigurationError, "newer"),
    ("a new column", lambda lines: resealed([lines[0], b'{"files":{"smell":1}}']), ConfigurationError, "newer"),
    ("a row that is none", lambda lines: resealed([lines[0], b'{"files":1}']), ConfigurationError, "newer"),
]


def test_a_damaged_export_is_refused_and_nothing_is_imported(full: Catalog, other: Catalog) -> None:
    with full.journal.record(UploadRecord(target_path="/later")):
        pass
    full.audit.seal()
    nothing, lines = exported(other), exported(full).splitlines()
    for what, damage, error, message in DAMAGED:
        with pytest.raises(error, match=message):
            imported(other, damage(lines))
        assert exported(other) == nothing, what


def test_import_into_a_catalog_with_another_history_is_refused(full: Catalog, other: Catalog) -> None:
    with other.journal.record(UploadRecord(target_path="/mine")):
        pass
    other.audit.seal()
    before = exported(other)
    with pytest.raises(ConflictError):
        imported(other, exported(full))
    assert exported(other) == before


def test_import_is_refused_if_a_file_record_has_changed(full: Catalog, other: Catalog) -> None:
    imported(other, exported(full))
    before = exported(other)
    (archive,) = full.metadata.find("caf\udce9-2.tar.gz")
    archive.status = FileStatus.DELETED
    full.journal.checkpoint()
    with pytest.raises(ConflictError, match=f"files {archive.id} differs from"):
        imported(other, exported(full))
    assert exported(other) == before


def test_an_update_takes_newer_records_of_files(full: Catalog, other: Catalog) -> None:
    imported(other, exported(full))
    (archive,) = full.metadata.find("caf\udce9-2.tar.gz")
    archive.status, archive.tags, archive.proven_at = FileStatus.DELETED, {"é": "x"}, archive.recorded_at
    full.journal.checkpoint()
    with full.journal.record(UploadRecord(target_path="/later")):
        pass
    full.audit.seal()
    done = imported(other, exported(full), update=True)
    assert (done.updated, done.new) == (1, 3)
    assert exported(other) == exported(full)
    assert imported(other, exported(full), update=True).updated == 0


def test_an_update_from_an_older_export_is_refused(full: Catalog, other: Catalog) -> None:
    older = exported(full)
    imported(other, older)
    with full.journal.record(UploadRecord(target_path="/later")):
        pass
    (archive,) = full.metadata.find("caf\udce9-2.tar.gz")
    archive.status = FileStatus.DELETED
    full.journal.checkpoint()
    full.audit.seal()
    newer = exported(full)
    imported(other, newer, update=True)
    with pytest.raises(ConflictError, match="older than the catalog"):
        imported(other, older, update=True)
    assert exported(other) == newer


def test_an_update_from_an_older_export_changes_nothing_that_is_the_same(full: Catalog, other: Catalog) -> None:
    older = exported(full)
    with full.journal.record(UploadRecord(target_path="/later")):
        pass
    full.audit.seal()
    imported(other, exported(full))
    assert imported(other, older, update=True).updated == 0


@pytest.mark.parametrize("paths", [["new/x", "b"], ["new/x", "new/y", "new/z", "wedding"], ["wedding"]])
def test_an_update_takes_members_that_were_recorded_anew(
    paths: list[str], full: Catalog, other: Catalog, make_member: Any
) -> None:
    """As `db rebuild` does; SQLite uses the ids of removed members again."""
    imported(other, exported(full))
    other.members.index_names()
    archive = next(each for each in full.metadata.list_files(sort="-path") if each.s3_object_key is not None)
    full.members.record(archive.id, [make_member(path=path) for path in paths])
    imported(other, exported(full), update=True)
    other.members.index_names()
    assert [member.path for member in other.members.list(archive.id)] == paths
    for word in ("x", "wed", "new/", "b", "a", "caf"):
        found = [[member.path for member, _ in each.members.search(word)] for each in (full, other)]
        assert found[0] == found[1]
    assert exported(other) == exported(full)


def test_an_update_of_another_catalog_is_refused(full: Catalog, other: Catalog) -> None:
    for path in ("/mine", "/mine too"):
        other.metadata.save_file_record(FileRecord(path=path, location=Location.LOCAL, host="elsewhere"))
    before = exported(other)
    with pytest.raises(ConflictError, match="files 1 differs"):
        imported(other, exported(full), update=True)
    assert exported(other) == before


def test_an_update_never_changes_an_operation(full: Catalog, other: Catalog) -> None:
    imported(other, exported(full))
    (running,) = full.journal.running()
    full.journal.close(running)
    before = exported(other)
    with pytest.raises(ConflictError, match=f"operations {running.operation_id} differs"):
        imported(other, exported(full), update=True)
    assert exported(other) == before


@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        (b'"sequence":2', b'"sequence":7', IntegrityError, "does not match its seals"),
        (b'"operation_type":"verify"', b'"operation_type":"rogue"', ConfigurationError, "unknown type"),
    ],
)
def test_an_export_with_foreign_rows_is_refused(
    before: bytes, after: bytes, error: type[MgmtError], message: str, full: Catalog, other: Catalog
) -> None:
    lines = exported(full).replace(before, after).splitlines()[:-1]
    with pytest.raises(error, match=message):
        imported(other, resealed(lines))


ANYTHING = Wanted(["any"])
EVENING = datetime(2026, 1, 31, 22, tzinfo=UTC)


@pytest.fixture
def busy(full: Catalog) -> Catalog:
    """A catalog in which a job is taken, others wait, a batch has fanned out, and there are schedules."""
    database = full.database

    def add(operation: OperationRecord, job: JobRecord, after: Sequence[str] = ()) -> None:
        full.queue.add([NewJob(operation, job, after)])

    def job(**facts: Any) -> JobRecord:
        return JobRecord(**{"operation_id": "", "command": "upload", "queue": "any", **facts})

    first = UploadRecord(target_path="/films/caf\udce9 9", command_args={"names": ["caf\udce9 9"]})
    add(first, job(attempts=3, store="file:///store"))
    add(VerifyRecord(), job(command="verify", not_before=EVENING, schedule="daily"), [first.operation_id])
    batch = BatchRecord(target_path="verify of all")
    add(batch, job(command="verify"))
    add(VerifyRecord(parent_id=batch.operation_id), job(command="verify", not_before=EVENING))
    full.queue.note_fanned_out(batch.operation_id)
    (taken,) = full.jobs.take(ANYTHING)
    assert taken.operation_id == first.operation_id
    facts: dict[str, Any] = {"cron": "0 1 * * *", "timezone": "Europe/Berlin", "host": "nas", "cwd": "/caf\udce9"}
    for name, paused in (("daily", False), ("weekly", True)):
        schedule = ScheduleRecord(name=name, command=["verify", "--all"], paused=paused, last_time=EVENING, **facts)
        with database.transaction() as session:
            session.add(schedule)
    with database.transaction() as session:
        session.add(OutboxRecord(message_id="m", rule="r", event="operation.failed", payload={}, host="nas"))
    return full


def left(catalog: Catalog, table: str) -> list[dict[str, Any]]:
    """What is left to do, as it is in the database."""
    with catalog.database.connection() as connection:
        rows = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").mappings()
        return [dict(row) for row in rows]


def test_work_that_waits_arrives_held(busy: Catalog, other: Catalog) -> None:
    done = imported(other, history := exported(busy))
    assert (done.jobs, done.schedules) == (4, 2)
    assert exported(other) == history
    assert all((row["held"], row["taken_by"]) == (1, None) for row in left(other, "jobs"))
    assert all(row["paused"] for row in left(other, "schedules"))
    assert left(other, "outbox") == []
    assert len(left(other, "job_dependencies")) == 1
    assert list(other.audit.verification().findings()) == []
    assert soundness.check(other.database) == []
    assert other.jobs.take(ANYTHING) == []
    assert other.jobs.take_abandoned(ANYTHING) == []
    assert not other.jobs.has_more(ANYTHING)
    here, there = [
        [(job.operation_id, job.command, job.attempt, job.attempts, job.store, job.not_before, job.fanned_out)
         for job, _ in each.queue.jobs()]
        for each in (busy, other)
    ]  # fmt: skip
    assert here == there


def test_released_work_runs_in_order_and_ends_its_batch(busy: Catalog, other: Catalog) -> None:
    imported(other, exported(busy))
    assert other.queue.release(()) == 4
    ran = []
    while taken := other.jobs.take(ANYTHING):
        operation = other.metadata.require_operation(taken[0].operation_id)
        other.journal.run_requested(operation.operation_id)
        with other.journal.record(type(operation)(target_path=operation.target_path)):
            ran.append(operation.operation_type)
    assert ran == ["upload", "verify", "verify"]
    assert left(other, "jobs") == left(other, "job_dependencies") == []
    assert [each.status for each in other.metadata.list_operations(status=Status.PENDING)] == []
    assert list(other.audit.verification().findings()) == []


def test_a_second_import_leaves_alone_what_has_been_released(busy: Catalog, other: Catalog) -> None:
    history = exported(busy)
    imported(other, history)
    other.queue.release(())
    (taken,) = other.jobs.take(ANYTHING)
    before = [left(other, table) for table in ("jobs", "job_dependencies", "schedules")]
    assert imported(other, history).new == 0
    assert imported(other, history, update=True).new == 0
    assert [left(other, table) for table in ("jobs", "job_dependencies", "schedules")] == before
    other.queue.cancel(taken.operation_id)
    assert imported(other, history).new == 0
    assert taken.operation_id not in [row["operation_id"] for row in left(other, "jobs")]


def test_a_finished_operation_has_no_job_after_an_import(busy: Catalog, other: Catalog) -> None:
    lines = exported(busy).splitlines()[:-1]
    finished = next(line for line in lines if line.startswith(b'{"finished"'))
    operation_id = json.loads(finished)["finished"]["operation_id"]
    at = next(number for number, line in enumerate(lines) if line.startswith(b'{"jobs"'))
    forged = json.loads(lines[at])
    forged["jobs"].update(operation_id=operation_id, held=False, taken_by="nas/boot/1/1")
    lines.insert(at, json.dumps(forged).encode())
    imported(other, resealed(lines))
    assert len(left(other, "jobs")) == 4
    assert all((row["held"], row["taken_by"]) == (1, None) for row in left(other, "jobs"))


def test_an_export_of_a_revision_without_work_is_imported(full: Catalog, other: Catalog) -> None:
    lines = exported(full).splitlines()[:-1]
    assert not [line for line in lines if line.startswith((b'{"jobs"', b'{"job_dependencies"', b'{"schedules"'))]
    lines[0] = lines[0].replace(HEAD.encode(), b"0009")
    imported(other, resealed(lines))
    assert exported(other) == exported(full)
