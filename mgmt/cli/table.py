"""Tables that fit the terminal: cells are shortened in their middle, and the least important columns leave."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate
from wcwidth import iter_graphemes, iter_graphemes_reverse, wcswidth

GAP = 2
"""Cells between two columns in tabulate's format `plain`."""

COMFORTABLE = 21
"""Characters down to which cells are shortened before a column leaves: a path can still be recognized."""

LEAST = 8
"""Characters down to which cells are shortened when no other column can leave."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a column is laid out."""

    title: str
    right: bool = False
    """Aligned at the right, as numbers are."""
    shrinks: str = ""
    """Where its cells may be shortened: in the `middle`, as paths, or at the `end`, as sentences; else nowhere."""
    leaves: int = 0
    """The column with the greatest number leaves first; with 0 it never does."""


def lines(rows: Sequence[Sequence[str]], layouts: Sequence[Layout], width: int | None) -> Iterator[str]:
    """The lines of a table, titles first, none of which is wider than `width` cells; None for any width."""
    table = [[each.title for each in layouts], *rows]
    if width is None:
        yield from _aligned(table, layouts)
        return
    widths = [max(map(wcswidth, column)) for column in zip(*table, strict=True)]
    shown = _fit(widths, layouts, width)
    fitted = [[shortened(row[at], widths[at], at_end=layouts[at].shrinks == "end") for at in shown] for row in table]
    for line in _aligned(fitted, [layouts[at] for at in shown]):
        yield shortened(line, width)


def _aligned(table: Sequence[Sequence[str]], layouts: Sequence[Layout]) -> list[str]:
    """The lines of `table`. Its titles are its first row: tabulate makes columns with headers two cells wider."""
    aligns = ["right" if each.right else "left" for each in layouts]
    text = tabulate(table, tablefmt="plain", disable_numparse=True, preserve_whitespace=True, colalign=aligns)
    return text.split("\n")


def _fit(widths: list[int], layouts: Sequence[Layout], width: int) -> list[int]:
    """Narrow `widths` in place so that the columns fit; return the numbers of those that stay."""

    def least(columns: Sequence[int], room: int) -> int:
        return _total(_narrowed(widths, layouts, room), columns)

    leaving = sorted((at for at in range(len(widths)) if layouts[at].leaves), key=lambda at: layouts[at].leaves)
    shown, gone = list(range(len(widths))), list[int]()
    while least(shown, COMFORTABLE) > width and leaving:
        gone.append(leaving.pop())
        shown.remove(gone[-1])
    for at in reversed(gone):  # where a wide column left, a narrow one may have room again
        if least(again := sorted([*shown, at]), COMFORTABLE) <= width:
            shown = again
    narrowest = _narrowed(widths, layouts, COMFORTABLE if least(shown, COMFORTABLE) <= width else LEAST)
    for _ in range(_total(widths, shown) - width):
        wide = [at for at in shown if widths[at] > narrowest[at]]
        if not wide:
            break  # too narrow for this table: its lines are cut
        widths[max(wide, key=lambda at: widths[at])] -= 1
    return shown


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)


def _narrowed(widths: Sequence[int], layouts: Sequence[Layout], least: int) -> list[int]:
    """The widths down to which the columns may be narrowed."""
    return [
        min(found, max(least, len(layout.title))) if layout.shrinks else found
        for found, layout in zip(widths, layouts, strict=True)
    ]


def shortened(text: str, width: int, *, at_end: bool = False) -> str:
    """`text` in at most `width` cells. Cut in the middle, it keeps more of its end, where paths differ."""
    if wcswidth(text) <= width:
        return text
    room = max(0, width - 1)
    head = "".join(_within(iter_graphemes(text), room if at_end else room // 3))
    tail = [] if at_end else _within(iter_graphemes_reverse(text), room - wcswidth(head))
    return f"{head}…{''.join(reversed(tail))}" if width else ""


def _within(characters: Iterable[str], room: int) -> list[str]:
    """Those of the first `characters`, each with what combines with it, that fit into `room` cells."""
    kept: list[str] = []
    for each in characters:
        if (room := room - wcswidth(each)) < 0:
            break
        kept.append(each)
    return kept
