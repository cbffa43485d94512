"""What of a report needs attention, the worst first: what it is, and the command that says or does more."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mgmt.choices import LATELY_DAYS
from mgmt.services.steps.figures import Archive, Exposure, Failure, Report
from mgmt.shown import counted, human_size
from mgmt.words import operand

SOON = timedelta(days=90)
"""How early a page says when a disk is full or the budget reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One archive or cause in the list of an alert."""

    name: str
    note: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that needs attention."""

    kind: str
    """Its class in the style sheet: bad, warn or note."""
    title: str
    text: str
    command: str | None = None
    summary: str = ""
    """What opens the list."""
    rows: Sequence[Row] = field(default_factory=tuple)


def alerts(report: Report) -> tuple[Alert, ...]:
    """Everything of `report` that needs attention."""
    return tuple(each for each in _each(report) if each is not None)


def _each(report: Report) -> Iterator[Alert | None]:
    yield _exposure(
        report.damaged,
        Alert(
            kind="bad",
            title="{} damaged or missing",
            text="{}. The last verification found a fault; each stays here until it is proven or deleted.",
        ),
        verb=("is", "are"),
    )
    yield _exposure(
        report.unarchived,
        Alert(
            kind="bad",
            title="{} the only one left",
            text="{} in completed/ of which no archive is stored: upload it again.",
        ),
        verb=("is", "are"),
        what=("copy", "copies"),
    )
    yield _failures(report)
    yield _filling(report)
    yield _exposure(
        report.unverified,
        Alert(
            kind="warn",
            title=f"{{}} not verified for {report.unverified_days} days",
            text="{}. What was proven once can have changed in the store since.",
            command="mgmt verify --all",
        ),
        verb=("was", "were"),
    )
    yield _exposure(
        report.expiring,
        Alert(
            kind="warn",
            title="{} within 30 days",
            text="{} with a lock or a restored copy that ends soon.",
        ),
        verb=("expires", "expire"),
    )


def causes(failures: Iterable[Failure]) -> list[Row]:
    """Why operations failed, and what to type about the last one of each cause."""
    return [
        Row(
            name=each.cause,
            note=f"{each.operation_type}, {counted(each.operations, 'time')}, last on {each.last_at:%Y-%m-%d}",
            command=f"mgmt status {operand(each.last_operation)}",
        )
        for each in failures
    ]


def _failures(report: Report) -> Alert | None:
    if not report.undone:
        return None
    number = sum(each.operations for each in report.undone)
    return Alert(
        kind="bad",
        title=f"{counted(number, 'operation')} failed in the last {LATELY_DAYS} days, and {_is_left(number)} to do",
        text="Nothing was tried again on what they were about. What is retried is listed first.",
        command=f"mgmt retry --failed --since {LATELY_DAYS}d -n",
        summary="The causes, and what to do about the last of each",
        rows=causes(report.undone),
    )


def _is_left(number: int) -> str:
    return "is left" if number == 1 else "are left"


def _filling(report: Report) -> Alert | None:
    growth, until = report.growth, (report.made_at + SOON).date()
    ends = []
    if growth.full_on is not None and growth.full_on <= until:
        ends.append(("the disk is full", growth.full_on))
    if growth.budget_reached_on is not None and growth.budget_reached_on <= until:
        ends.append(
            (f"the budget of {growth.budget:,.2f} {growth.currency} a month is reached", growth.budget_reached_on)
        )
    if not ends:
        return None
    what = " and ".join(f"{name} on {day:%Y-%m-%d}" for name, day in ends)
    return Alert(
        kind="bad",
        title=what[0].upper() + what[1:],
        text=f"An estimate, if the archives keep growing by {human_size(growth.bytes_per_month or 0)} a month.",
        command="mgmt cost --by class",
    )


def single_copies(report: Report) -> Alert | None:
    """The archives with one proven copy: what `mgmt free` leaves, which is no fault."""
    return _exposure(
        report.single_copy,
        Alert(
            kind="note",
            title="{} one proven copy",
            text="{} beside which no other proven copy is known: if the store loses one, it is gone.",
        ),
        verb=("has", "have"),
    )


def _exposure(
    found: Exposure, alert: Alert, verb: tuple[str, str], what: tuple[str, str] = ("archive", "archives")
) -> Alert | None:
    """`alert` with the archives that it is about; None if there are none."""
    if not found.archives:
        return None
    subject = counted(found.archives, *what)
    listed = len(found.first)
    return Alert(
        kind=alert.kind,
        title=alert.title.format(f"{subject} {verb[found.archives != 1]}"),
        text=alert.text.format(human_size(found.size)),
        command=alert.command,
        summary=f"The {what[1]}" if listed == found.archives else f"The first {listed} of them",
        rows=list(_rows(found.first)),
    )


def _rows(archives: Iterable[Archive]) -> Iterator[Row]:
    for each in archives:
        name = each.key if each.store is None else f"{each.store}/{each.key}"
        yield Row(
            name=each.key,
            note=f"{human_size(each.size)}, {each.note}. {each.safety}",
            command=f"mgmt status {operand(name)}",
        )
