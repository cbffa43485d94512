"""Remove an archive from its store; the records stay."""

import os
from collections.abc import Mapping

from mgmt.archive import Tree, hash_tree
from mgmt.catalog import Catalog, DeleteRecord, FileRecord, FileStatus, Location, Role
from mgmt.errors import MgmtError, NotFoundError, RefusedError
from mgmt.progress import Progress
from mgmt.services.archives import Archive, OpenStore, find_archive
from mgmt.services.files import host
from mgmt.services.indexes import find_index
from mgmt.signals import finish_first


def delete(
    name: str,
    *,
    last_copy: bool,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> DeleteRecord:
    """Remove one archive and its index. Without `last_copy`, another copy must be proven to exist first.

    Raises RefusedError when the archive is the last proven copy.
    """
    archive = find_archive(name, open_store, catalog)
    where = archive.store.location(archive.key)
    record = DeleteRecord(target_path=where, target_name=archive.key, command_args=dict(command_args), parent_id=parent)
    try:
        with catalog.journal.record(record, claim=where) as record:
            copy = None if last_copy else _require_other_copy(archive, catalog, progress)
            if archive.record is not None:
                catalog.journal.link(record, archive.record, Role.ARCHIVE)
            record.details = {"other_copy": copy, "last_copy": last_copy}
            catalog.journal.checkpoint()
            try:
                index = find_index(archive.store, archive.store.head(archive.key))
            except NotFoundError:
                index = archive.record.index_key if archive.record is not None else None
            # The archive first: what is interrupted here leaves an index without an archive, never the reverse.
            finish_first()
            archive.store.delete(archive.key)
            if index is not None:
                archive.store.delete(index)
            _see_it_gone(archive)
            if archive.record is not None:
                archive.record.status = FileStatus.DELETED
    finally:
        progress.stop()
    return record


def _see_it_gone(archive: Archive) -> None:
    try:
        archive.store.head(archive.key)
    except NotFoundError:
        return
    raise MgmtError(f"{archive.store.location(archive.key)} was deleted, but the store still has it")


def _require_other_copy(archive: Archive, catalog: Catalog, progress: Progress) -> str:
    """The path of a copy on this machine that hashes to the same just now. Raises RefusedError when there is none."""
    digest = archive.record.digest if archive.record is not None else None
    for copy in catalog.metadata.copies_of(digest) if digest is not None else ():
        if holds(copy, str(digest), progress):
            return copy.path
    raise RefusedError(
        f"{archive.store.location(archive.key)} is the last proven copy of what it holds",
        next_step=f"mgmt download {archive.key}   (or: mgmt delete --last-copy {archive.key})",
    )


def holds(copy: FileRecord, digest: str, progress: Progress) -> bool:
    """Whether the local `copy` is on this machine, and all of it hashes to `digest` now."""
    if copy.location == Location.S3 or copy.host != host() or not os.path.lexists(copy.path):
        return False
    progress.start(f"compare {copy.name}", copy.original_size or copy.size)
    found = hash_tree(Tree(copy.path, os.path.basename(copy.path)), progress)
    progress.stop()
    return found.digest == digest and not found.skipped


def preview(
    name: str, *, last_copy: bool, open_store: OpenStore, catalog: Catalog, progress: Progress
) -> dict[str, object]:
    """What `delete` would remove, refusals included; changes nothing."""
    archive = find_archive(name, open_store, catalog)
    if not last_copy:
        _require_other_copy(archive, catalog, progress)
    stored = archive.store.head(archive.key)
    return {
        "type": "preview",
        "object": archive.store.location(archive.key),
        "size": stored.size,
        "index": find_index(archive.store, stored),
    }
