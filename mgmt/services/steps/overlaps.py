"""Refuse to archive what mgmt itself works with: the store, the catalog, temporary files, kept archives.

Such an archive would contain itself or files that change while it is written, and the move would take away what is
still needed.
"""

import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import PurePath
from stat import S_ISDIR
from typing import NamedTuple

from mgmt.archive import Tree
from mgmt.archive.tree import Entry, Skipped
from mgmt.catalog import Catalog
from mgmt.config import Settings
from mgmt.errors import ConfigurationError
from mgmt.paths import absolute, is_inside, on_the_way
from mgmt.services.steps.local_files import host
from mgmt.storage import OWN
from mgmt.words import shell_word

_ANOTHER = "use another FILE"
_SCHEME = "file://"
_STORE, _OTHER_STORE = "the store", "another store"
_TEMPORARY = "the folder for temporary files"


class Needed(NamedTuple):
    """A file or folder that mgmt works with, and a name for it. It need not exist yet."""

    what: str
    path: str

    @property
    def is_store(self) -> bool:
        """Whether it is a directory store, which holds archives and no originals."""
        return self.what in (_STORE, _OTHER_STORE)


def known_stores(catalog: Catalog | None) -> list[str]:
    """The URLs of the directory stores that the catalog has archives in, and that are on this machine."""
    urls = catalog.metadata.stores_in_use() if catalog is not None else []
    # Another machine that uses the catalog may have its store at a path where this one has originals.
    return [url for url in urls if (folder := store_folder(url)) is not None and is_directory_store(folder)]


def is_directory_store(folder: str) -> bool:
    """Whether `folder` holds what only a directory store does; one that was never used does not."""
    return any(os.path.isdir(os.path.join(folder, OWN, each)) for each in ("objects", "uploads"))


def needed(
    store_url: str | None, catalog_file: str | None, keep_archive: str | None, others: Sequence[str] = ()
) -> list[Needed]:
    """Everything on this machine that an upload to this store, with this catalog and its `others`, works with."""
    found = [Needed(_TEMPORARY, tempfile.gettempdir())]
    for url in dict.fromkeys([store_url, *others]):
        if (folder := store_folder(url)) is not None:
            found.append(Needed(_STORE if url == store_url else _OTHER_STORE, folder))
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
        if each.is_store and is_inside(target, each.path):
            raise ConfigurationError(
                f"{target} is in the store {each.path}, which holds archives and no originals",
                next_step="mgmt download NAME\n# to archive what an archive holds",
            )
    if is_directory_store(target):
        raise _overlap(target, Needed(_OTHER_STORE, target))


def refuse_in_store(folder: str, what: str, store_urls: Sequence[str], *, next_step: str) -> None:
    """Raise ConfigurationError when `folder`, called `what`, is in one of the stores, or is another directory store."""
    for root in filter(None, map(store_folder, store_urls)):
        if is_inside(folder, root):
            where = f"in the store {root}" if not is_inside(root, folder) else _STORE
            raise ConfigurationError(f"{what} {folder} is {where}", next_step=next_step)
    if is_directory_store(folder):
        raise ConfigurationError(f"{what} {folder} is {_OTHER_STORE}", next_step=next_step)


def refuse_output(path: str, settings: Settings, catalog: Catalog) -> None:
    """Raise ConfigurationError when `path`, a file that mgmt would write, is the catalog, in a store or in completed/.

    Also one that mgmt has written, as a page, may have been archived and moved there.
    """
    folder, name = os.path.split(absolute(path))
    folder = os.path.realpath(folder)
    for each in needed(settings.store, settings.catalog_file(), None, known_stores(catalog)):
        if each.is_store:
            refuse_in_store(folder, "the folder", [f"{_SCHEME}{each.path}"], next_step=_ANOTHER)
        elif each.what != _TEMPORARY and is_inside(os.path.join(folder, name), each.path):
            raise ConfigurationError(f"{path} is {each.what}, which mgmt itself needs", next_step=_ANOTHER)
    for above in (folder, *map(str, PurePath(folder).parents)):
        refuse_in_store(above, "the folder", [], next_step=_ANOTHER)
    if _is_completed(folder, settings.completed_dir, catalog):
        raise ConfigurationError(f"{path} is in completed_dir, which holds archived originals", next_step=_ANOTHER)


def _is_completed(folder: str, setting: str, catalog: Catalog) -> bool:
    if not os.path.isabs(setting) and f"/{os.path.normpath(setting)}/" in f"{folder}/":
        return True
    folders = [*([setting] if os.path.isabs(setting) else []), *catalog.metadata.completed_folders(host())]
    return any(is_inside(folder, each) for each in folders)


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
                if S_ISDIR(entry.stat.st_mode) and os.path.basename(entry.name) == OWN:
                    folder = os.path.dirname(self.disk_path(entry.name))
                    if is_directory_store(folder):
                        raise _overlap(self.root, Needed(_OTHER_STORE, folder))
                yield entry


def _overlap(target: str, other: Needed) -> ConfigurationError:
    if is_inside(target, other.path):
        return ConfigurationError(f"{target} is {other.what}, which mgmt itself needs", next_step="name something else")
    message = f"{target} contains {other.what}: {other.path}"
    return ConfigurationError(message, next_step=f"mgmt upload --all {shell_word(target)}\n# everything in it but that")
