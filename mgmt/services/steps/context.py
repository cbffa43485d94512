"""What every verb works with, in one bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from mgmt.catalog import Catalog
from mgmt.errors import MgmtError, ReadOnlyCatalogError
from mgmt.progress import Progress
from mgmt.storage import ObjectStore

if TYPE_CHECKING:
    from mgmt.services.steps.requests import FanOut

OpenStore = Callable[[str | None], ObjectStore]
"""Opens the store at a URL; None means the configured one."""


@dataclass(frozen=True, slots=True)
class Context:
    """The stores, the catalog, who watches the progress, and what the user asked for."""

    open_store: OpenStore
    catalog: Catalog
    progress: Progress
    command_args: Mapping[str, object] = field(default_factory=dict)
    """The command's options as they were given; every record of an operation keeps them."""
    parent: str | None = None
    """The id of the batch that this operation is part of."""
    fan_out: "FanOut | None" = None
    """Makes an operation of each target of a requested batch, for workers to run; None to work on them here."""

    requested: str | None = None
    """The id of the requested operation that this work is, unless that is a batch."""
    repeats: Mapping[str, str] = field(default_factory=dict)
    """The id of the operation that each target repeats; that of a batch has the name ""."""
    retry_of: str | None = None
    """The operation that the next one repeats."""

    def within(self, parent: str) -> Self:
        """The same for one target of the batch with the id `parent`."""
        return replace(self, parent=parent)

    def on(self, target: str) -> Self:
        """The same for the work on `target`, which may repeat an earlier operation."""
        return replace(self, retry_of=self.repeats.get(target)) if self.repeats else self

    def note_read_only(self, error: MgmtError) -> None:
        """The same as `note_unrecorded` if the catalog cannot be written here. Raises any other `error`."""
        if not isinstance(error, ReadOnlyCatalogError):
            raise error
        self.note_unrecorded(error)

    def note_unrecorded(self, error: MgmtError) -> None:
        """Tell the user that the operation is not recorded; it runs all the same."""
        note_unrecorded(error, self.progress)


def note_unrecorded(error: MgmtError, progress: Progress) -> None:
    """Tell the user that an operation is not recorded; it runs all the same."""
    progress.note(f"note: this is not recorded, as {error.message}")
