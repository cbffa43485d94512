"""What the end of an operation, or a silence, is told as: the messages of the rules that it concerns."""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import mgmt
from mgmt.catalog import SILENCE, BatchRecord, End, OperationRecord, Outbox, OutboxRecord, Status, this_host
from mgmt.services.steps.rules import STARTED, Rule

_FACTS = (
    *("operation_id", "operation_type", "status", "target_path", "result_path", "error_message", "user", "host"),
    *("started_at", "completed_at", "retry_of", "mgmt_version"),
)
"""What a message says of an operation."""


def messages(end: End, rules: Sequence[Rule]) -> Iterator[OutboxRecord]:
    """The messages about the end of an operation: one for each rule that it matches, and what is expected from now on.

    An operation of a batch is not told of, as the batch is; nor is an attempt that another one follows.
    """
    operation = end.operation
    if operation.parent_id is not None or end.is_followed:
        return
    for rule in rules:
        if not rule.concerns(operation.operation_type, end.kind, end.schedule):
            continue
        if operation.status.value in rule.on:
            yield _of_operation(rule, end, operation.status.value)
        if rule.silence is not None and _has_done_something(operation):
            subject = rule.subject_of(operation.operation_type, end.kind, end.schedule)
            yield _of_silence(rule, subject, operation.completed_at or datetime.now(UTC), is_known=True)


def start(rule: Rule, operation: OperationRecord, schedule: str | None) -> OutboxRecord | None:
    """The message that an operation begins; None if the rule does not tell of it."""
    kind = operation.operation_type  # of a batch nothing else is known yet
    told = STARTED in rule.on and operation.parent_id is None and rule.concerns(kind, kind, schedule)
    return _of_operation(rule, End(operation, kind, schedule), STARTED) if told else None


def expected(rules: Iterable[Rule], outbox: Outbox) -> Iterator[OutboxRecord]:
    """The messages about silence that are due unless something succeeds before."""
    for rule in rules:
        for subject in rule.subjects if rule.silence is not None else ():
            last = None if rule.schedules else outbox.last_success((subject,) if subject else rule.types)
            yield _of_silence(rule, subject, last or datetime.now(UTC), is_known=last is not None)


def trial() -> OutboxRecord:
    """A message to try a channel with."""
    now = datetime.now(UTC)
    facts = {"host": this_host(), "mgmt_version": mgmt.__version__}
    return OutboxRecord(message_id=_new_id(), rule="", event="test", payload=_payload("test", now, facts), host="")


def _has_done_something(operation: OperationRecord) -> bool:
    """Whether it ends a silence, as a batch does of which some operations have succeeded."""
    done = (Status.SUCCESS, Status.PARTIAL) if isinstance(operation, BatchRecord) else (Status.SUCCESS,)
    return operation.status in done


def _of_operation(rule: Rule, end: End, status: str) -> OutboxRecord:
    operation = end.operation
    event = f"operation.{status}"
    facts = {name: _plain(getattr(operation, name)) for name in _FACTS}
    facts |= {"status": status, "duration_seconds": operation.duration_seconds, "schedule": end.schedule}
    batch_of = end.kind if isinstance(operation, BatchRecord) else None
    facts |= {"store": _store(operation), "batch_of": batch_of}
    return OutboxRecord(
        message_id=_new_id(),
        rule=rule.name,
        event=event,
        operation_id=operation.operation_id,
        payload=_payload(event, operation.completed_at or datetime.now(UTC), facts),
        host=this_host(),
    )


def _of_silence(rule: Rule, subject: str, since: datetime, *, is_known: bool) -> OutboxRecord:
    assert rule.silence is not None  # noqa: S101 - the caller has looked
    due = since + rule.silence
    facts = {
        "operation_type": None if rule.schedules else subject or None,
        "schedule": subject if rule.schedules else None,
        "silent_seconds": rule.silence.total_seconds(),
        "last_success_at": since.isoformat() if is_known else None,
        "host": this_host(),
        "mgmt_version": mgmt.__version__,
    }
    payload = _payload(SILENCE, due, facts) | {"subject": subject, "since": since.isoformat() if is_known else None}
    return OutboxRecord(
        message_id=_new_id(),
        rule=rule.name,
        event=SILENCE,
        payload=payload,
        created_at=since,
        next_try_at=due,
        host=this_host(),
    )


def _payload(event: str, moment: datetime, facts: dict[str, Any]) -> dict[str, Any]:
    """As Standard Webhooks recommends it: the type, the time of the event, and its data."""
    return {"type": event, "timestamp": moment.isoformat(), "data": facts}


def _new_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def _store(operation: OperationRecord) -> str | None:
    store = getattr(operation, "store", None)
    return store if isinstance(store, str) else None


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Status):
        return value.value
    # A name that is not UTF-8 has surrogates, which neither a database nor JSON can hold.
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value
