"""Refuse to archive what mgmt itself works with: the store, the catalog, temporary files, kept archives.

Such an archive would contain itself or files that change while it is written, and the move would take away what is
still needed.
"""

import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from typing import NamedTuple

from mgmt.archive import Tree
from mgmt.archive.tree import Entry, Skipped
from mgmt.errors import ConfigurationError
from mgmt.paths import absolute, is_inside, on_the_way
from mgmt.words import shell_word

_SCHEME = "file://"


class Needed(NamedTuple):
    """A file or folder that mgmt works with, and a name for it. It need not exist yet."""

    what: str
    path: str


def needed(store_url: str | None, catalog_file: str | None, keep_archive: str | None) -> list[Needed]:
    """Everything on this machine that an upload to this store, with this catalog, works with."""
    found = [Needed("the folder for temporary files", tempfile.gettempdir())]
    if (folder := store_folder(store_url)) is not None:
        found.append(Needed("the store", folder))
    if catalog_file is not None:
        found.append(Needed("the catalog", catalog_file))
        found += [
            Needed("part of the catalog", f"{catalog_file}{end}") for end in ("-wal", "-shm", "-journal", ".lock")
        ]
    if keep_archive is not None:
        found.append(Needed("the folder of --keep-archive", keep_archive))
    return [Needed(what, absolute(path)) for what, path in found]


def store_folder(url: str | None) -> str | None:
    """The directory of a directory store; None for any other."""
    return url.removeprefix(_SCHEME) if url is not None and url.startswith(_SCHEME) else None


def refuse_overlap(target: str, others: Sequence[Needed]) -> None:
    """Raise ConfigurationError when `target` is or contains one of the `others`, or is in the store.

    Bind mounts and links on the way are resolved. For a part of a folder that is mounted elsewhere, see `watched`.
    """
    for each in others:
        if is_inside(each.path, target):
            raise _overlap(target, each)
        if each.what == "the store" and is_inside(target, each.path):
            raise ConfigurationError(
                f"{target} is in the store {each.path}, which holds archives and no originals",
                next_step="mgmt download NAME   (to archive what an archive holds)",
            )


def refuse_in_store(folder: str, what: str, store_url: str, *, next_step: str) -> None:
    """Raise ConfigurationError when `folder`, called `what`, is in the directory of the store, or is that directory."""
    root = store_folder(store_url)
    if root is not None and is_inside(folder, root):
        where = f"in the store {root}" if not is_inside(root, folder) else "the store"
        raise ConfigurationError(f"{what} {folder} is {where}", next_step=next_step)


def not_leading_to(others: Sequence[Needed]) -> Callable[[str], bool]:
    """A predicate for many paths: true if the path neither is nor contains any of the `others`."""
    leading = {each for other in others for each in on_the_way(other.path)}

    def test(path: str) -> bool:
        try:
            found = os.lstat(path)
        except OSError:  # it is gone, which is reported when its turn comes
            return True
        return (found.st_dev, found.st_ino) not in leading

    return test


def watched(tree: Tree, others: Sequence[Needed]) -> Tree:
    """`tree`, whose walk raises ConfigurationError where it meets one of the `others`, under whatever path."""
    own = {field.name: getattr(tree, field.name) for field in fields(tree)}
    return _Watched(**own, others={on_the_way(each.path)[0]: each for each in reversed(others)})


@dataclass(frozen=True, kw_only=True)
class _Watched(Tree):
    others: dict[tuple[int, int], Needed]

    def walk(self, on_skip: Callable[[Skipped], None]) -> Generator[Entry]:
        with closing(super().walk(on_skip)) as entries:
            for entry in entries:
                if (found := self.others.get((entry.stat.st_dev, entry.stat.st_ino))) is not None:
                    raise _overlap(self.root, found)
                yield entry


def _overlap(target: str, other: Needed) -> ConfigurationError:
    if is_inside(target, other.path):
        return ConfigurationError(f"{target} is {other.what}, which mgmt itself needs", next_step="name something else")
    message = f"{target} contains {other.what}: {other.path}"
    return ConfigurationError(
        message, next_step=f"mgmt upload --all {shell_word(target)}   (everything in it but that)"
    )
