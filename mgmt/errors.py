"""Every way mgmt can fail on purpose, and the exit status each one means."""

from enum import IntEnum, StrEnum


class ExitStatus(IntEnum):
    """The promise to scripts (docs/commands.md). 128 + n is added for signal n."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    NOT_READY = 6
    REFUSED = 7
    INTEGRITY = 8
    CONFLICT = 10
    BUSY = 11
    CATALOG = 12


class MgmtError(Exception):
    """Something the user can act on: shown as one line, never as a traceback.

    `message` says what failed and why; `next_step`, when there is one, says what to type next.
    """

    exit_status = ExitStatus.FAILED
    retryable = False

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class ConfigurationError(MgmtError):
    """A setting, an option or an argument cannot be used as given."""

    exit_status = ExitStatus.USAGE


class PartialError(MgmtError):
    """Some of what was asked for was done, and some was not."""

    exit_status = ExitStatus.PARTIAL


class NotFoundError(MgmtError):
    """What was named is not there."""

    exit_status = ExitStatus.NOT_FOUND


class StoreError(MgmtError):
    """The store refused, or answered something that cannot be used."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, or says slow down: the same command may succeed later."""

    exit_status = ExitStatus.UNAVAILABLE
    retryable = True


class NotReadyError(MgmtError):
    """The object is frozen; it must be thawed before it can be read."""

    exit_status = ExitStatus.NOT_READY
    retryable = True


class RefusedError(MgmtError):
    """Doing it would not be safe, or needs a yes that was not given."""

    exit_status = ExitStatus.REFUSED


class IntegrityError(MgmtError):
    """What is stored or restored is not what was recorded."""

    exit_status = ExitStatus.INTEGRITY


class Problem(StrEnum):
    """What can be wrong between a store and the catalog."""

    MISSING = "missing"
    """The archive, or its index, is not in the store any more."""
    CORRUPT = "corrupt"
    """The store holds something else than what was archived."""
    CHANGED = "changed"
    """The catalog says something else of an archive than the archive's own index does."""
    UNKNOWN = "unknown"
    """The store holds an object that the catalog does not know."""


class ProblemError(IntegrityError):
    """A finding, and what kind it is."""

    def __init__(self, problem: Problem, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.problem = problem


class ConflictError(MgmtError):
    """The name is taken, and nothing is ever overwritten."""

    exit_status = ExitStatus.CONFLICT


class BusyError(MgmtError):
    """Another operation has the target."""

    exit_status = ExitStatus.BUSY
    retryable = True


class LostError(BusyError):
    """What this process had under way was taken over by another, which was told that it is dead: it must not go on."""


class CatalogError(MgmtError):
    """The catalog is unreachable, locked, older, newer or damaged."""

    exit_status = ExitStatus.CATALOG


class SourceChangedError(MgmtError):
    """The original changed while it was read: what was read is not what is there."""

    retryable = True


class Interrupted(KeyboardInterrupt):
    """A signal asked mgmt to stop; the exit status is 128 + `signum`.

    `again`: it did so before, so what the first one had cleaned up may be unfinished.
    """

    def __init__(self, signum: int, *, again: bool = False) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.again = again
