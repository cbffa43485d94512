"""The media hash lists of a folder: ASC MHL histories, nested ones too, and single lists of either version.

A history is the folder `ascmhl`: one list a generation, and a chain file with the C4 ID of each. A single list is a
file *.mhl in any folder, whose paths are relative to that folder.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mgmt.mhl.hashes import hash_of
from mgmt.mhl.ignore import Ignored
from mgmt.mhl.manifest import Entry, Manifest, Reference, parse, parse_chain, unusable

FOLDER = "ascmhl"
CHAIN = "ascmhl_chain.xml"
SUFFIX = ".mhl"
_NUMBERED = re.compile(r"(\d{4,})(_.*)?\.mhl")
_LEGACY_IGNORED = (*(".DS_Store", "._*", "Thumbs.db"), *(".Spotlight-V100/", ".Trashes/", ".fseventsd/", "ascmhl/"))
"""What file systems and desktops add, which MHL 1.1 has no way to name."""

Read = Callable[[str], Iterable[bytes]]
"""Returns the content of the file with this path, relative to the folder, in pieces."""


@dataclass(slots=True)
class Expected:
    """What the lists say of a file: its original hash in each format, and its size in bytes if they state it."""

    listed_in: str
    hashes: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    only_size: bool = False

    def add(self, entry: Entry) -> None:
        """Add what a later list says: the first hash of a format stands, one that had failed never does."""
        for name, each in entry.hashes.items():
            if not each.failed:
                self.hashes.setdefault(name, each.text)
        trusted = entry.only_size or any(not each.failed for each in entry.hashes.values())
        self.only_size = self.only_size or entry.only_size
        self.size = entry.size if self.size is None and trusted else self.size


@dataclass(slots=True)
class History:
    """The generations of one folder, or one single list. `folder` is "" for the folder that is verified."""

    folder: str
    generations: list[Manifest] = field(default_factory=list)
    chain: list[Reference] = field(default_factory=list)
    """Empty for a single list."""
    files: dict[str, Expected] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """Each listed folder, and the list that names it."""
    formats: frozenset[str] = frozenset()
    """The formats of the hashes in its latest generation."""

    @property
    def ignored(self) -> Ignored:
        """What its latest generation leaves out."""
        latest = self.generations[-1]
        return Ignored(_LEGACY_IGNORED if latest.legacy else latest.ignore)

    def add(self, manifest: Manifest) -> None:
        """Add the next generation. Its entries are taken from it."""
        self.generations.append(manifest)
        entries = manifest.entries
        moved = {each.previous: path for path, each in entries.items() if each.previous and each.previous != path}
        found = {path: self.files.pop(before) for before, path in moved.items() if before in self.files}
        moved_folders = {before: path for before, path in moved.items() if entries[path].is_folder}
        if moved_folders:
            inner = {path: _moved(path, moved_folders) for path in self.files if path not in entries}
            found.update({path: self.files.pop(before) for before, path in inner.items() if path != before})
            self.folders = {_moved(path, moved_folders): name for path, name in self.folders.items()}
        self.files.update(found)
        for entry in entries.values():
            if entry.is_folder:
                self.folders[entry.path] = manifest.name
            else:
                self.files.setdefault(entry.path, Expected(manifest.name)).add(entry)
        self.formats = frozenset(name for each in entries.values() for name in each.hashes)
        entries.clear()


def _moved(path: str, folders: Mapping[str, str]) -> str:
    """Where `path` is, now that each of `folders` is at another path."""
    above = path
    while above:
        if above in folders:
            return folders[above] + path[len(above) :]
        above, _, _ = above.rpartition("/")
    return path


def within(folder: str, path: str) -> str:
    """The path of `path` in `folder`, for the verified folder."""
    return f"{folder}/{path}" if folder else path


def is_list(path: str) -> bool:
    """Whether a file with this path is a media hash list or a chain file, by its name."""
    folder, name = posixpath.split(path)
    if name.startswith("._"):  # what macOS adds on other file systems
        return False
    return name.lower().endswith(SUFFIX) or (name == CHAIN and posixpath.basename(folder) == FOLDER)


def read_histories(paths: Iterable[str], read: Read) -> list[History]:
    """The histories that the lists at `paths` are, the topmost first.

    A list that a chain names is read twice: its C4 ID is compared before anything of it is used.

    Raises IntegrityError when a list cannot be used, differs from its chain, or lacks one.
    """
    found: dict[str, list[str]] = {}
    single: list[str] = []
    for path in sorted(filter(is_list, paths)):
        folder, name = posixpath.split(path)
        if posixpath.basename(folder) == FOLDER:
            found.setdefault(posixpath.dirname(folder), []).append(name)
        else:
            single.append(path)
    histories = [_read_history(folder, names, read) for folder, names in found.items()]
    _check_references(histories)
    for path in single:
        history = History(posixpath.dirname(path))
        history.add(parse(path, read(path)))
        histories.append(history)
    return sorted(histories, key=lambda each: (each.folder.count("/") + (each.folder != ""), each.folder))


def _read_history(folder: str, names: Iterable[str], read: Read) -> History:
    history, base = History(folder), within(folder, FOLDER)
    left = set(names)
    if CHAIN not in left:
        raise unusable(f"{base}/{min(left)}", f"{CHAIN} is missing beside it")
    left.remove(CHAIN)
    history.chain = parse_chain(f"{base}/{CHAIN}", read(f"{base}/{CHAIN}"))
    for each in history.chain:
        path = f"{base}/{each.path}"
        numbered = _NUMBERED.fullmatch(each.path)
        if each.path not in left:
            raise unusable(path, "it is missing, and the chain names it")
        if numbered is not None and int(numbered[1]) != each.number:
            raise unusable(path, f"the chain has it as generation {each.number}")
        left.remove(each.path)
        history.add(_parse_checked(path, each.c4, read))
    if left:
        raise unusable(f"{base}/{min(left)}", "the chain does not name it")
    if not history.generations:
        raise unusable(f"{base}/{CHAIN}", "it names no list")
    return history


def _parse_checked(path: str, c4: str, read: Read) -> Manifest:
    """The list at `path`, which must have this C4 ID."""
    if hash_of("c4", read(path)) != c4:
        raise unusable(path, "it was changed: its C4 ID is not the one in the chain")
    return parse(path, read(path))


def _check_references(histories: Iterable[History]) -> None:
    """Raise IntegrityError where a generation names a list of a nested history by another C4 ID than it has."""
    known = {
        within(each.folder, f"{FOLDER}/{generation.path}"): generation.c4
        for each in histories
        for generation in each.chain
    }
    for history in histories:
        for generation in history.generations:
            for reference in generation.references:
                path = within(history.folder, reference.path)
                if known.get(path, reference.c4) != reference.c4:
                    raise unusable(path, f"{generation.name} names it with another C4 ID")


def missing_references(history: History, known: Iterable[str]) -> Iterator[str]:
    """The lists of nested histories that the latest generation names and that are not among the `known` paths."""
    there = set(known)
    for reference in history.generations[-1].references:
        path = within(history.folder, reference.path)
        above = posixpath.dirname(posixpath.dirname(reference.path))
        if path not in there and not history.ignored.leaves_out(above, is_folder=True):
            yield path
