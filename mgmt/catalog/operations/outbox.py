"""The outbox: notifications that are to be delivered, at least once, by one process at a time.

A message is claimed by counting its attempt and setting the time of the next one, before anything is sent. So nobody
else sends it meanwhile, and if this process is killed, another one sends it then, with the same id. One that was
claimed has attempts and no error; one whose attempt has failed has both.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from mgmt.catalog.db.database import Database
from mgmt.catalog.records.base import now
from mgmt.catalog.records.enums import Status
from mgmt.catalog.records.jobs import OutboxRecord
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.process import this_host

SILENCE = "silence"
"""The event of a message that is sent at its time unless an operation succeeds before."""

SUBJECT, SINCE = "subject", "since"
"""What the payload of such a message names: what is silent, and since when; None if it never succeeded."""

FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(minutes=1), timedelta(hours=6)
LEASE = timedelta(minutes=2)
"""How long a process that has claimed a message may take; then it is taken for dead. An attempt takes less."""

GIVE_UP_AFTER = timedelta(days=3)
"""How long a message is tried."""

KEEP = timedelta(days=30)
"""How long a message that was delivered or given up stays listed."""

_REMOVED_AT_ONCE = 500


class Outbox:
    """Messages of this machine. Every change is part of the caller's transaction, if there is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, session: Session, messages: Iterable[OutboxRecord]) -> None:
        """Write messages within the transaction of `session`. One about silence replaces that which waits."""
        for message in messages:
            if message.event == SILENCE:
                self._database.advisory_lock(f"outbox {message.host} {message.rule}")
                if _postponed(session, message):
                    continue
            session.add(message)

    def expect(self, messages: Iterable[OutboxRecord]) -> None:
        """Write messages about silence, each unless there is one about the same silence, sent or not.

        One that waits then waits as long as this one would.
        """
        if not (some := list(messages)):
            return
        with self._database.transaction() as session:
            for message in some:
                self._database.advisory_lock(f"outbox {message.host} {message.rule}")
                since = _since(message)
                same = _of_same_subject(session, message)
                known = same if since is None else [each for each in same if (_since(each) or since) >= since]
                if not known:
                    self.write(session, [message])
                for each in known:
                    if _is_armed(each):
                        each.next_try_at = each.created_at + (message.next_try_at - message.created_at)

    def last_success(self, types: Collection[str]) -> datetime | None:
        """When an operation of these types last succeeded on this machine."""
        query = (
            select(operations.c.completed_at)
            .where(operations.c.status == Status.SUCCESS, operations.c.operation_type.in_(types))
            .where(operations.c.host == this_host())
            .order_by(operations.c.seq.desc())
            .limit(1)
        )
        with self._database.reading() as session:
            return session.scalar(query)

    def has_due(self, rules: Collection[str]) -> bool:
        """Whether a message of these rules is to be sent now."""
        with self._database.reading() as session:
            return session.scalar(select(OutboxRecord.message_id).where(_due(rules)).limit(1)) is not None

    def claim(self, rules: Collection[str]) -> OutboxRecord | None:
        """A message to send now, for this process alone; None if there is none.

        It is the oldest of its rule that was not delivered, so that a receiver learns last what happened last. While
        that is being sent, nothing else of its rule is.
        """
        with self._database.reading() as session:
            due = session.scalars(
                select(OutboxRecord.rule)
                .where(_due(rules))
                .group_by(OutboxRecord.rule)
                .order_by(func.min(OutboxRecord.created_at))
            ).all()
        for rule in due:
            if (found := self._claim_oldest(rule)) is not None:
                return found
        return None

    def _claim_oldest(self, rule: str) -> OutboxRecord | None:
        is_expected = and_(OutboxRecord.event == SILENCE, OutboxRecord.attempts == 0, OutboxRecord.next_try_at > now())
        query = (
            select(OutboxRecord)
            .where(_open([rule]), ~is_expected)
            .order_by(OutboxRecord.created_at, OutboxRecord.message_id)
            .limit(1)
        )
        with self._database.reading() as session:
            found = session.scalar(query.execution_options(populate_existing=True))
        if found is None or (found.attempts and found.error is None and found.next_try_at > now()):
            return None
        # The time of an event that was foreseen is when it is due.
        created_at = now() if _is_armed(found) and found.event == SILENCE else found.created_at
        attempts = found.attempts
        with self._database.transaction() as session:
            claimed: Any = session.execute(
                update(OutboxRecord)
                .where(OutboxRecord.message_id == found.message_id, OutboxRecord.attempts == attempts, _open([rule]))
                .values(attempts=attempts + 1, next_try_at=now() + LEASE, error=None, created_at=created_at)
                .execution_options(synchronize_session=False)
            )
            if not claimed.rowcount:
                return None
            session.refresh(found)
            return found

    def note_delivered(self, message_id: str) -> None:
        """The receiver has accepted the message."""
        self._settle(message_id, delivered_at=now(), error=None, given_up=False)

    def note_undelivered(self, message: OutboxRecord, error: str, *, gone: bool) -> None:
        """The attempt has failed with `error`. If the receiver is `gone`, or it was tried for days, it is given up.

        What else its rule has to send waits as long as the message does.
        """
        next_try_at = now() + backoff(message.attempts)
        given_up = gone or next_try_at - message.created_at > GIVE_UP_AFTER
        with self._database.transaction() as session:
            self._settle(message.message_id, error=error, given_up=given_up, next_try_at=next_try_at)
            session.execute(
                update(OutboxRecord)
                .where(_due([message.rule]))
                .values(next_try_at=next_try_at)
                .execution_options(synchronize_session=False)
            )

    def withdraw(self, message_id: str) -> None:
        """Remove a message that is not to be sent any more."""
        with self._database.transaction() as session:
            session.execute(delete(OutboxRecord).where(OutboxRecord.message_id == message_id))

    def remove_old(self, rules: Collection[str]) -> None:
        """Remove what was delivered or given up long ago; give up what none of `rules`, or no machine, has claimed."""
        old = and_(
            OutboxRecord.created_at < now() - KEEP, or_(OutboxRecord.delivered_at.is_not(None), OutboxRecord.given_up)
        )
        query = select(OutboxRecord.message_id).where(old).limit(_REMOVED_AT_ONCE)
        own = and_(
            OutboxRecord.host == this_host(),
            OutboxRecord.rule.not_in(rules),
            OutboxRecord.next_try_at < now() - GIVE_UP_AFTER,
        )
        forgotten = and_(
            OutboxRecord.delivered_at.is_(None),
            ~OutboxRecord.given_up,
            or_(own, OutboxRecord.next_try_at < now() - KEEP),
        )
        with self._database.reading() as session:
            is_forgotten = session.scalar(select(OutboxRecord.message_id).where(forgotten).limit(1)) is not None
        if is_forgotten:
            with self._database.transaction() as session:
                session.execute(
                    update(OutboxRecord)
                    .where(forgotten)
                    .values(given_up=True, error="nobody has tried it for days: its rule or its machine is gone")
                    .execution_options(synchronize_session=False)
                )
        while True:
            with self._database.reading() as session:
                found = list(session.scalars(query))
            if not found:
                return
            with self._database.transaction() as session:
                session.execute(delete(OutboxRecord).where(OutboxRecord.message_id.in_(found)))

    def messages(self, limit: int) -> Sequence[OutboxRecord]:
        """The newest messages of all machines."""
        query = select(OutboxRecord).order_by(OutboxRecord.created_at.desc(), OutboxRecord.message_id).limit(limit)
        with self._database.reading() as session:
            return session.scalars(query.execution_options(populate_existing=True)).all()

    def given_up(self) -> tuple[int, OutboxRecord | None]:
        """How many messages of all machines were given up, and the newest of them."""
        query = select(OutboxRecord).where(OutboxRecord.given_up)
        with self._database.reading() as session:
            count = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            newest = query.order_by(OutboxRecord.created_at.desc()).limit(1)
            return count, session.scalar(newest.execution_options(populate_existing=True))

    def send_again(self, message_ids: Collection[str]) -> list[OutboxRecord]:
        """Let messages that were given up be tried once more, soon; all of them if none are named. Returns them."""
        query = select(OutboxRecord).where(OutboxRecord.given_up).order_by(OutboxRecord.created_at)
        if message_ids:
            query = query.where(OutboxRecord.message_id.in_(message_ids))
        with self._database.transaction() as session:
            found = session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()
            for each in found:
                each.given_up, each.next_try_at = False, now()
            return list(found)

    def _settle(self, message_id: str, **values: object) -> None:
        with self._database.transaction() as session:
            session.execute(
                update(OutboxRecord)
                .where(OutboxRecord.message_id == message_id, OutboxRecord.delivered_at.is_(None))
                .values(values)
                .execution_options(synchronize_session=False)
            )


def backoff(attempts: int) -> timedelta:
    """How long to wait after the last of `attempts`."""
    return min(FIRST_BACKOFF * (1 << min(attempts - 1, 16)), LONGEST_BACKOFF)


def _due(rules: Collection[str]) -> ColumnElement[bool]:
    return and_(_open(rules), OutboxRecord.next_try_at <= now())


def _open(rules: Collection[str]) -> ColumnElement[bool]:
    """What was neither delivered nor given up, and is this machine's to deliver."""
    return and_(
        OutboxRecord.delivered_at.is_(None),
        ~OutboxRecord.given_up,
        OutboxRecord.host == this_host(),
        OutboxRecord.rule.in_(rules),
    )


def _is_armed(message: OutboxRecord) -> bool:
    return message.delivered_at is None and not message.given_up and message.attempts == 0


def _since(message: OutboxRecord) -> datetime | None:
    try:
        return datetime.fromisoformat(message.content[SINCE]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):  # never, or another program wrote it
        return None


def _of_same_subject(session: Session, message: OutboxRecord) -> list[OutboxRecord]:
    query = (
        select(OutboxRecord)
        .where(OutboxRecord.rule == message.rule, OutboxRecord.event == SILENCE, OutboxRecord.host == message.host)
        .execution_options(populate_existing=True)
    )
    return [each for each in session.scalars(query) if each.content.get(SUBJECT) == message.content[SUBJECT]]


def _postponed(session: Session, message: OutboxRecord) -> bool:
    """Whether a message about the same silence was waiting; then it waits as long as `message` would."""
    armed = [each.message_id for each in _of_same_subject(session, message) if _is_armed(each)]
    changed: Any = session.execute(
        update(OutboxRecord)
        .where(OutboxRecord.message_id.in_(armed), OutboxRecord.attempts == 0)
        .values(payload=message.payload, next_try_at=message.next_try_at, created_at=message.created_at)
        .execution_options(synchronize_session=False)
    )
    return bool(changed.rowcount)
