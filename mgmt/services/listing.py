"""List what is recorded, what is on disk, and what a store holds."""

import heapq
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Scope
from mgmt.errors import NotFoundError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.services.steps.local_files import host, moment
from mgmt.services.steps.match import Match, from_store
from mgmt.storage import ObjectStore

if TYPE_CHECKING:
    from mgmt.catalog import MemberRecord

ORDERS = {"name": "path", "size": "-size", "time": "-modified"}

SORTS: dict[str, Callable[[Match], Any]] = {
    "name": lambda each: each.path,  # not every store lists in this order
    "size": lambda each: -(each.size or 0),
    "time": lambda each: -(each.modified_at.timestamp() if each.modified_at else 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What to list. Deleted files are listed only if `status` asks for them."""

    prefix: str = ""
    """The beginning of a path or a key."""
    location: Scope | Location = Scope.GLOBAL
    status: FileStatus | None = None
    host: str | None = None
    """The host of local files; None for all hosts."""
    sort: str = "name"
    limit: int = 100


def list_files(listing: Listing, local_dir: str | None, catalog: Catalog) -> list[FileRecord | Match]:
    """The records of files that `listing` asks for; on this host also files in `local_dir` without a record."""
    found: list[FileRecord | Match] = list(
        catalog.files.list_files(
            listing.prefix,
            None if listing.location == Scope.GLOBAL else Location(listing.location),
            listing.status,
            host=listing.host,
            sort=ORDERS[listing.sort],
            limit=listing.limit,
            deleted=False,
        )
    )
    here, local = host(), listing.location in (Scope.LOCAL, Scope.GLOBAL)
    if local_dir is not None and listing.status is None and local and listing.host in (here, None):
        known = {each.path for each in found if each.location == Location.LOCAL and each.host == here}
        unrecorded = (each for each in _in_folder(local_dir, listing.prefix) if each.path not in known)
        found += islice(unrecorded, max(0, listing.limit - len(found)))
    return found


def _in_folder(folder: str, prefix: str) -> Iterator[Match]:
    if not os.path.isdir(folder):
        raise NotFoundError(f"local_dir {folder} is not a folder", next_step="mgmt config set local_dir DIRECTORY")
    for name in sorted(os.listdir(folder)):
        if name.startswith(prefix):
            path = os.path.join(folder, name)
            found = os.lstat(path)
            is_folder = os.path.isdir(path)
            yield Match(
                type="folder" if is_folder else "file",
                name=name,
                location=Location.LOCAL,
                host=host(),
                path=path,
                size=None if is_folder else found.st_size,
                modified_at=moment(found.st_mtime),
            )


def list_live(prefix: str, sort: str, limit: int, store: ObjectStore) -> list[Match]:
    """The archives as the store lists them."""
    archives = (from_store(each) for each in store.list(prefix) if not each.key.endswith(SUFFIX))
    return heapq.nsmallest(limit, archives, key=SORTS[sort])


def list_members(name: str, prefix: str, limit: int, context: Context) -> "list[MemberRecord]":
    """The members of one archive whose path begins with `prefix`, as the catalog has them."""
    from mgmt.services.steps.resolve import find_archive  # it maps every record, and other lists need only files

    archive = find_archive(name, context)
    if archive.record is None:
        raise NotFoundError(f"{name} is in the store, but not in the catalog", next_step="mgmt db rebuild")
    return list(context.catalog.members.list(archive.record.id, prefix, limit=limit))
