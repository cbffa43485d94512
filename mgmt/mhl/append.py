"""The next generation of the histories of a folder, or its first: what to write, the innermost first."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TypeVar

from mgmt.mhl.hashes import FORMATS, hash_of
from mgmt.mhl.history import CHAIN, FOLDER, History, within
from mgmt.mhl.ignore import DEFAULT
from mgmt.mhl.manifest import Reference
from mgmt.mhl.write import File, FolderHash, Generation, Made, chain, folder_hashes, manifest

_T = TypeVar("_T")

FIRST = ("xxh64",)
"""The formats of a first generation."""


@dataclass(frozen=True, slots=True)
class NewList:
    """A manifest to write, and then its chain file. The paths are relative to the folder."""

    path: str
    manifest: bytes
    chain_path: str
    chain: bytes


def histories_of(histories: Sequence[History]) -> dict[str, History]:
    """The histories by their folders, with a new one for the folder itself if it has none; single lists are none."""
    found = {each.folder: each for each in histories if each.chain}
    return {"": found.get("", History("")), **found}


def formats_of(histories: Mapping[str, History]) -> tuple[str, ...]:
    """The formats to hash every file in: those of the latest generation of the folder, or those of a first one."""
    return tuple(name for name in FORMATS if name in histories[""].formats) or FIRST


def next_generation(
    name: str, histories: Mapping[str, History], files: Sequence[File], folders: Mapping[str, int], made: Made
) -> Iterator[NewList]:
    """The lists of a folder called `name` with these `files` and `folders`, which are as all histories say.

    Each history gets a generation, and refers to those of the histories directly in it. `folders` have their times of
    modification, in nanoseconds since 1970.
    """
    formats, owners = formats_of(histories), _Owners(histories)
    own_files, own_folders = owners.group((each.path, each) for each in files), owners.group(folders.items())
    hashes: dict[str, dict[str, FolderHash]] = {}
    references: dict[str, list[Reference]] = {}
    for folder in sorted(histories, key=lambda each: (-each.count("/") - (each != ""), each)):
        history = histories[folder]
        patterns = next((tuple(each.ignore) for each in history.generations[-1:] if each.ignore), DEFAULT)
        generation = Generation(
            made,
            [_marked(file._replace(path=path), history) for path, file in own_files.get(folder, {}).items()],
            own_folders.get(folder, {}),
            patterns,
            references.get(folder, ()),
            formats,
            hashes.get(folder, {}),
        )
        new = _new_list(folder, name if not folder else posixpath.basename(folder), history, generation)
        yield new
        if folder:
            outer = owners.of(folder)
            found, reference = folder_hashes(generation)[""], hash_of("c4", [new.manifest])
            hashes.setdefault(outer, {})[relative(outer, folder)] = found
            references.setdefault(outer, []).append(Reference(relative(outer, new.path), reference))


class _Owners:
    """Which history each file and folder belongs to: that of the nearest folder above it."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._known = {each: each for each in folders}

    def of(self, path: str) -> str:
        """The folder of the history that the file or folder at `path` belongs to."""
        unknown, above = [], posixpath.dirname(path)
        while above not in self._known:
            unknown.append(above)
            above = posixpath.dirname(above)
        self._known.update(dict.fromkeys(unknown, self._known[above]))
        return self._known[above]

    def group(self, items: Iterable[tuple[str, _T]]) -> dict[str, dict[str, _T]]:
        """`items` by the folder of their history, and by their paths relative to that."""
        found: dict[str, dict[str, _T]] = {}
        for path, item in items:
            owner = self.of(path)
            found.setdefault(owner, {})[relative(owner, path)] = item
        return found


def relative(folder: str, path: str) -> str:
    """The path of `path` relative to `folder`; the inverse of `within`."""
    return path[len(folder) + 1 :] if folder else path


def _marked(file: File, history: History) -> File:
    """`file` with what its hashes are: original where the history has none of it, verified else."""
    known = history.files.get(file.path)
    action = "original" if known is None or not known.hashes else "verified"
    return file._replace(actions=dict.fromkeys(file.hashes, action))


def _new_list(folder: str, name: str, history: History, generation: Generation) -> NewList:
    number = len(history.chain) + 1
    file = f"{number:04}_{name}_{generation.made.at.astimezone(UTC):%Y-%m-%d_%H%M%SZ}.mhl"
    text = b"".join(manifest(generation))
    links = [*history.chain, Reference(file, hash_of("c4", [text]), number)]
    base = within(folder, FOLDER)
    return NewList(f"{base}/{file}", text, f"{base}/{CHAIN}", b"".join(chain(links)))
