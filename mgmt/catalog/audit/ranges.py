"""A compact set of integer ranges."""

from bisect import bisect_right
from collections.abc import Iterable


class RangeSet:
    """A set of integers, stored as ranges of consecutive ones."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.pairs = list(pairs)
        """The first and the last integer of each range, in order."""

    @classmethod
    def parse(cls, written: str) -> "RangeSet":
        """Parse the output of `str`; invalid text gives an empty set."""
        try:
            pairs = [each.split("-") for each in written.split(",") if each]
            return cls((int(each[0]), int(each[-1])) for each in pairs)
        except ValueError:
            return cls()

    def add(self, number: int) -> None:
        """Add `number`, which must be greater than all in the set."""
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
