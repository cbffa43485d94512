"""The errors of mgmt, and the exit status of each."""

from enum import IntEnum, StrEnum


class ExitStatus(IntEnum):
    """Exit statuses that scripts can rely on (docs/commands.md). A run that signal n interrupts exits with 128 + n."""

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
    """An error that the user can act on: shown as one line, never as a traceback.

    `message` says what failed and why; `next_step`, if there is one, what to type next.
    """

    exit_status = ExitStatus.FAILED
    retryable = False

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class ConfigurationError(MgmtError):
    """A setting, option or argument is invalid."""

    exit_status = ExitStatus.USAGE


class PartialError(MgmtError):
    """Some targets were done and some were not."""

    exit_status = ExitStatus.PARTIAL


class NotFoundError(MgmtError):
    """The file, archive, operation or setting does not exist."""

    exit_status = ExitStatus.NOT_FOUND


class StoreError(MgmtError):
    """The store refused a request, or its answer cannot be used."""


class StoreUnavailableError(StoreError):
    """The store is unreachable or is throttling requests: the same command may succeed later."""

    exit_status = ExitStatus.UNAVAILABLE
    retryable = True


class NotReadyError(MgmtError):
    """The object is frozen: it must be restored before it can be read."""

    exit_status = ExitStatus.NOT_READY
    retryable = True
    cost: object = None
    """What it would cost to make it ready, if that is known."""


class RefusedError(MgmtError):
    """The action is unsafe, or was not confirmed."""

    exit_status = ExitStatus.REFUSED


class IntegrityError(MgmtError):
    """What is stored or restored differs from what was recorded."""

    exit_status = ExitStatus.INTEGRITY


class Problem(StrEnum):
    """How a store and the catalog can disagree."""

    MISSING = "missing"
    """The archive or its index is no longer in the store."""
    CORRUPT = "corrupt"
    """The stored archive differs from what was archived."""
    CHANGED = "changed"
    """The catalog's records differ from the index of the archive."""
    UNKNOWN = "unknown"
    """The store holds an object that is not in the catalog."""


class ProblemError(IntegrityError):
    """A problem that `mgmt verify` found."""

    def __init__(self, problem: Problem, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.problem = problem


class ConflictError(MgmtError):
    """The name is taken; nothing is ever overwritten."""

    exit_status = ExitStatus.CONFLICT


class BusyError(MgmtError):
    """Another operation is using the target."""

    exit_status = ExitStatus.BUSY
    retryable = True


class LostError(BusyError):
    """Another process recovered this operation (`mgmt recover --host`): this one must not continue."""


class UnsettledError(BusyError):
    """The store may still be doing what an interrupted operation has asked for: the operation stays interrupted."""


class CatalogError(MgmtError):
    """The catalog is unreachable, locked, older or newer than this mgmt, or damaged."""

    exit_status = ExitStatus.CATALOG


class ReadOnlyCatalogError(CatalogError):
    """The catalog cannot be written here: a read-only file, a standby server, or a login that may only read.

    What only reads works all the same, unrecorded.
    """


class SourceChangedError(MgmtError):
    """The original changed while it was read."""

    retryable = True


class Interrupted(KeyboardInterrupt):
    """A signal interrupted mgmt; the exit status is 128 + `signum`.

    `again`: it is not the first one, and may have interrupted the cleanup after the first.
    """

    def __init__(self, signum: int, *, again: bool = False) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.again = again
