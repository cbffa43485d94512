"""What the doctor reports."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mgmt.errors import ExitStatus, MgmtError
from mgmt.words import operand

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. `next` is the command that fixes it, `exit_status` is set for a problem."""

    type: str = "finding"
    area: str
    what: str
    state: State = "ok"
    detail: str
    next: str | None = None
    exit_status: int | None = None


def problem(area: str, what: str, error: MgmtError | OSError, next_step: str | None = None) -> Finding:
    """The finding for `error`, with its next step unless another one is given."""
    return Finding(
        area=area,
        what=what,
        state="problem",
        detail=error.message if isinstance(error, MgmtError) else str(error),
        next=next_step or (error.next_step if isinstance(error, MgmtError) else None),
        exit_status=error.exit_status if isinstance(error, MgmtError) else ExitStatus.USAGE,
    )


def permissions(area: str, wanted: Sequence[tuple[str, int]]) -> Iterator[Finding]:
    """A warning for each path that other users can access beyond its mode in `wanted`. Missing files are ignored."""
    for path, mode in wanted:
        try:
            found = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:  # missing, or not accessible: whoever opens it reports that
            continue
        if found & ~mode & 0o077:
            detail = f"other users can access {path}: its mode is {found:04o}, it should be {mode:04o}"
            yield Finding(
                area=area, what="permissions", state="warning", detail=detail, next=f"chmod {mode:o} {operand(path)}"
            )
