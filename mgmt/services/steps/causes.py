"""Why operations failed: messages of the same cause, whatever names and numbers they have."""

import re
from collections.abc import Iterable
from datetime import datetime

from mgmt.catalog import Database
from mgmt.catalog.operations.figures import TARGET, Activity, Messages
from mgmt.catalog.operations.unresolved import unresolved
from mgmt.choices import WORK
from mgmt.services.steps.figures import Failure

MOST = 20
"""Causes that a report lists."""

_SENTENCE = re.compile(r"(?<=[^\s.])[.](?=\s)")
_NAMED = (
    re.compile(r"'(?:[^'\\]|\\.)*'(?!\w)|\"[^\"]*\""),
    re.compile(r"\b[a-z][a-z0-9+]*://[^\s,;]*[^\s,;:.]", re.IGNORECASE),
    re.compile(r"\S*/\S*[^\s,;:.)]"),
    re.compile(r"\S+\.tar\.gz\b"),
    re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{12,}\b"),
)
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d.,:]*\b")
_REPEATED = re.compile(r"…(?:\S*\s*…)+")

NAME, NUMBER = "…", "N"


def cause_of(message: str) -> str:
    """The first sentence of a message, with `…` for each name, path and URL, and N for each number.

    The reason of an error is kept in parentheses or after a colon, as it is what tells the causes apart.
    """
    text = " ".join(message.split())
    text = _SENTENCE.split(text, maxsplit=1)[0]
    for pattern in _NAMED:
        text = pattern.sub(NAME, text)
    text = _REPEATED.sub(NAME, _NUMBER.sub(NUMBER, text))
    return text.strip() or "no message"


def failures(activity: Activity) -> tuple[Failure, ...]:
    """The causes for which operations of this period failed, the most frequent first: `MOST` of them."""
    return _by_cause(activity, activity.failures())


def left_undone(database: Database, since: datetime) -> tuple[Failure, ...]:
    """The same of those that failed since then, that can be retried, and whose targets nothing was tried on since."""
    activity, found = Activity(database), []
    for each in unresolved(database, WORK, since):
        path = each.target or ""
        message = each.message.replace(path, TARGET) if "/" in path else each.message
        found.append(Messages(each.operation_type, message, 1, each.seq))
    return _by_cause(activity, found)


def _by_cause(activity: Activity, messages: Iterable[Messages]) -> tuple[Failure, ...]:
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for kind, message, number, seq in messages:
        named = kind, cause_of(message)
        before, last = counts.get(named, (0, 0))
        counts[named] = before + number, max(last, seq)
    listed = sorted(counts.items(), key=lambda each: (-each[1][0], each[0]))[:MOST]
    found = []
    for (kind, cause), (number, seq) in listed:
        operation_id, at = activity.last(seq)
        found.append(
            Failure(operation_type=kind, cause=cause, operations=number, last_at=at, last_operation=operation_id)
        )
    return tuple(found)
