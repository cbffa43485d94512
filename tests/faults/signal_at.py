"""Runs the command in a child process that signals itself at an exact place, without waiting or guessing.

A place is a `Moment`, the k-th call or return of a function, or a number: the k-th step of all those that mgmt and the
commit of its catalog make, so that they can be tried one after another.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.forked import SIGNALS
from tests.program import Done, Program

__all__ = ["SIGNALS", "Moment", "copy_of", "count_steps", "forked", "run_signalled"]

_FILES = (f"{os.sep}mgmt{os.sep}", f"sqlalchemy{os.sep}orm{os.sep}session.py", f"sqlalchemy{os.sep}orm{os.sep}state_ch")


@dataclass(frozen=True)
class Moment:
    """`function` is a qualified name as in `Session.commit`; `event` is "call" or "return"; `nth` counts from 1."""

    function: str
    event: str = "call"
    nth: int = 1

    def __str__(self) -> str:
        return f"{'before' if self.event == 'call' else 'after'} {self.function}" + f" ({self.nth})" * (self.nth > 1)


def run_signalled(program: Program, arguments: list[str], at: "Moment | int", number: int, again: int = 0) -> Done:
    """Run the command and send it the signal `number` at a moment, or at its step number `at`.

    With `again`, the signal is sent a second time, that many steps later. Returncode 0 may mean that the command ended
    before `at`.
    """
    return forked(program, arguments, lambda: sys.setprofile(Trigger(at, number, again)))


def count_steps(program: Program, arguments: list[str]) -> int:
    """Run the command without a signal, and return the number of its steps."""
    counting = Trigger(0, 0, 0)
    sys.setprofile(counting)
    try:
        done = program.run(*arguments)
    finally:
        sys.setprofile(None)
    assert done.returncode == 0, done.stderr
    return counting.steps


def forked(
    program: Program,
    arguments: list[str],
    arm: Callable[[], None],
    meanwhile: Callable[[int], None] = lambda child: None,
) -> Done:
    """Run in a child process, which calls `arm` just before it starts; this process calls `meanwhile` with its pid."""
    with program.fork(*arguments, arm=arm) as child:
        meanwhile(child.pid)
        output = child.communicate()
    program.records.wait()
    return Done(child.wait(), *output)


class Trigger:
    """A profile function: it is called at every call and return of a Python function, and may send the signal there."""

    def __init__(self, at: "Moment | int", number: int, again: int) -> None:
        self._at, self._number, self._again = at, number, again
        self.steps = self._seen = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return
        if isinstance(self._at, Moment):
            if event == self._at.event and frame.f_code.co_qualname == self._at.function:
                self._seen += 1
                if self._seen == self._at.nth:
                    self._fire(frame)
            return
        if any(part in frame.f_code.co_filename for part in _FILES):
            self.steps += 1
            if self.steps == self._at or (self._again and self.steps == self._at + self._again):
                self._fire(frame)

    def _fire(self, frame: FrameType) -> None:
        if isinstance(self._at, Moment) or not self._again or self.steps > self._at:
            sys.setprofile(None)
        os.kill(os.getpid(), self._number)


def copy_of(home: Path) -> Path:
    """The folder that keeps the state before a command, from which each try starts."""
    return home.with_name(f"{home.name}.before")
