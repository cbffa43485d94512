"""Many numbers of operations in little room."""

from bisect import bisect_right
from collections.abc import Iterable


class Numbers:
    """Numbers of operations, of which those that follow one another take no more room than two."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.pairs = list(pairs)
        """The first and the last of each row of them, in order."""

    @classmethod
    def parse(cls, written: str) -> "Numbers":
        """What `str` has written; nothing where it cannot be read."""
        try:
            pairs = [each.split("-") for each in written.split(",") if each]
            return cls((int(each[0]), int(each[-1])) for each in pairs)
        except ValueError:
            return cls()

    def add(self, number: int) -> None:
        """One that is higher than all of them."""
        if self.pairs and self.pairs[-1][1] == number - 1:
            self.pairs[-1] = self.pairs[-1][0], number
        else:
            self.pairs.append((number, number))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.pairs, number, key=lambda pair: pair[0])
        return at > 0 and number <= self.pairs[at - 1][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.pairs)

    def __str__(self) -> str:
        return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in self.pairs)
