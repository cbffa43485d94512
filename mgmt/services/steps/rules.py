"""The `[[notify]]` rules of the configuration file: what is told, and to whom."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import urlsplit

from mgmt.config import parse_duration
from mgmt.errors import ConfigurationError

STATUSES = ("failed", "partial", "success", "cancelled")
STARTED = "started"
"""What a ping may tell of besides: that an operation begins. It is not stored, and sent once."""

TYPES = (
    *("batch", "class", "config", "delete", "download", "free", "ignore", "lock", "prune", "rebuild", "recover"),
    *("restore", "search", "status", "tag", "undelete", "undo", "upload", "verify"),
)
"""The types of operations, as the catalog has them."""

QUESTIONS = ("search", "status")
"""Types that only look something up; a rule has to name them."""

URL_CHANNELS = ("webhook", "ping", "ntfy", "slack")
CHANNELS = (*URL_CHANNELS, "command")
SIGNED = ("webhook", "ntfy")
"""The channels that take a secret: to sign with, or as an access token."""

KEYS = ("name", "on", "types", "schedules", "silence", *CHANNELS, "secret_file", "secret_command", "allow_private")
"""What a rule can have."""

_DEFAULT_ON = ("failed", "partial")
_UNSAFE = re.compile(r"[^!-~]|[\\\"<>^`{|}]")
"""What no URL contains unescaped (RFC 3986), and parsers read in different ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. What it holds of its channel may be secret, and is not shown."""

    name: str
    on: Collection[str]
    """The statuses that it tells of."""
    types: Collection[str]
    schedules: Collection[str]
    """Only operations of these schedules; empty for all operations."""
    silence: timedelta | None
    """After how long without a success it tells of that."""
    channel: str
    target: str | tuple[str, ...] = field(repr=False)
    """The URL, or the words of a command."""
    secret_files: tuple[str, ...] = ()
    secret_commands: tuple[tuple[str, ...], ...] = ()
    allow_private: bool = False

    @property
    def subjects(self) -> tuple[str, ...]:
        """What must not be silent: each schedule, otherwise each type that it names, otherwise all of them."""
        return tuple(self.schedules) or (() if self.types == _ANY_TYPE else tuple(self.types)) or ("",)

    def concerns(self, operation_type: str, kind: str, schedule: str | None) -> bool:
        """Whether it is about operations like this one; `kind` is the type of the operations of a batch."""
        is_named = operation_type in self.types or kind in self.types
        return is_named and (not self.schedules or schedule in self.schedules)

    def subject_of(self, operation_type: str, kind: str, schedule: str | None) -> str:
        """Which of its subjects an operation that it concerns is."""
        if self.schedules:
            return str(schedule)
        if self.types == _ANY_TYPE:
            return ""
        return kind if kind in self.types else operation_type


_ANY_TYPE = tuple(each for each in TYPES if each not in QUESTIONS)


def parse_rules(tables: object, origin: str) -> tuple[Rule, ...]:
    """The rules in `tables`, the value of `notify` in the file that `origin` names.

    Raises ConfigurationError, which names the rule, and repeats no value that may be secret.
    """
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise ConfigurationError(f"notify ({origin}): must be written as [[notify]]", next_step=_NEXT)
    rules: list[Rule] = []
    for number, table in enumerate(tables, 1):
        rule = _Parser(table, number, origin).rule()
        if rule.name in [each.name for each in rules]:
            raise ConfigurationError(f"notify rule {rule.name!r} ({origin}): the name is taken", next_step=_NEXT)
        rules.append(rule)
    return tuple(rules)


_NEXT = "see docs/notifications.md"


@dataclass(frozen=True, slots=True)
class _Parser:
    """Reads one table."""

    table: Mapping[str, Any]
    number: int
    origin: str

    def rule(self) -> Rule:
        name = self.table.get("name")
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            self.refuse("it needs a name")
        if unknown := [each for each in self.table if each not in KEYS]:
            self.refuse(f"there is no {unknown[0]!r}; use {', '.join(KEYS)}")
        silence = self.silence()
        channel = self.channel()
        known = (STARTED, *STATUSES) if channel == "ping" else STATUSES
        default = known if channel == "ping" else () if silence is not None else _DEFAULT_ON
        rule = Rule(
            name=name,
            on=self.some_of("on", known, default),
            types=self.some_of("types", TYPES, _ANY_TYPE),
            schedules=self.words("schedules"),
            silence=silence,
            channel=channel,
            target=self.target(channel),
            secret_files=self.words("secret_file"),
            secret_commands=self.secret_commands(),
            allow_private=self.flag("allow_private"),
        )
        if channel not in SIGNED and (rule.secret_files or rule.secret_commands):
            self.refuse(f"a secret is for {' or '.join(SIGNED)}, not for {channel}")
        if not all(each.startswith(("/", "~")) for each in rule.secret_files):
            self.refuse("'secret_file' must be an absolute path, or begin with ~")
        if not rule.on and rule.silence is None:
            self.refuse("it needs a status in 'on', or 'silence'")
        return rule

    def refuse(self, why: str) -> NoReturn:
        name = self.table.get("name")
        which = repr(name) if isinstance(name, str) else f"number {self.number}"
        raise ConfigurationError(f"notify rule {which} ({self.origin}): {why}", next_step=_NEXT)

    def words(self, key: str) -> tuple[str, ...]:
        """A text, or a list of texts."""
        value = self.table.get(key, ())
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(each, str) and each for each in found):
            self.refuse(f"{key!r} must be a text or a list of texts")
        return tuple(found)

    def some_of(self, key: str, known: Collection[str], default: Collection[str]) -> tuple[str, ...]:
        if key not in self.table:
            return tuple(default)
        found = self.words(key)
        if strange := [each for each in found if each not in known]:
            self.refuse(f"{key!r} has {strange[0]!r}; use {', '.join(known)}")
        return found

    def silence(self) -> timedelta | None:
        if "silence" not in self.table:
            return None
        try:
            found = parse_duration(self.table["silence"])
        except (ValueError, OverflowError, AttributeError):
            self.refuse("'silence' must be a duration such as 26h or 8d")
        if found < timedelta(minutes=1):
            self.refuse("'silence' must be at least 1min")
        return found

    def channel(self) -> str:
        found = [each for each in CHANNELS if each in self.table]
        if len(found) != 1:
            self.refuse(f"it needs exactly one of {', '.join(CHANNELS)}")
        return found[0]

    def target(self, channel: str) -> str | tuple[str, ...]:
        if channel == "command":
            return self.argv(self.table["command"], "command")
        url = self.table[channel]
        if (why := wrong_with_url(url)) is not None:
            self.refuse(f"the URL in {channel!r} {why}")
        return str(url)

    def secret_commands(self) -> tuple[tuple[str, ...], ...]:
        value = self.table.get("secret_command", [])
        several = isinstance(value, list) and all(isinstance(each, list) for each in value)
        return tuple(self.argv(each, "secret_command") for each in (value if several else [value]))

    def argv(self, value: object, key: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self.refuse(f'{key!r} must be a list of words, such as ["/usr/local/bin/tell", "--urgent"]')
        if not value[0] or any("\0" in each for each in value):
            self.refuse(f"{key!r} has a word that no command can have")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            self.refuse(f"{key!r} must be true or false")
        return value


def wrong_with_url(url: object) -> str | None:
    """What is wrong with a URL to send to; None if nothing is. The URL is not repeated."""
    if not isinstance(url, str):
        return "must be a text"
    if _UNSAFE.search(url):
        return "has a character that no URL has; escape it as %XX, and write the host in ASCII"
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: urlsplit(url).scheme in ("http", "https"), "must begin with https:// or http://"),
        (lambda: bool(urlsplit(url).hostname), "has no host"),
        (lambda: urlsplit(url).port != 0, "has no valid port"),
        (lambda: "#" not in url, "must not have a fragment"),
        (lambda: url.partition("://")[2].partition("/")[0].count("@") < 2, "has two @ before its path"),
    )
    for is_right, wrong in checks:
        try:
            if not is_right():
                return wrong
        except ValueError:
            return "is not valid"
    return None
