"""List what is recorded, what is on disk, and what a store holds."""

import heapq
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, MemberRecord
from mgmt.errors import NotFoundError
from mgmt.services.search import Match, from_store
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.services.steps.local_files import host
from mgmt.services.steps.resolve import find_archive
from mgmt.storage import ObjectStore

ORDERS = {"name": ("path", False), "size": ("size", True), "time": ("modified", True)}

SORTS: dict[str, Callable[[Match], Any]] = {
    "name": lambda each: each.path,  # not every store lists in this order
    "size": lambda each: -(each.size or 0),
    "time": lambda each: -(each.modified_at.timestamp() if each.modified_at else 0),
}


def list_files(
    prefix: str,
    location: str,
    status: FileStatus | None,
    sort: str,
    limit: int,
    local_dir: str | None,
    catalog: Catalog,
    on_host: str | None,
) -> list[FileRecord | Match]:
    """Records of files whose path begins with `prefix`; deleted ones only if `status` asks for them.

    Local files are those on `on_host`, or for None on all hosts; on this host, those in `local_dir` without a record
    are included.
    """
    order, descending = ORDERS[sort]
    wanted = None if location == "global" else Location(location)
    found: list[FileRecord | Match] = list(
        catalog.metadata.list_files(
            prefix, wanted, status, host=on_host, sort=order, descending=descending, limit=limit, deleted=False
        )
    )
    here = host()
    if local_dir is not None and status is None and location in ("local", "global") and on_host in (here, None):
        known = {each.path for each in found if each.location == Location.LOCAL and each.host == here}
        unrecorded = (each for each in _in_folder(local_dir, prefix) if each.path not in known)
        found += islice(unrecorded, max(0, limit - len(found)))
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
                modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
            )


def list_live(prefix: str, sort: str, limit: int, store: ObjectStore) -> list[Match]:
    """The archives as the store lists them."""
    archives = (from_store(each) for each in store.list(prefix) if not each.key.endswith(SUFFIX))
    return heapq.nsmallest(limit, archives, key=SORTS[sort])


def list_members(name: str, prefix: str, limit: int, context: Context) -> list[MemberRecord]:
    """The members of one archive whose path begins with `prefix`, as the catalog has them."""
    archive = find_archive(name, context)
    if archive.record is None:
        raise NotFoundError(f"{name} is in the store, but not in the catalog", next_step="mgmt db rebuild")
    return list(context.catalog.members.list(archive.record.id, prefix, limit=limit))
