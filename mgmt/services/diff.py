"""What differs between an archive and a folder on disk."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Protocol

from mgmt.archive import Member, Skipped, Tree, encode, members_on_disk, read_members_on_disk
from mgmt.catalog import MemberRecord, Members, UploadRecord
from mgmt.errors import NotFoundError
from mgmt.paths import canonical
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import host
from mgmt.services.steps.resolve import Archive, find_archive

PAGE = 10_000
"""Members that one query reads."""


class Kind(StrEnum):
    """How a file, folder or link differs."""

    ADDED = "added"
    """It is on disk only."""
    REMOVED = "removed"
    """It is in the archive only."""
    CHANGED = "changed"
    """Its type or content differs or, unless it was read, its time of modification."""
    METADATA = "metadata"
    """Its mode, time or target differs, and its content does not."""
    SKIPPED = "skipped"
    """It is on disk, and cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. `path` begins with the archive's root; `fields` are what differs."""

    type: str = "difference"
    kind: Kind
    path: str
    fields: list[str] = field(default_factory=list)
    size: int | None = None
    """The bytes on disk; None if it is not there."""
    archived_size: int | None = None
    """The bytes in the archive; None if it is not there."""
    reason: str | None = None
    """Why it was skipped."""


class Facts(Protocol):
    """What is compared of a member."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def sha256(self) -> bytes | None: ...  # noqa: D102
    @property
    def link(self) -> str | None: ...  # noqa: D102


_All = Callable[[], Iterable[Facts]]


def diff(name: str, path: str | None, context: Context, *, read: bool) -> Iterator[Difference]:
    """Each difference between the archive that `name` means and `path`, in the order of an archive.

    Without `path`: the place of the original, or else of its completed copy, if it is on this machine. The name of the
    root is not compared. The archive itself is not read: its members are those of the catalog, or of its index if the
    catalog lacks them. Files are compared by size and time or, with `read`, by sha256. Memory is bounded, except for an
    archive that mgmt did not write, whose members may be in another order.

    Raises NotFoundError if there is no such archive or path.
    """
    found = find_archive(name, context)
    path = _place(found, context) if path is None else path
    real = os.path.realpath(path) if os.path.isdir(path) else canonical(path)
    with _members(found, context) as members:
        sorting = _Sorting(members)
        tree = Tree(real, sorting.root)
        skipped: list[Skipped] = []
        seen = (
            read_members_on_disk(tree, skipped.append, context.progress)
            if read
            else members_on_disk(tree, skipped.append)
        )
        context.progress.start(f"compare {path}")
        try:
            with closing(seen) as there:
                for member, on_disk in _pairs(sorting.members(), there):
                    found_difference = _difference(member, on_disk, sorting, read=read)
                    if found_difference is not None:
                        context.progress.stop()  # it is printed now
                        yield found_difference
                    yield from _skipped(skipped)
                yield from _skipped(skipped)
        finally:
            context.progress.stop()


def _skipped(skipped: list[Skipped]) -> Iterator[Difference]:
    for each in skipped:
        yield Difference(kind=Kind.SKIPPED, path=each.path, reason=each.reason)
    skipped.clear()


def _place(found: Archive, context: Context) -> str:
    """Where the original, or its completed copy, is on this machine."""
    record, metadata = found.record, context.catalog.metadata
    places: list[str] = []
    if record is not None:
        upload = metadata.get_operation(record.operation_id) if record.operation_id is not None else None
        if isinstance(upload, UploadRecord) and upload.host == host():
            places += filter(None, (upload.target_path, upload.completed_dir_path))
        if record.digest is not None:
            places += (each.path for each in metadata.copies_of(record.digest) if each.host == host())
    for each in places:
        if os.path.lexists(each):
            return each
    raise NotFoundError(
        f"neither the original of {found.url} nor a completed copy of it is on this machine",
        next_step=f"mgmt diff {found.word} DIR",
    )


@contextmanager
def _members(found: Archive, context: Context) -> Iterator[_All]:
    """Returns the members, as often as they are needed, while the block runs."""
    record = found.record
    if record is not None and record.member_count and context.catalog.members.count(record.id) == record.member_count:
        yield partial(_recorded, context.catalog.members, record.id)
        return
    # Hardly ever needed, and slow to import.
    from mgmt.services.steps.indexes import any_index
    from mgmt.services.steps.thaw import ThawOptions, refuse_to_look

    stored = found.store.head(found.key)
    if found.record is None or found.record.index_key is None:
        refuse_to_look(found, stored, ThawOptions())  # the archive itself may have to be read
    with any_index(found.store, stored) as index:
        yield index.members


def _recorded(members: Members, archive_id: int) -> Iterator[MemberRecord]:
    after: int | None = None
    while page := members.list(archive_id, limit=PAGE, after=after):
        yield from page
        after = page[-1].id


class _Sorting:
    """The members of an archive in the order of a walk, and what hard links refer to."""

    def __init__(self, members: _All) -> None:
        self._all = members
        self.root = ""
        self._is_sorted = True
        self._linked: dict[str, Facts | None] = {}
        last: list[bytes] = []
        for each in members():
            self.root = self.root or each.path
            if each.type == "h":
                self._linked[each.link or ""] = None
            order = _order(each)
            self._is_sorted = self._is_sorted and last < order
            last = order

    def members(self) -> Iterator[Facts]:
        """All members; those of an archive that is not in this order are sorted in memory."""
        for each in self._all() if self._is_sorted else sorted(self._all(), key=_order):
            if each.path in self._linked:
                self._linked[each.path] = each
            yield each

    def file_of(self, member: Facts) -> Facts:
        """The file that a hard link refers to; any other member itself."""
        return (self._linked.get(member.link or "") or member) if member.type == "h" else member


def _order(member: Facts) -> list[bytes]:
    """Depth first, each folder before what it holds, siblings by the bytes of their names."""
    return encode(member.path).split(b"/")


def _pairs(members: Iterator[Facts], there: Iterator[Member]) -> Iterator[tuple[Facts | None, Member | None]]:
    """Each member with what is at its place on disk; both are in order."""
    member, on_disk = next(members, None), next(there, None)
    while member is not None or on_disk is not None:
        if on_disk is None or (member is not None and _order(member) < _order(on_disk)):
            yield member, None
            member = next(members, None)
        elif member is None or _order(on_disk) < _order(member):
            yield None, on_disk
            on_disk = next(there, None)
        else:
            yield member, on_disk
            member, on_disk = next(members, None), next(there, None)


def _difference(member: Facts | None, on_disk: Member | None, sorting: _Sorting, *, read: bool) -> Difference | None:
    if member is None or on_disk is None:
        only = on_disk or member
        assert only is not None  # noqa: S101 - see `_pairs`
        kind = Kind.ADDED if member is None else Kind.REMOVED
        archived = None if member is None else sorting.file_of(member).size
        return Difference(
            kind=kind, path=only.path, size=None if on_disk is None else on_disk.size, archived_size=archived
        )
    file = sorting.file_of(member)
    fields = _fields(file, on_disk)
    if fields == ["type"]:
        kind = Kind.CHANGED
    elif on_disk.type != "f":
        kind = Kind.METADATA
    elif on_disk.size != file.size or (read and on_disk.sha256 != file.sha256):
        kind, fields = Kind.CHANGED, ["content", *fields]
    else:
        kind = Kind.CHANGED if not read and "mtime" in fields else Kind.METADATA
    if not fields:
        return None
    return Difference(kind=kind, path=member.path, fields=fields, size=on_disk.size, archived_size=file.size)


def _fields(file: Facts, on_disk: Member) -> list[str]:
    if file.type != on_disk.type:
        return ["type"]
    differ = {
        "mtime": file.mtime_ns != on_disk.mtime_ns,
        "mode": file.mode != on_disk.mode,
        "link": file.type == "l" and file.link != on_disk.link,
    }
    return [name for name, differs in differ.items() if differs]
