"""Options that keep what is stored from being removed, and what a lock looks like to people."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.parameters import Duration, options
from mgmt.cli.requests import Future
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.storage import Lock

retain_for = click.option(
    "--retain-for", type=Duration(), metavar="DURATION", help="Let the store keep it for that long, such as 7y."
)
retention = options(
    click.option("--retain-until", type=Future(), metavar="TIME", help="Let the store keep it until TIME."),
    retain_for,
    click.option("--legal-hold", is_flag=True, help="Let the store keep it until the hold is lifted."),
)


def end_of_retention(
    until: datetime | None, duration: timedelta | None, names: str = "--retain-until and --retain-for"
) -> datetime | None:
    """When a retention ends; None if none is asked for. Raises ConfigurationError for one that has ended."""
    if until is not None and duration is not None:
        raise ConfigurationError(f"{names} exclude each other", next_step="use one of them")
    now = datetime.now(UTC)
    try:
        end = until if duration is None else now + duration
    except OverflowError as exc:
        raise ConfigurationError("a retention cannot last that long") from exc
    if end is not None and end <= now:
        raise ConfigurationError(f"a retention must end in the future, not at {end:%Y-%m-%d %H:%M} UTC")
    return end


def check_retention(values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for options of a lock that do not go together."""
    end_of_retention(values["retain_until"], values["retain_for"])


def take_lock(values: dict[str, Any]) -> "Lock | None":
    """Take the options of a lock out of `values`, and return the lock that they mean."""
    until = end_of_retention(values.pop("retain_until"), values.pop("retain_for"))
    hold = values.pop("legal_hold")
    if until is None and not hold:
        return None
    from mgmt.storage import Lock

    return Lock(until=until, legal_hold=hold or None)


def locked(facts: Mapping[str, Any]) -> list[str]:
    """The line for people about the lock of an archive, if it has one."""
    found = []
    if (until := facts.get("locked_until")) is not None:
        moment = datetime.fromisoformat(until).astimezone(UTC)
        found.append(f"until {moment:%Y-%m-%d %H:%M} UTC ({facts.get('lock_mode')})")
    if facts.get("legal_hold"):
        found.append("by a legal hold")
    return [f"locked    {', and '.join(found)}"] if found else []


def restore_state(state: str | None) -> str | None:
    """The state of a frozen archive in words for people."""
    return {"thawing": "being restored", "ready": "restored"}.get(str(state), state)
