"""Try notification rules, and list what was delivered and what waits."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mgmt.catalog import SILENCE, Catalog, OutboxRecord
from mgmt.errors import NotFoundError
from mgmt.services.steps.channels import limit, send, text_of
from mgmt.services.steps.notices import trial
from mgmt.services.steps.post import UndeliveredError
from mgmt.services.steps.rules import Rule
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message, and what has become of it."""

    type: str = "notification"
    message_id: str
    rule: str
    event: str
    status: str
    """expected (sent if nothing succeeds before `next_try_at`), waiting, delivered, or failed: given up."""
    text: str
    operation_id: str | None
    created_at: datetime
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None
    error: str | None
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of trying a rule."""

    type: str = "trial"
    rule: str
    channel: str
    status: str
    """delivered or failed."""
    seconds: float
    error: str | None


def listed(catalog: Catalog, limit: int) -> list[Notification]:
    """The newest messages of all machines."""
    return [_notification(each) for each in catalog.outbox.messages(limit)]


def send_again(message_ids: Sequence[str], catalog: Catalog) -> list[Notification]:
    """Let notifications that were given up be tried once more; all of them if none are named.

    Raises NotFoundError, before anything is changed, if one is not among them.
    """
    with catalog.transaction():
        found = catalog.outbox.send_again(message_ids)
        missing = set(message_ids) - {each.message_id for each in found}
        if missing:
            raise NotFoundError(f"notification {min(missing)} was not given up", next_step="mgmt notify ls")
        return [_notification(each) for each in found]


def _notification(message: OutboxRecord) -> Notification:
    return Notification(
        message_id=message.message_id,
        rule=message.rule,
        event=message.event,
        status=_status(message),
        text=text_of(message.content),
        operation_id=message.operation_id,
        created_at=message.created_at,
        attempts=message.attempts,
        next_try_at=message.next_try_at if _status(message) in ("expected", "waiting") else None,
        delivered_at=message.delivered_at,
        error=message.error,
        host=message.host,
    )


def _status(message: OutboxRecord) -> str:
    if message.delivered_at is not None:
        return "delivered"
    if message.given_up:
        return "failed"
    return "expected" if message.event == SILENCE and message.attempts == 0 else "waiting"


def try_rules(rules: Sequence[Rule], name: str | None) -> list[Trial]:
    """Send a test through each rule, or that called `name`. Nothing is recorded. Raises NotFoundError."""
    chosen = [rule for rule in rules if name in (None, rule.name)]
    if not chosen:
        what = "there is no notification rule" + (f" {name!r}" if name is not None else "")
        known = "".join(f"\nmgmt notify test {shell_word(rule.name)}" for rule in rules)
        raise NotFoundError(what, next_step=known.strip() or "mgmt config path\n# add [[notify]] to that file")
    return [_tried(rule) for rule in chosen]


def _tried(rule: Rule) -> Trial:
    began, error = time.monotonic(), None
    try:
        send(rule, trial(), limit(rule))
    except UndeliveredError as exc:
        error = str(exc)
    status = "delivered" if error is None else "failed"
    seconds = round(time.monotonic() - began, 3)
    return Trial(rule=rule.name, channel=rule.channel, status=status, seconds=seconds, error=error)
