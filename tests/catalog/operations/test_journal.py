"""The journal: when an operation is committed, claims, and taking up interrupted operations."""

import gc
import logging
import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest
from sqlalchemy import text

from mgmt import signals
from mgmt.catalog import (
    BatchRecord,
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    OperationRecord,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    open_catalog,
)
from mgmt.catalog.records.process import Owner
from mgmt.errors import BusyError, CatalogError, Interrupted, NotFoundError, StoreError
from tests.forked import Forked, child

Reopen = Callable[[], Catalog]
Make = Callable[..., FileRecord]


def stored(catalog: Catalog, operation: OperationRecord) -> OperationRecord:
    return catalog.metadata.require_operation(operation.operation_id)


def upload(path: str = "/a") -> UploadRecord:
    return UploadRecord(target_path=path)


def run(
    catalog: Catalog, operation: OperationRecord, error: BaseException | None = None, claim: str | None = None
) -> None:
    with catalog.journal.record(operation, claim=claim):
        if error is not None:
            raise error


def test_an_operation_is_recorded_before_the_work_and_closed_after_it(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(upload()) as operation:
        before = stored(reopen(), operation)
        assert (before.status, before.completed_at) == (Status.RUNNING, None)
        assert before.owner == str(Owner.current())
        assert before.user
        assert before.mgmt_version
    after = stored(reopen(), operation)
    assert after.status is Status.SUCCESS
    assert after.duration_seconds is not None
    assert after.duration_seconds >= 0


def test_a_checkpoint_commits_changes(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(upload()) as operation:
        operation.stage = "sending"
        operation.upload_id = "u-1"
        assert stored(reopen(), operation).stage is None
        catalog.journal.checkpoint()
        seen = stored(reopen(), operation)
        assert isinstance(seen, UploadRecord)
        assert (seen.stage, seen.upload_id) == ("sending", "u-1")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (StoreError("the store said no"), Status.FAILED, "the store said no"),
        (ValueError(), Status.FAILED, "ValueError"),
        (KeyboardInterrupt(), Status.CANCELLED, "KeyboardInterrupt"),
        (Interrupted(signal.SIGTERM), Status.CANCELLED, "interrupted by signal 15"),
    ],
)
def test_an_exception_closes_the_record_and_propagates(
    error: BaseException, status: Status, message: str, catalog: Catalog, reopen: Reopen
) -> None:
    operation = upload()
    with pytest.raises(type(error)) as caught:
        run(catalog, operation, error)
    assert caught.value is error
    seen = stored(reopen(), operation)
    assert (seen.status, seen.error_message) == (status, message)
    assert seen.completed_at is not None
    assert (operation.status, operation.error_message) == (status, message)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Signals raise Interrupted, as they do in a command."""
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    signals.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("moment", ["before_flush", "before_commit", "after_commit"])
def test_an_operation_interrupted_as_it_begins_does_not_stay_running(
    moment: str, interruptible: None, catalog: Catalog, reopen: Reopen
) -> None:
    catalog.metadata.list_files()
    sent: list[int] = []

    def interrupt(*_: object) -> None:
        if not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    catalog.database.listen(moment, interrupt)
    operation = upload()
    with pytest.raises(Interrupted):
        run(catalog, operation, claim="/a")
    assert sent
    assert reopen().journal.running() == []
    run(catalog, after := upload(), claim="/a")
    assert stored(reopen(), after).status == Status.SUCCESS


def test_uncommitted_changes_are_discarded_on_failure(catalog: Catalog, reopen: Reopen, make_archive: Make) -> None:
    operation = upload()

    def fail() -> None:
        with catalog.journal.record(operation):
            operation.stage = "sending"
            catalog.journal.checkpoint()
            operation.stage = "proven"
            catalog.journal.link(operation, make_archive("a.tar.gz"), Role.ARCHIVE)
            raise StoreError("no")

    with pytest.raises(StoreError):
        fail()
    assert stored(reopen(), operation).stage == "sending"
    assert reopen().metadata.list_files() == []


def test_a_terminal_status_set_by_the_service_is_kept(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(upload()) as operation:
        operation.status, operation.error_message = Status.PARTIAL, "2 files were skipped"
    seen = stored(reopen(), operation)
    assert (seen.status, seen.error_message) == (Status.PARTIAL, "2 files were skipped")
    assert seen.completed_at is not None


def test_files_and_the_outcome_are_committed_together(catalog: Catalog, reopen: Reopen, make_archive: Make) -> None:
    with catalog.journal.record(upload()) as operation:
        with catalog.database.transaction():
            archive = catalog.metadata.save_file_record(make_archive("a.tar.gz", operation_id=operation.operation_id))
            catalog.journal.link(operation, archive, Role.ARCHIVE)
            catalog.journal.link(operation, archive, Role.ARCHIVE)
            catalog.journal.close(operation)
            assert reopen().metadata.list_files() == []
        again = reopen().metadata
        assert stored(reopen(), operation).status is Status.SUCCESS
        assert [(f.path, role) for f, role in again.files_of(operation)] == [("a.tar.gz", Role.ARCHIVE)]
    assert stored(reopen(), operation).status is Status.SUCCESS


def test_a_file_linked_twice_is_linked_once(catalog: Catalog, reopen: Reopen, make_archive: Make) -> None:
    with catalog.journal.record(upload()) as operation:
        archive = make_archive("a.tar.gz")
        for _ in range(2):
            catalog.journal.link(operation, archive, Role.ARCHIVE)
        catalog.journal.link(operation, archive, Role.RESULT)
        catalog.journal.checkpoint()
        catalog.journal.link(operation, archive, Role.ARCHIVE)
    roles = {role for _, role in reopen().metadata.files_of(operation)}
    assert roles == {Role.ARCHIVE, Role.RESULT}
    assert [f.path for f, _ in reopen().metadata.files_of(operation, Role.RESULT)] == ["a.tar.gz"]


def test_an_operation_that_links_many_files_holds_none_of_them(
    catalog: Catalog, reopen: Reopen, make_archive: Make
) -> None:
    files = weakref.WeakSet[FileRecord]()
    with catalog.journal.record(upload()) as operation:
        for number in range(20):
            with catalog.transaction():
                file = catalog.metadata.save_file_record(make_archive(f"{number}.tar.gz"))
                catalog.journal.link(operation, file, Role.RESULT)
            files.add(file)
        del file
        gc.collect()
        assert not files
        again = catalog.metadata.require_file_record("7.tar.gz")
        catalog.journal.link(operation, again, Role.RESULT)
    assert len(reopen().metadata.files_of(operation)) == 20


def test_a_link_that_was_rolled_back_is_made_again(catalog: Catalog, reopen: Reopen, make_archive: Make) -> None:
    with catalog.journal.record(upload()) as operation:
        file = catalog.metadata.save_file_record(make_archive("a.tar.gz"))
        with suppress(NotFoundError), catalog.transaction() as session:
            catalog.journal.link(operation, file, Role.RESULT)
            session.flush()  # type: ignore[attr-defined]
            raise NotFoundError("")
        assert reopen().metadata.files_of(operation) == []
        catalog.journal.link(operation, file, Role.RESULT)
    assert [found.path for found, _ in reopen().metadata.files_of(operation)] == ["a.tar.gz"]


def test_a_finished_operation_cannot_be_changed(catalog: Catalog, reopen: Reopen) -> None:
    run(catalog, upload())
    (operation,) = catalog.metadata.list_operations()
    for change in ({"stage": "x"}, {"status": Status.FAILED}, {"status": Status.RUNNING}, {"error_message": "x"}):
        again = reopen()
        seen = stored(again, operation)
        for name, value in change.items():
            setattr(seen, name, value)
        with pytest.raises(CatalogError, match="has finished"):
            again.metadata.save_operation(seen)
        with pytest.raises(CatalogError, match="has finished"):
            again.journal.close(stored(again, operation), Status.CANCELLED)
    again = reopen()
    seen = stored(again, operation)
    seen.details["note"] = "x"
    with pytest.raises(CatalogError, match="has finished"):
        again.journal.checkpoint()
    copy = UploadRecord(operation_id=operation.operation_id, target_path="/other")
    with pytest.raises(CatalogError, match="is recorded already"):
        reopen().metadata.save_operation(copy)
    assert stored(reopen(), operation).as_dict() == operation.as_dict()


def test_a_failing_catalog_does_not_hide_the_first_error(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    operation = upload()

    def fail() -> None:
        with catalog.journal.record(operation):
            with catalog.database.transaction() as session:
                session.execute(text("ALTER TABLE operations RENAME TO gone"))
            raise StoreError("the first")

    with caplog.at_level(logging.ERROR), pytest.raises(StoreError, match="the first"):
        fail()
    assert "could not be recorded" in caplog.text


def test_a_claimed_target_is_busy(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(upload(), claim="/a") as operation:
        with pytest.raises(BusyError) as caught:
            run(reopen(), DownloadRecord(target_path="/a"), claim="/a")
        for fact in (operation.operation_id, str(os.getpid()), Owner.current().host, "upload"):
            assert fact in caught.value.message
        run(reopen(), upload("/b"), claim="/b")
        run(reopen(), SearchRecord(keyword="a"))
    run(reopen(), upload(), claim="/a")
    assert len(catalog.metadata.list_operations()) == 4


def test_a_busy_error_leaves_no_record(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(upload(), claim="/a"):
        loser = upload()
        with pytest.raises(BusyError):
            run(reopen(), loser, claim="/a")
        assert [o.operation_id for o in reopen().metadata.list_operations()].count(loser.operation_id) == 0


def test_the_database_refuses_two_live_claims(catalog: Catalog) -> None:
    for path in ("/a", "/b"):
        catalog.metadata.save_operation(upload(path))
    with pytest.raises(CatalogError), catalog.database.transaction() as session:
        session.execute(text("UPDATE operations SET claim = '/a', status = 'running'"))
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE operations SET claim = '/a', status = 'failed'"))


def upload_until_killed(url: str) -> None:
    catalog = open_catalog(url)
    with catalog.journal.record(upload("/a\udcff"), claim="/a\udcff") as record:
        record.stage, record.upload_id = "sending", "u-1"
        catalog.journal.checkpoint()
        record.stage = "never written"
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def cut_off(url: str, reopen: Reopen) -> OperationRecord:
    """An upload whose process was killed."""
    with child(lambda: upload_until_killed(url)) as killed:
        assert killed.wait() == -signal.SIGKILL
    (operation,) = reopen().journal.interrupted()
    return operation


def test_the_next_run_takes_up_the_interrupted_record(cut_off: OperationRecord, reopen: Reopen) -> None:
    again = reopen()
    with again.journal.record(upload("/a\udcff"), claim="/a\udcff") as taken:
        assert taken.operation_id == cut_off.operation_id
        assert (taken.stage, taken.upload_id, taken.target_path) == ("sending", "u-1", "/a\udcff")
        assert taken.owner == str(Owner.current())
        with pytest.raises(BusyError):
            run(reopen(), upload("/a\udcff"), claim="/a\udcff")
    (only,) = reopen().metadata.list_operations()
    assert (only.status, only.operation_id) == (Status.SUCCESS, cut_off.operation_id)
    assert reopen().journal.interrupted() == []


def test_another_type_of_operation_does_not_take_up_the_record(cut_off: OperationRecord, reopen: Reopen) -> None:
    with pytest.raises(BusyError, match=cut_off.operation_id) as caught:
        run(reopen(), DeleteRecord(target_path="/a\udcff"), claim="/a\udcff")
    assert caught.value.next_step == "mgmt recover"


def test_a_target_with_the_same_display_name_does_not_take_up_the_record(
    cut_off: OperationRecord, reopen: Reopen
) -> None:
    with pytest.raises(BusyError, match=cut_off.operation_id):
        run(reopen(), upload(r"/a\xff"), claim=r"/a\xff")


def test_resume_takes_up_and_closes_the_record(cut_off: OperationRecord, reopen: Reopen) -> None:
    again = reopen()
    (operation,) = again.journal.interrupted()
    with again.journal.resume(operation) as taken:
        assert stored(reopen(), taken).owner == str(Owner.current())
        assert reopen().journal.interrupted() == []
        other = reopen()
        seen = stored(other, taken)
        with pytest.raises(BusyError):
            other.journal.take_up(seen)
    assert stored(reopen(), cut_off).status is Status.SUCCESS
    with pytest.raises(BusyError):
        again.journal.take_up(operation)


def test_only_one_of_two_processes_takes_up_an_operation(cut_off: OperationRecord, reopen: Reopen) -> None:
    one, two = reopen(), reopen()
    (first,), (second,) = one.journal.interrupted(), two.journal.interrupted()
    one.journal.take_up(first)
    with pytest.raises(BusyError):
        two.journal.take_up(second)


def left_by(catalog: Catalog, **other: object) -> None:
    """Save a running operation whose owner differs from this process in `other`."""
    here = Owner.current()
    facts = {"host": here.host, "boot": here.boot, "pid": here.pid, "start": here.start} | other
    catalog.metadata.save_operation(upload())
    with catalog.database.transaction() as session:
        owner = str(Owner(**facts))  # type: ignore[arg-type]
        session.execute(
            text("UPDATE operations SET owner = :owner, claim = '/a', status = 'running'"), {"owner": owner}
        )


@pytest.mark.parametrize("other", [{"boot": "another-boot"}, {"pid": 2**22 + 1}, {"start": "1"}])
def test_an_operation_of_a_dead_process_is_interrupted(
    other: dict[str, object], catalog: Catalog, reopen: Reopen
) -> None:
    left_by(catalog, **other)
    assert len(reopen().journal.interrupted()) == 1
    run(reopen(), upload(), claim="/a")
    assert len(reopen().metadata.list_operations()) == 1


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {}])
def test_an_operation_of_an_alive_or_unknown_process_is_busy(
    other: dict[str, object], catalog: Catalog, reopen: Reopen
) -> None:
    left_by(catalog, **other)
    assert reopen().journal.interrupted() == []
    assert len(reopen().journal.running()) == 1
    with pytest.raises(BusyError, match=str(other.get("host", os.getpid()))):
        run(reopen(), upload(), claim="/a")


def test_an_operation_of_another_host_is_taken_over_on_request(catalog: Catalog, reopen: Reopen) -> None:
    left_by(catalog, host="elsewhere")
    again = reopen()
    with again.journal.resume(again.journal.running()[0]) as taken:
        assert taken.owner == str(Owner.current())


def test_an_operation_runs_unrecorded_if_the_catalog_fails(catalog: Catalog) -> None:
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    other = open_catalog(catalog.database.url.render_as_string(hide_password=False))
    search, reasons = SearchRecord(keyword="a"), list[CatalogError]()
    with other.journal.record(search, unrecorded=reasons.append) as operation:
        assert operation is search
        operation.total_matches = 3
    assert [type(reason) for reason in reasons] == [CatalogError]
    assert not search.is_recorded
    with pytest.raises(CatalogError):
        run(other, SearchRecord(keyword="a"))
    other.close()


def test_an_error_in_an_unrecorded_block_propagates(catalog: Catalog) -> None:
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    other = open_catalog(catalog.database.url.render_as_string(hide_password=False))
    with pytest.raises(StoreError), other.journal.record(SearchRecord(keyword="a"), unrecorded=lambda _: None):
        raise StoreError("x")
    other.close()


def test_a_batch_and_its_children(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(BatchRecord()) as batch:
        for path, error in (("/a", None), ("/b", StoreError("no"))):
            try:
                run(catalog, UploadRecord(target_path=path, parent_id=batch.operation_id), error, claim=path)
            except StoreError:
                batch.status = Status.PARTIAL
    again = reopen().metadata
    children = again.list_operations(parent=batch.operation_id)
    assert [(child.target_path, child.status) for child in children] == [("/b", Status.FAILED), ("/a", Status.SUCCESS)]
    assert again.require_operation(batch.operation_id).status is Status.PARTIAL


def claim_each(url: str, test: Connection) -> None:
    """Claim every target that `test` sends, and hold it until the next message."""
    catalog = open_catalog(url)
    for target in iter(test.recv, None):
        try:
            with catalog.journal.record(upload(), claim=target):
                test.send("won")
                test.recv()
        except BusyError:
            test.send("busy")
            test.recv()


def answer(process: Forked, pipe: Connection) -> str:
    try:
        return str(pipe.recv())
    except EOFError:
        return str(process.communicate()[1])


def test_only_one_of_eight_processes_gets_the_claim(url: str, reopen: Reopen) -> None:
    started = []
    for _ in range(8):
        here, there = multiprocessing.Pipe()
        started.append((child(lambda there=there: claim_each(url, there)), here))  # type: ignore[misc]
    for number in range(20):
        for _, pipe in started:
            pipe.send(f"/a{number}")
        assert sorted(answer(*each) for each in started) == ["busy"] * 7 + ["won"]
        for _, pipe in started:
            pipe.send("go on")
    for process, pipe in started:
        pipe.send(None)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    assert [operation.status for operation in reopen().metadata.list_operations()] == [Status.SUCCESS] * 20
