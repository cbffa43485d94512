"""Which files of a folder are archived, in which archives, and which are not."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice

from mgmt.archive import Member, Skipped, Tree, members_on_disk, read_members_on_disk
from mgmt.catalog import By, Held, Holder, Holdings
from mgmt.paths import absolute, canonical
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import moment

BATCH = 250_000
"""Files in memory at a time: for each such number, all members of the catalog are read once or twice."""

LISTED = 10
"""Archives that a file lists; the rest are counted only, up to COUNTED."""

COUNTED = 100

_Key = tuple[object, ...]
_Place = tuple[str | None, str]


class State(StrEnum):
    """What is known of a file."""

    ARCHIVED = "archived"
    """A stored, proven archive holds it."""
    DIFFERS = "differs"
    """None holds it, but one has another file of this name in a folder of this name."""
    MISSING = "missing"
    """None holds it."""
    SKIPPED = "skipped"
    """It cannot be read, or is neither a file nor a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file or symbolic link of the folder."""

    type: str
    path: str
    state: State
    size: int | None = None
    modified_at: datetime | None = None
    copies: int = 0
    """The archives that hold it, COUNTED at most."""
    archives: list[str] = field(default_factory=list)
    """The URLs of some of them."""
    reason: str | None = None
    """Why it was skipped."""


@dataclass(slots=True)
class Total:
    """The files of one state: their number, their bytes, and the copies of the one that has the fewest."""

    files: int = 0
    size: int = 0
    copies: int = COUNTED

    def add(self, each: Checked) -> None:
        """Count a file."""
        self.files += 1
        self.size += each.size or 0
        self.copies = min(self.copies, each.copies)


@dataclass(slots=True)
class Summary:
    """What was found, as far as `check` has come. `archives` has the number of files that each archive holds."""

    totals: dict[State, Total] = field(default_factory=dict)
    archives: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> int:
        """All files that were looked at."""
        return sum(each.files for each in self.totals.values())

    @property
    def archived(self) -> int:
        """Those that are archived."""
        return self.totals[State.ARCHIVED].files if State.ARCHIVED in self.totals else 0

    def add(self, each: Checked) -> None:
        """Count a file."""
        self.totals.setdefault(each.state, Total()).add(each)
        for url in each.archives:
            self.archives[url] = self.archives.get(url, 0) + 1


def check(path: str, context: Context, *, read: bool, summary: Summary) -> Iterator[Checked]:
    """Each file and symbolic link at `path` or below it, in the order of an archive; counted in `summary`.

    A file is archived if a stored, proven archive has a file of the same name, size and time of modification, in any
    folder; with `read`, if one has a file with the same sha256, of any name. A symbolic link is archived if an archive
    has one with the same name and target. Folders are not looked at. Memory is bounded by BATCH. Raises NotFoundError
    without a file or folder, SourceChangedError when a file changes while it is read.
    """
    found = canonical(path) if not os.path.isdir(path) else os.path.realpath(path)
    tree = Tree(found, os.path.basename(found) or "root")
    skipped: list[Skipped] = []
    seen = (
        read_members_on_disk(tree, skipped.append, context.progress) if read else members_on_disk(tree, skipped.append)
    )
    try:
        with closing(seen) as members:
            wanted = (each for each in members if each.type != "d")
            while True:
                context.progress.start(f"check {absolute(path)}")
                batch = list(islice(wanted, BATCH))
                looked_up = _Batch(batch, context, read=read)
                context.progress.stop()  # results are printed now
                for result in looked_up.results(tree):
                    summary.add(result)
                    yield result
                yield from _skipped(skipped, summary)
                if len(batch) < BATCH:
                    return
    finally:
        context.progress.stop()


def _skipped(skipped: list[Skipped], summary: Summary) -> Iterator[Checked]:
    for each in skipped:
        result = Checked(type="other", path=each.path, state=State.SKIPPED, reason=each.reason)
        summary.add(result)
        yield result
    skipped.clear()


class _Batch:
    """Some files, and what the catalog knows of them."""

    def __init__(self, members: list[Member], context: Context, *, read: bool) -> None:
        self._members = members
        self._holdings = Holdings(context.catalog.database)
        self._read = read
        self._keys = [self._key(each) for each in members]
        self._holders: dict[_Key, tuple[int, ...]] = dict.fromkeys(self._keys, ())
        """The archives that hold each content."""
        self._look_up()
        self._archives = self._holdings.archives({id_ for ids in self._holders.values() for id_ in ids})
        others = [each for each, key in zip(self._members, self._keys, strict=True) if not self._holders[key]]
        self._places = self._known_places(others)

    def results(self, tree: Tree) -> Iterator[Checked]:
        """What is known of each of the files; `tree.root` is absolute."""
        archives, places = self._archives, self._places
        begin = len(tree.name)
        for each, key in zip(self._members, self._keys, strict=True):
            holders = [archives[id_] for id_ in sorted(self._holders[key], reverse=True) if id_ in archives]
            state = State.ARCHIVED if holders else State.MISSING
            if not holders and not places.isdisjoint(_places(each.path)):
                state = State.DIFFERS
            yield Checked(
                type="link" if each.type == "l" else "file",
                path=f"{tree.root}{each.path[begin:]}",
                state=state,
                size=each.size,
                modified_at=moment(each.mtime_ns / 1e9),
                copies=_copies(holders),
                archives=[holder.url for holder in holders[:LISTED]],
            )

    def _key(self, member: Member) -> _Key:
        """What a member must have to be the same file."""
        name = member.path.rpartition("/")[2]
        if member.type == "l":
            return name, member.link
        return (member.sha256,) if self._read else (name, member.size, member.mtime_ns)

    def _look_up(self) -> None:
        files = [each for each in self._members if each.type == "f"]
        for held in self._holdings.find(By.LINK, {each.link for each in self._members if each.link is not None}):
            self._hold((held.name, held.link), held)
        if self._read:
            for held in self._holdings.find(By.SHA256, {each.sha256 for each in files if each.sha256 is not None}):
                self._hold((held.sha256,), held)
            return
        sizes = _Linked({each.size for each in files})
        for held in self._holdings.find(By.TIME, {each.mtime_ns for each in files}):
            self._hold((held.name, sizes.of(held), held.mtime_ns), held)

    def _hold(self, key: _Key, held: Held) -> None:
        ids = self._holders.get(key)
        if ids is not None and len(ids) < COUNTED and held.archive_id not in ids:
            self._holders[key] = (*ids, held.archive_id)

    def _known_places(self, members: list[Member]) -> set[_Place]:
        """The places of `members` where an archive has something else."""
        places = {place for each in members for place in _places(each.path)}
        held = self._holdings.find(By.NAME, {name for _, name in places})
        return {place for each in held for place in _places(_path(each)) if place in places}


class _Linked:
    """The sizes of hard links: a hard link has none of its own, and follows the file that it refers to."""

    def __init__(self, sizes: set[int]) -> None:
        self._sizes = sizes
        self._archive: int | None = None
        self._files: dict[str, int] = {}

    def of(self, held: Held) -> int | None:
        """The size of a file, or of that which a hard link refers to; None if no file that is looked for has it.

        All names of a file have one time, so the file comes before its links wherever these are found by their time.
        """
        if held.archive_id != self._archive:
            self._archive, self._files = held.archive_id, {}
        if held.type == "h":
            return self._files.get(held.link or "")
        if held.size in self._sizes:
            self._files[_path(held)] = held.size
        return held.size


def _path(held: Held) -> str:
    return f"{held.folder}/{held.name}" if held.folder else held.name


def _places(path: str) -> list[_Place]:
    """Where a member is, apart from the folders above its own, and from the name of the root, which may be another."""
    folder, _, name = path.rpartition("/")
    return [(folder.rpartition("/")[2], name), *([(None, name)] if "/" not in folder else [])]


def _copies(holders: list[Holder]) -> int:
    """How many objects they are: one may be recorded twice, under two URLs of its store, and counts once."""
    return len({each.identity for each in holders})
