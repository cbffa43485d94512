"""Tables that fit the terminal: cells are shortened in their middle, and the least important columns leave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = "  "

COMFORTABLE = 16
"""Characters down to which cells are shortened before a column leaves."""

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
    widths = [max(map(cells, column)) for column in zip([each.title for each in layouts], *rows, strict=True)]
    shown = list(range(len(layouts)))
    if width is not None:
        shown = _fit(widths, layouts, width)
    for row in ([each.title for each in layouts], *rows):
        parts = [_padded(row[at], widths[at], layouts[at]) for at in shown]
        line = GAP.join(parts).rstrip()
        yield line if width is None else shortened(line, width)


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
    return sum(widths[at] for at in shown) + len(GAP) * (len(shown) - 1)


def _narrowed(widths: Sequence[int], layouts: Sequence[Layout], least: int) -> list[int]:
    """The widths down to which the columns may be narrowed."""
    return [
        min(found, max(least, len(layout.title))) if layout.shrinks else found
        for found, layout in zip(widths, layouts, strict=True)
    ]


def _padded(text: str, width: int, layout: Layout) -> str:
    shown = shortened(text, width, at_end=layout.shrinks == "end")
    padding = " " * (width - cells(shown))
    return padding + shown if layout.right else shown + padding


def cells(text: str) -> int:
    """How many cells of a terminal `text` takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int, *, at_end: bool = False) -> str:
    """`text` in at most `width` cells. Cut in the middle, it keeps more of its end, where paths differ."""
    if cells(text) <= width:
        return text
    room = max(0, width - 1)
    clusters = _clusters(text)
    head = _beginning(clusters, room if at_end else room // 3)
    tail = "" if at_end else _beginning(clusters[::-1], room - cells(head), backwards=True)
    return f"{head}…{tail}" if width else ""


def _clusters(text: str) -> list[str]:
    """The characters of `text`, each with those that combine with it."""
    found: list[str] = []
    for character in text:
        if found and not cells(character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _beginning(clusters: Sequence[str], room: int, *, backwards: bool = False) -> str:
    kept: list[str] = []
    for each in clusters:
        if (room := room - cells(each)) < 0:
            break
        kept.append(each)
    return "".join(reversed(kept) if backwards else kept)
