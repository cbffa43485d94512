"""The outbox: what is written with the end of an operation, and who delivers it, when."""

from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest

from mgmt.catalog import (
    SILENCE,
    BatchRecord,
    Catalog,
    End,
    JobRecord,
    NewJob,
    OutboxRecord,
    Status,
    UploadRecord,
    this_host,
)
from mgmt.catalog.operations import outbox
from mgmt.catalog.operations.outbox import GIVE_UP_AFTER, KEEP, LEASE, LONGEST_BACKOFF
from mgmt.catalog.records.base import now
from mgmt.errors import RefusedError, StoreUnavailableError

Reopen = Callable[[], Catalog]


def message(number: int = 1, **facts: object) -> OutboxRecord:
    given = {"rule": "mine", "event": "operation.failed", "payload": {}, "host": this_host()} | facts
    return OutboxRecord(message_id=f"msg_{number}", **given)  # type: ignore[arg-type]


def write(catalog: Catalog, *messages: OutboxRecord) -> None:
    with catalog.database.transaction() as session:
        catalog.outbox.write(session, messages)


def stored(catalog: Catalog) -> dict[str, OutboxRecord]:
    return {each.message_id: each for each in catalog.outbox.messages(100)}


def told(catalog: Catalog) -> list[tuple[str | None, str, str | None, bool]]:
    """What is told of each end from now on."""
    ends: list[tuple[str | None, str, str | None, bool]] = []

    def note(end: End) -> Iterable[OutboxRecord]:
        ends.append((end.operation.target_path, end.operation.status.value, end.schedule, end.is_followed))
        return [message(len(ends), operation_id=end.operation.operation_id)]

    catalog.notify_at_end(note)
    return ends


def test_a_batch_is_known_by_its_operations(catalog: Catalog) -> None:
    kinds: list[str] = []

    def note(end: End) -> Iterable[OutboxRecord]:
        kinds.append(end.kind)
        return []

    catalog.notify_at_end(note)
    with catalog.journal.record(BatchRecord(target_path="2 targets")) as batch:
        for name in ("a", "b"):
            with catalog.journal.record(UploadRecord(target_path=name, parent_id=batch.operation_id)):
                pass
    with catalog.journal.record(BatchRecord(target_path="no targets")):
        pass
    empty = BatchRecord(target_path="no targets")
    catalog.queue.add([NewJob(empty, job())])
    catalog.queue.note_fanned_out(empty.operation_id)
    assert kinds == ["upload", "upload", "upload", "batch", "upload"]


def test_each_end_is_told_in_its_transaction(catalog: Catalog) -> None:
    ends = told(catalog)
    with catalog.journal.record(UploadRecord(target_path="a")):
        pass
    with pytest.raises(RefusedError), catalog.journal.record(UploadRecord(target_path="b")):
        raise RefusedError("no")
    assert ends == [("a", "success", None, False), ("b", "failed", None, False)]
    assert set(stored(catalog)) == {"msg_1", "msg_2"}


def test_what_cannot_be_committed_is_not_told(catalog: Catalog) -> None:
    told(catalog)
    with pytest.raises(ZeroDivisionError), catalog.database.transaction():  # noqa: PT012 - it encloses the end
        with catalog.journal.record(UploadRecord(target_path="a")):
            pass
        raise ZeroDivisionError
    assert stored(catalog) == {}


def test_ends_without_a_run_are_told_too(catalog: Catalog) -> None:
    """Those of what is cancelled, of what waited for it, and of a batch whose last operation ends."""
    ends = told(catalog)
    batch, child, following = BatchRecord(target_path="batch"), UploadRecord(target_path="child"), UploadRecord()
    following.target_path = "following"
    child.parent_id = batch.operation_id
    catalog.queue.add([NewJob(batch, job(schedule="nightly")), NewJob(child, job())])
    catalog.queue.add([NewJob(following, job(), [batch.operation_id])])
    catalog.queue.note_fanned_out(batch.operation_id)
    catalog.queue.cancel(child.operation_id)
    assert ends == [
        ("child", "cancelled", None, False),
        ("batch", "failed", "nightly", False),
        ("following", "cancelled", None, False),
    ]


def test_an_attempt_that_another_one_follows_is_told_as_such(catalog: Catalog) -> None:
    ends = told(catalog)
    operation = UploadRecord(target_path="a")
    catalog.queue.add([NewJob(operation, job(attempts=2, backoff_seconds=0, schedule="nightly"))])
    for _ in range(2):
        (waiting,) = [each for _, each in catalog.queue.jobs()]
        catalog.journal.run_requested(waiting.operation_id)
        with pytest.raises(StoreUnavailableError), catalog.journal.record(UploadRecord(target_path="a")):
            raise StoreUnavailableError("no")
    assert ends == [("a", "failed", "nightly", True), ("a", "failed", "nightly", False)]


def job(**facts: object) -> JobRecord:
    return JobRecord(operation_id="", command="upload", queue="any", **facts)  # type: ignore[arg-type]


def test_nobody_else_delivers_what_is_claimed(catalog: Catalog, reopen: Reopen) -> None:
    write(catalog, message())
    other = reopen()
    assert other.outbox.has_due(["mine"])
    claimed = catalog.outbox.claim(["mine"])
    assert claimed is not None
    assert (claimed.message_id, claimed.attempts) == ("msg_1", 1)
    assert other.outbox.claim(["mine"]) is None
    assert not other.outbox.has_due(["mine"])


def test_of_two_that_find_the_same_message_one_gets_it(
    catalog: Catalog, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(catalog, message())
    other = reopen()
    taken: list[OutboxRecord | None] = []
    is_armed = outbox._is_armed

    def meanwhile(found: OutboxRecord) -> bool:
        """Called when a message is found, and not yet claimed."""
        if not taken:
            taken.append(None)
            taken[0] = other.outbox.claim(["mine"])
        return is_armed(found)

    monkeypatch.setattr(outbox, "_is_armed", meanwhile)
    assert catalog.outbox.claim(["mine"]) is None
    assert taken[0] is not None


def test_what_was_claimed_and_not_settled_comes_again_with_the_same_id(
    catalog: Catalog, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(catalog, message())
    assert catalog.outbox.claim(["mine"]) is not None  # and is killed
    later = now() + LEASE
    monkeypatch.setattr(outbox, "now", lambda: later)
    again = reopen().outbox.claim(["mine"])
    assert again is not None
    assert (again.message_id, again.attempts) == ("msg_1", 2)


def test_the_oldest_comes_first_and_only_what_this_machine_and_these_rules_have(catalog: Catalog) -> None:
    old = now() - timedelta(hours=1)
    write(catalog, message(1), message(2, created_at=old), message(3, rule="other"), message(4, host="elsewhere"))
    write(catalog, message(5, next_try_at=now() + timedelta(hours=1)))
    claimed = []
    while (each := catalog.outbox.claim(["mine"])) is not None:
        claimed.append(each.message_id)
        assert catalog.outbox.claim(["mine"]) is None  # one at a time
        catalog.outbox.note_delivered(each.message_id)
    assert claimed == ["msg_2", "msg_1"]
    assert catalog.outbox.claim([]) is None


def test_delivered(catalog: Catalog) -> None:
    write(catalog, message(error="before"))
    catalog.outbox.note_delivered("msg_1")
    found = stored(catalog)["msg_1"]
    assert found.delivered_at is not None
    assert (found.error, catalog.outbox.has_due(["mine"])) == (None, False)


def test_attempts_are_further_and_further_apart_and_end(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    write(catalog, message())
    clock, waits = now(), []
    while True:
        monkeypatch.setattr(outbox, "now", lambda at=clock: at)
        claimed = catalog.outbox.claim(["mine"])
        assert claimed is not None
        catalog.outbox.note_undelivered(claimed, "no answer", gone=False)
        found = stored(catalog)["msg_1"]
        if found.given_up:
            break
        waits.append(found.next_try_at - clock)
        clock = found.next_try_at
    assert waits[:4] == [timedelta(minutes=each) for each in (1, 2, 4, 8)]
    assert max(waits) == LONGEST_BACKOFF
    assert GIVE_UP_AFTER - LONGEST_BACKOFF <= clock - found.created_at <= GIVE_UP_AFTER
    assert found.error == "no answer"
    assert not catalog.outbox.has_due(["mine"])


def test_what_comes_later_waits_and_then_comes_later(catalog: Catalog) -> None:
    """A new message is a reason to try again, and the oldest is tried first: the last news arrives last."""
    old = now() - timedelta(hours=1)
    write(catalog, message(1, created_at=old), message(2))
    first = catalog.outbox.claim(["mine"])
    assert first is not None
    catalog.outbox.note_undelivered(first, "no answer", gone=False)
    assert catalog.outbox.claim(["mine"]) is None
    found = stored(catalog)
    assert found["msg_1"].next_try_at == found["msg_2"].next_try_at > now()
    write(catalog, message(3))
    claimed = []
    while (each := catalog.outbox.claim(["mine"])) is not None:
        claimed.append((each.message_id, each.attempts))
        catalog.outbox.note_delivered(each.message_id)
    assert claimed == [("msg_1", 2), ("msg_2", 1), ("msg_3", 1)]


def test_a_receiver_that_is_gone_gets_no_more(catalog: Catalog) -> None:
    write(catalog, message())
    claimed = catalog.outbox.claim(["mine"])
    assert claimed is not None
    catalog.outbox.note_undelivered(claimed, "gone", gone=True)
    assert stored(catalog)["msg_1"].given_up


def test_what_is_old_is_removed_in_batches(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_REMOVED_AT_ONCE", 2)
    old = now() - KEEP - timedelta(hours=1)
    write(catalog, *(message(number, created_at=old, delivered_at=old) for number in range(5)))
    write(catalog, message(5, created_at=old, given_up=True), message(6, created_at=old))
    write(catalog, message(7, delivered_at=now()), message(8, created_at=old, delivered_at=old, host="elsewhere"))
    catalog.outbox.remove_old(["mine"])
    assert set(stored(catalog)) == {"msg_6", "msg_7"}


def test_what_nobody_claims_is_given_up(catalog: Catalog) -> None:
    days, month = now() - GIVE_UP_AFTER - timedelta(hours=1), now() - KEEP - timedelta(hours=1)
    write(catalog, message(1, next_try_at=days), message(2, next_try_at=days, host="elsewhere"), message(3))
    write(catalog, message(4, next_try_at=days, rule="other"), message(5, next_try_at=month, host="elsewhere"))
    catalog.outbox.remove_old(["mine"])
    found = stored(catalog)
    assert {each for each in found if found[each].given_up} == {"msg_4", "msg_5"}
    assert found["msg_4"].error == "nobody has tried it for days: its rule or its machine is gone"


def silence(number: int, hours: float, *, subject: str = "upload", known: bool = True, last: float = 0) -> OutboxRecord:
    """A message about a silence of `hours` since a success that was `last` hours ago."""
    since = now() - timedelta(hours=last)
    return message(
        number,
        event=SILENCE,
        payload={"subject": subject, "since": since.isoformat() if known else None},
        created_at=since,
        next_try_at=since + timedelta(hours=hours),
    )


def test_a_success_postpones_what_is_expected(catalog: Catalog) -> None:
    catalog.outbox.expect([silence(1, 26, last=20), silence(2, 26, last=20, subject="verify")])
    write(catalog, silence(3, 26))
    found = stored(catalog)
    assert set(found) == {"msg_1", "msg_2"}
    assert found["msg_1"].next_try_at - now() > timedelta(hours=25)
    assert found["msg_2"].next_try_at - now() < timedelta(hours=7)


def test_what_is_expected_is_written_once(catalog: Catalog, reopen: Reopen) -> None:
    catalog.outbox.expect([silence(1, 26, known=False, last=3)])
    reopen().outbox.expect([silence(2, 26, known=False)])
    reopen().outbox.expect([silence(3, 26, last=9)])
    (found,) = stored(catalog).values()
    assert found.message_id == "msg_1"
    assert timedelta(hours=22) < found.next_try_at - now() < timedelta(hours=24)


def test_another_duration_counts_from_the_same_success(catalog: Catalog) -> None:
    catalog.outbox.expect([silence(1, 26, last=3)])
    catalog.outbox.expect([silence(2, 4, last=3)])
    (found,) = stored(catalog).values()
    assert timedelta(minutes=50) < found.next_try_at - now() < timedelta(minutes=70)


def test_a_silence_is_told_once_until_something_succeeds(catalog: Catalog) -> None:
    first, again = silence(1, 26, last=30), silence(2, 26, last=30)
    again.payload = dict(first.payload)
    catalog.outbox.expect([first])
    claimed = catalog.outbox.claim(["mine"])
    assert claimed is not None
    assert now() - claimed.created_at < timedelta(minutes=1)
    catalog.outbox.note_delivered("msg_1")
    catalog.outbox.expect([again])
    assert set(stored(catalog)) == {"msg_1"}
    write(catalog, silence(3, 26))
    assert set(stored(catalog)) == {"msg_1", "msg_3"}


def test_a_message_can_be_withdrawn(catalog: Catalog) -> None:
    write(catalog, message())
    catalog.outbox.withdraw("msg_1")
    assert stored(catalog) == {}


def test_the_last_success_is_that_of_this_machine(catalog: Catalog) -> None:
    assert catalog.outbox.last_success(["upload"]) is None
    with catalog.journal.record(UploadRecord(target_path="a")) as upload:
        pass
    with catalog.journal.record(UploadRecord(target_path="b", host="elsewhere")):
        pass
    with pytest.raises(RefusedError), catalog.journal.record(UploadRecord(target_path="c")):
        raise RefusedError("no")
    assert upload.status == Status.SUCCESS
    assert catalog.outbox.last_success(["upload"]) == upload.completed_at
    assert catalog.outbox.last_success(["verify"]) is None
