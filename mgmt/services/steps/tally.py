"""What is left of the targets of a batch, for its record."""

import os
from bisect import insort
from collections.abc import Sequence
from itertools import chain, islice

from mgmt.catalog import BatchRecord

LISTED = 100
"""Targets that the record of a batch lists as left."""


class Tally:
    """Counts how the `targets` of `batch` end. They may end in any order."""

    def __init__(self, batch: BatchRecord, targets: Sequence[str]) -> None:
        self.targets = targets
        self._batch = batch
        self._ended: set[int] = set()
        self._undone: list[int] = []
        self._first_to_end = 0
        self.note()

    def end(self, number: int, *, is_done: bool) -> None:
        """Count the target with this `number`, which has ended; counting it again changes nothing."""
        if number in self._ended:
            return
        self._ended.add(number)
        if not is_done:
            insort(self._undone, number)
        while self._first_to_end in self._ended:
            self._first_to_end += 1

    def note(self) -> None:
        """Put into the record what is left; the next commit writes it. Only the first are listed: there may be many."""
        to_come = (each for each in range(self._first_to_end, len(self.targets)) if each not in self._ended)
        left = [self.targets[each] for each in islice(chain(self._undone, to_come), LISTED)]
        done = len(self._ended) - len(self._undone)
        what_is_left = {"left": left, "folder": os.getcwd()} if left else {}
        self._batch.details = {"targets": len(self.targets), "done": done, **what_is_left}
