"""The heartbeat of running operations, and what a process can do after losing its operation."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, text

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    FileRecord,
    Location,
    OperationRecord,
    Role,
    Status,
    UploadRecord,
)
from mgmt.catalog.db import database
from mgmt.catalog.operations import heartbeat
from mgmt.catalog.records.process import Owner
from mgmt.errors import BusyError, CatalogError, ExitStatus, LostError, StoreError
from mgmt.progress import CountedProgress, NoProgress
from tests.waiting import until

Reopen = Callable[[], Catalog]


def stored(catalog: Catalog, operation: OperationRecord) -> OperationRecord:
    return catalog.metadata.require_operation(operation.operation_id)


def heard(reopen: Reopen, operation: OperationRecord) -> datetime:
    seen = stored(reopen(), operation).heard_at
    assert seen is not None
    return seen


def heard_again(reopen: Reopen, operation: OperationRecord, before: datetime) -> datetime:
    until(lambda: heard(reopen, operation) != before, "a heartbeat")
    return heard(reopen, operation)


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mgmt heartbeat"]


def take_over(catalog: Catalog, operation: OperationRecord, owner: str = "other/boot/7/1") -> None:
    """Change the owner, as `mgmt recover --host` on another machine does."""
    with catalog.database.transaction() as session:
        session.execute(
            text("UPDATE operations SET owner = :owner WHERE operation_id = :id"),
            {"owner": owner, "id": operation.operation_id},
        )


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "RETRY_SECONDS", 0.01)


def test_a_heartbeat_has_the_time_of_the_database(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(UploadRecord(target_path="/a")) as operation:
        assert operation.heard_at is not None
        assert abs((heard(reopen, operation) - datetime.now(UTC)).total_seconds()) < 60
    assert stored(reopen(), operation).heard_at is None
    assert operation.heard_at is None


@pytest.mark.usefixtures("often")
def test_heartbeats_continue_while_an_operation_runs(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(BatchRecord()) as batch, catalog.journal.record(UploadRecord()) as operation:
        for each in (batch, operation, batch):
            heard_again(reopen, each, heard(reopen, each))
        assert len(threads()) == 1
        operation.stage = "not committed yet"
        heard_again(reopen, operation, heard(reopen, operation))
        assert stored(reopen(), operation).stage is None
    assert threads() == []
    assert stored(reopen(), operation).stage == "not committed yet"
    assert [each.heard_at for each in reopen().metadata.list_operations()] == [None, None]


@pytest.mark.usefixtures("often")
def test_a_heartbeat_neither_blocks_nor_waits(catalog: Catalog, reopen: Reopen) -> None:
    other = reopen()
    with catalog.journal.record(UploadRecord()) as operation:
        before = heard(reopen, operation)
        heard_again(reopen, operation, before)
        with catalog.database.transaction():  # the heartbeat must fail meanwhile; leaving the block joins the thread
            operation.stage = "proven"
            catalog.journal.close(operation)
    with other.database.transaction() as session:
        session.execute(text("UPDATE endpoints SET max_parts = 1"))
        with reopen().database.side_transaction() as connection:
            assert (connection is None) == other.database.is_sqlite
    assert threads() == []


@pytest.mark.usefixtures("often")
def test_a_failed_heartbeat_does_not_stop_the_operation(catalog: Catalog, reopen: Reopen) -> None:
    other = reopen()
    with catalog.journal.record(UploadRecord()) as operation:
        with other.database.transaction() as session:
            session.execute(text("ALTER TABLE operations RENAME COLUMN heard_at TO x"))
        with pytest.raises(CatalogError):
            heard(reopen, operation)
        assert len(threads()) == 1
        with other.database.transaction() as session:
            session.execute(text("ALTER TABLE operations RENAME COLUMN x TO heard_at"))
        heard_again(reopen, operation, heard(reopen, operation))
    assert stored(reopen(), operation).status is Status.SUCCESS


def test_busy_error_gives_the_last_heartbeat(catalog: Catalog, reopen: Reopen) -> None:
    with catalog.journal.record(UploadRecord(), claim="c") as operation:
        take_over(reopen(), operation)
        with pytest.raises(BusyError) as caught, reopen().journal.record(UploadRecord(), claim="c"):
            pass
        assert f"last heartbeat {heard(reopen, operation).isoformat(timespec='seconds')}" in caught.value.message
        assert "mgmt recover --host other" in str(caught.value.next_step)
        take_over(reopen(), operation, str(Owner.current()))


def lose(catalog: Catalog, reopen: Reopen, then: Callable[[OperationRecord], object]) -> OperationRecord:
    """Let an operation be taken over while it runs, and then call `then` in its own process."""
    operation = UploadRecord(target_path="/a")
    with catalog.journal.record(operation, claim="/a"):
        operation.stage = "sending"
        catalog.journal.checkpoint()
        take_over(reopen(), operation)
        operation.stage = "proven"
        then(operation)
    return operation


WAYS: dict[str, Callable[[Catalog, OperationRecord], object]] = {
    "checkpoint": lambda catalog, _: catalog.journal.checkpoint(),
    "close": lambda catalog, operation: catalog.journal.close(operation),
    "confirm": lambda catalog, _: catalog.journal.confirm(),
    "the end of the block": lambda *_: None,
    "another operation": lambda catalog, _: catalog.journal.record(UploadRecord(target_path="/b")).__enter__(),
    "a file": lambda catalog, _: catalog.metadata.save_file_record(
        FileRecord(path="/a", location=Location.LOCAL, host="h")
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_committed_after_the_operation_is_lost(way: str, catalog: Catalog, reopen: Reopen) -> None:
    with pytest.raises(LostError) as caught:
        lose(catalog, reopen, lambda operation: WAYS[way](catalog, operation))
    assert caught.value.exit_status == ExitStatus.BUSY
    assert "taken over by process 7 on other" in caught.value.message
    (only,) = reopen().metadata.list_operations()
    assert (only.status, only.stage, only.owner) == (Status.RUNNING, "sending", "other/boot/7/1")
    assert reopen().metadata.list_files() == []
    assert threads() == []
    with catalog.journal.record(UploadRecord(target_path="/b")):  # another operation is not affected
        pass


def test_an_error_after_the_operation_is_lost_raises_lost_error(catalog: Catalog, reopen: Reopen) -> None:
    def fail(_: OperationRecord) -> None:
        raise StoreError("no")

    with pytest.raises(LostError) as caught:
        lose(catalog, reopen, fail)
    assert isinstance(caught.value.__cause__, StoreError)
    (only,) = reopen().metadata.list_operations()
    assert (only.status, only.stage, only.error_message) == (Status.RUNNING, "sending", None)


def test_the_outcome_recorded_by_another_process_is_kept(catalog: Catalog, reopen: Reopen) -> None:
    def settle(operation: OperationRecord) -> None:
        other = reopen()
        take_over(other, operation)
        other.journal.close(stored(other, operation), Status.CANCELLED, "taken over")

    with pytest.raises(LostError):
        lose(catalog, reopen, settle)
    (only,) = reopen().metadata.list_operations()
    assert (only.status, only.error_message) == (Status.CANCELLED, "taken over")


def test_a_child_of_a_lost_batch_does_not_start(catalog: Catalog, reopen: Reopen) -> None:
    def go_on() -> None:
        with catalog.journal.record(BatchRecord()) as batch:
            take_over(reopen(), batch)
            with pytest.raises(LostError), catalog.journal.record(UploadRecord(parent_id=batch.operation_id)):
                pytest.fail("it has begun")

    with pytest.raises(LostError):
        go_on()
    assert [each.status for each in reopen().metadata.list_operations()] == [Status.RUNNING]


def test_a_removed_operation_raises_lost_error(catalog: Catalog, reopen: Reopen) -> None:
    def remove(_: OperationRecord) -> None:
        with reopen().database.transaction() as session:
            session.execute(text("DELETE FROM uploads"))
            session.execute(text("DELETE FROM operations"))

    with pytest.raises(LostError, match="no longer in the catalog"):
        lose(catalog, reopen, remove)


def test_finished_operations_are_not_queried_again(
    catalog: Catalog, reopen: Reopen, make_archive: Callable[..., FileRecord]
) -> None:
    with catalog.journal.record(UploadRecord()) as operation:
        with catalog.transaction():
            catalog.journal.link(operation, catalog.metadata.save_file_record(make_archive("a")), Role.ARCHIVE)
            catalog.journal.close(operation)
        asked: list[str] = []
        event.listen(catalog.database.bind(), "before_cursor_execute", lambda *said: asked.append(said[2]))
        catalog.metadata.save_file_record(make_archive("b"))
        catalog.journal.confirm()
        assert [each for each in asked if "operations" in each and each.startswith("SELECT")] == []
    assert len(reopen().metadata.list_files()) == 2


def test_waiting_for_a_row_locked_by_a_dead_machine_times_out(
    catalog: Catalog, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr("mgmt.catalog.db.commit_recovery.LOCK_SECONDS", 0.05)
    with pytest.raises(LostError):
        lose(catalog, reopen, lambda _: None)
    dead, other = reopen(), reopen()
    (left,) = other.journal.left_by("other")
    with dead.database.transaction() as session:
        session.execute(text("UPDATE operations SET stage = 'x'"))
        with pytest.raises(CatalogError, match=r"locked by another session|is busy"):
            other.journal.take_up(left)
    assert other.journal.take_up(left).stage == "x"


def test_an_operation_cannot_be_taken_over_during_a_transaction(catalog: Catalog, reopen: Reopen) -> None:
    """SQLite has a single writer; on PostgreSQL the row is locked."""
    other = reopen()

    def at_once(operation: OperationRecord) -> None:
        with other.database.side_transaction() as connection:
            if connection is None:
                raise CatalogError("another process is writing")
            connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
            connection.execute(
                text("UPDATE operations SET owner = 'x' WHERE operation_id = :id"), {"id": operation.operation_id}
            )

    other.metadata.list_files()
    with catalog.journal.record(UploadRecord()) as operation:
        with catalog.database.transaction(), pytest.raises(CatalogError, match=r"locked by another|is writing"):
            at_once(operation)
        catalog.journal.confirm()


@pytest.mark.usefixtures("often")
def test_a_heartbeat_says_how_far_the_work_is(catalog: Catalog, reopen: Reopen) -> None:
    progress = CountedProgress(NoProgress())
    catalog.watch(progress)
    operation = UploadRecord(target_path="/a")
    with catalog.journal.record(operation):
        progress.start("upload a", 400)
        progress.advance(100)
        until(lambda: stored(reopen(), operation).bytes_per_second is not None, "a heartbeat with the progress")
        seen = stored(reopen(), operation)
        assert (seen.done_bytes, seen.total_bytes) == (100, 400)
    ended = stored(reopen(), operation)
    assert (ended.done_bytes, ended.total_bytes, ended.bytes_per_second) == (None, None, None)
