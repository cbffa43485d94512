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
    return [
        Notification(
            message_id=each.message_id,
            rule=each.rule,
            event=each.event,
            status=_status(each),
            text=text_of(each.content),
            operation_id=each.operation_id,
            created_at=each.created_at,
            attempts=each.attempts,
            next_try_at=each.next_try_at if _status(each) in ("expected", "waiting") else None,
            delivered_at=each.delivered_at,
            error=each.error,
            host=each.host,
        )
        for each in catalog.outbox.messages(limit)
    ]


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
