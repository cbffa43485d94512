"""Bars and sparklines made of text, in colour at a terminal that has it."""

from collections.abc import Callable, Sequence
from typing import TextIO

_BLOCKS, _BAR = "▁▂▃▄▅▆▇█", "█▏▎▍▌▋▊▉"
_ASCII_BLOCKS, _ASCII_BAR = "_.-=+*%#", "#"


class Charts:
    """Charts for one output: of block characters, or of ASCII where those cannot be encoded."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout
        try:
            (_BLOCKS + _BAR).encode(stdout.encoding or "utf-8")
            self.is_ascii = False
        except (UnicodeError, LookupError):
            self.is_ascii = True

    def bar(self, value: float, most: float, width: int) -> str:
        """A bar of `width` cells for `most`. What is not nothing has a bar, however short."""
        parts = len(_BAR) if not self.is_ascii else 1
        length = round(value / most * width * parts) if most > 0 else 0
        length = min(width * parts, max(length, 1 if value > 0 else 0))
        if self.is_ascii:
            return _ASCII_BAR * length
        whole, rest = divmod(length, parts)
        return _BAR[0] * whole + (_BAR[rest] if rest else "")

    def sparkline(self, values: Sequence[float]) -> str:
        """One character for each value, by its height above nothing."""
        blocks = _ASCII_BLOCKS if self.is_ascii else _BLOCKS
        most = max(values, default=0)
        return "".join(blocks[round(each / most * (len(blocks) - 1)) if most > 0 else 0] for each in values)

    def painter(self) -> Callable[[str], str]:
        """What colours the charts in a text; nothing where colours are unwanted (NO_COLOR) or there is no terminal."""
        if not self._stdout.isatty():
            return str
        from rich.console import Console
        from rich.text import Text

        console = Console(file=self._stdout)
        if console.no_color or not console.is_terminal or console.color_system is None:
            return str

        def paint(text: str) -> str:
            painted = Text(text)
            painted.highlight_regex(f"[{_BLOCKS}{_BAR}]+", "cyan")
            with console.capture() as captured:
                console.print(painted, soft_wrap=True, end="")
            return captured.get()

        return paint
