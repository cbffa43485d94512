"""Charts as inline SVG. Positions along the width are percentages: a chart fits any page, and its text keeps its size.

No chart has a colour or a style of its own: the style sheet has them, by class, for light, dark and print.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

HEIGHT = 180
"""Of the plot, in pixels of CSS."""
AXIS = 40
"""Below it, for months and years."""
GAP = 0.22
"""The part of a month's width that stays free."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
EACH_MONTH, EACH_QUARTER = 14, 40
"""Up to so many bars, each month has a label, or each quarter; else each year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One month of a chart."""

    month: str
    """As "2026-11"."""
    label: str
    """What a screen reader says, and what is shown where the pointer is."""
    parts: tuple[tuple[str, float], ...]
    """The class of each part, from the bottom, and its value."""
    href: str | None = None
    """Where a click leads."""

    @property
    def total(self) -> float:
        """The height of the bar."""
        return sum(value for _, value in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Bars by month, in order."""

    name: str
    """A word that no other chart of the page has: its ids begin with it."""
    title: str
    description: str
    """What the chart shows, in a sentence: for who does not see it."""
    bars: Sequence[Bar]
    unit: Callable[[int], str] = "{:,}".format
    """A value of the axis as text."""
    base: int = 1000
    """1024 for sizes: the axis has round numbers of KiB, MiB, ..."""


def by_month(chart: Chart) -> Markup:
    """The chart as an svg element. A bar with a `href` is a link: the keyboard reaches it, and it needs no script."""
    steps = ticks(max((bar.total for bar in chart.bars), default=0), chart.base)
    linked = any(bar.href for bar in chart.bars)
    return Markup(
        '<svg class="chart" role="{role}" aria-labelledby="{name}-title {name}-text" height="{height}">'
        '<title id="{name}-title">{title}</title><desc id="{name}-text">{text}</desc>{grid}{bars}{axis}</svg>'
    ).format(
        role="group" if linked else "img",
        name=chart.name,
        height=HEIGHT + AXIS,
        title=chart.title,
        text=chart.description,
        grid=Markup().join(_line(step, steps[-1], chart.unit) for step in steps),
        bars=Markup().join(_bar(bar, number, len(chart.bars), steps[-1]) for number, bar in enumerate(chart.bars)),
        axis=_axis(chart.bars),
    )


def share(value: float, largest: float) -> Markup:
    """A horizontal bar beside a number in a table. It says nothing that the table does not: screen readers skip it."""
    width = 0 if largest <= 0 else max(0.4, 100 * value / largest) if value > 0 else 0
    return Markup(
        '<svg class="share" aria-hidden="true" height="8"><rect height="8" rx="1.5" width="{}%"/></svg>'
    ).format(f"{width:.2f}")


def ticks(largest: float, base: int = 1000) -> list[int]:
    """From 0 to at least `largest`, four steps or fewer, each a round number: 1, 2 or 5, or 256, 512 in sizes."""
    if largest <= 4:
        return list(range(max(1, math.ceil(largest)) + 1))
    power = 1
    while power * base <= largest:
        power *= base
    rounds = [power * step for step in (1, 2, 5, 10, 20, 50, 100, 200, 250, 500)]
    if power >= base:
        rounds = [power // 4, power // 2, *rounds]
    step = next((each for each in rounds if each * 4 >= largest), power * base)
    return [step * number for number in range(math.ceil(largest / step) + 1)]


def _line(value: int, top: int, unit: Callable[[int], str]) -> Markup:
    y = f"{HEIGHT - HEIGHT * value / top:.1f}"
    return Markup(
        '<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/><text class="tick" x="-8" y="{y}" dy="4">{text}</text>'
    ).format(y=y, text=unit(value))


def _bar(bar: Bar, number: int, count: int, top: int) -> Markup:
    each = 100 / count
    left, width = each * (number + GAP / 2), each * (1 - GAP)
    y, parts = float(HEIGHT), []
    for kind, value in bar.parts:
        if value > 0:
            height = max(1.5, HEIGHT * value / top)
            y -= height
            parts.append(
                Markup('<rect class="{}" x="{}%" width="{}%" y="{}" height="{}"/>').format(
                    kind, f"{left:.2f}", f"{width:.2f}", f"{y:.1f}", f"{height:.1f}"
                )
            )
    hit = Markup('<rect class="hit" x="{}%" width="{}%" y="0" height="{}"/>').format(
        f"{each * number:.2f}", f"{each:.2f}", HEIGHT
    )
    inside = Markup("<title>{}</title>{}{}").format(bar.label, hit, Markup().join(parts))
    if bar.href is None:
        return Markup("<g>{}</g>").format(inside)
    return Markup('<a href="{}" aria-label="{}" data-month="{}">{}</a>').format(bar.href, bar.label, bar.month, inside)


def _axis(bars: Sequence[Bar]) -> Markup:
    """Names of months, and below them the year where it begins."""
    count, texts = len(bars), list[Markup]()
    years: list[str | None] = [None, *(bar.month[:4] for bar in bars)]
    for number, ((before, year), bar) in enumerate(zip(pairwise(years), bars, strict=True)):
        middle, month = f"{100 * (number + 0.5) / count:.2f}", int(bar.month[5:7])
        if count <= EACH_MONTH or (count <= EACH_QUARTER and month % 3 == 1):
            kind = "month" if month % 3 == 1 else "month minor"
            texts.append(
                Markup('<text class="{}" x="{}%" y="{}">{}</text>').format(kind, middle, HEIGHT + 17, MONTHS[month - 1])
            )
        if year != before and (before is not None or month <= 10 or count <= EACH_MONTH):
            texts.append(Markup('<text class="year" x="{}%" y="{}">{}</text>').format(middle, HEIGHT + 34, year))
    return Markup('<g aria-hidden="true">{}</g>').format(Markup().join(texts))
