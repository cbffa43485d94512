"""Remove copies in completed/ to get their space back, after proving the archive again."""

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from mgmt.archive import fsync_folder, rename_noreplace
from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Role
from mgmt.errors import NotFoundError, RefusedError
from mgmt.progress import Progress
from mgmt.services.archives import Archive, OpenStore, find_archive
from mgmt.services.delete import holds
from mgmt.services.files import claim, host, paths_meant, token
from mgmt.services.verify import prove_again
from mgmt.signals import finish_first

REMOVING = "removing"
"""The stage of a `free` that has proven the archive: the copy is being set aside and removed, or is gone already."""


def completed_copies(catalog: Catalog, older_than: timedelta | None) -> list[FileRecord]:
    """The copies in completed/ on this machine that were archived longer ago than `older_than`."""
    now = datetime.now(UTC)
    return [each for each in _copies(catalog) if older_than is None or now - each.recorded_at > older_than]


def _copies(catalog: Catalog) -> list[FileRecord]:
    return catalog.metadata.list_files(
        None, Location.COMPLETED, FileStatus.COMPLETED, host=host(), sort="recorded", limit=None
    )


def find_copy(name: str, open_store: OpenStore, catalog: Catalog) -> tuple[FileRecord, Archive]:
    """The completed copy that `name` means, and the archive that holds the same. Raises NotFoundError."""
    copies = _copies(catalog)
    paths = paths_meant(name)
    by_path = [each for each in copies if each.path in paths]
    if by_path:
        copy = by_path[0]
        if copy.operation_id is None:
            raise NotFoundError(f"{copy.path}: no upload of it is recorded")
        return copy, find_archive(copy.operation_id, open_store, catalog)
    archive = find_archive(name, open_store, catalog)
    for each in copies:
        if archive.record is not None and each.digest == archive.record.digest:
            return each, archive
    raise NotFoundError(f"{name!r} has no copy in completed/ on this machine", next_step="mgmt ls --location completed")


def free(
    name: str,
    *,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> FreeRecord:
    """Remove one completed copy; `record.details["freed"]` is its bytes.

    Raises IntegrityError when the archive cannot be proven, RefusedError when the copy is not what was archived: it
    stays then.
    """
    copy, archive = find_copy(name, open_store, catalog)
    record = FreeRecord(target_path=copy.path, target_name=copy.name, command_args=dict(command_args), parent_id=parent)
    try:
        with catalog.journal.record(record, claim=claim(copy.path)) as record:
            if not finish_free(record, catalog):
                if copy.digest is None:
                    raise RefusedError(f"{copy.path}: its digest was never recorded, so it cannot be compared")
                proof = prove_again(archive, "auto", progress)
                if not holds(copy, copy.digest, progress):
                    raise RefusedError(
                        f"{copy.path} is not what was archived, so it stays",
                        next_step=f"mgmt upload --on-conflict rename {copy.path}",
                    )
                catalog.journal.link(record, copy, Role.COMPLETED)
                record.details = {"freed": _size(copy.path), "proof": proof}
                record.stage = REMOVING
                catalog.journal.checkpoint()
                finish_first()
                rename_noreplace(copy.path, _hidden_name(record))
                finish_free(record, catalog)
    finally:
        progress.stop()
    return record


def finish_free(record: FreeRecord, catalog: Catalog) -> bool:
    """Remove the copy that a `free` has set aside, and record that; False when it has set nothing aside yet."""
    hidden = _hidden_name(record)
    if os.path.lexists(hidden):
        catalog.journal.confirm()
        finish_first()
        if os.path.isdir(hidden) and not os.path.islink(hidden):
            shutil.rmtree(hidden)
        else:
            os.unlink(hidden)
        fsync_folder(os.path.dirname(hidden))
    elif record.stage != REMOVING or os.path.lexists(str(record.target_path)):
        return False
    for copy, _ in catalog.metadata.files_of(record, Role.COMPLETED):
        copy.status = FileStatus.DELETED
    return True


def _hidden_name(record: FreeRecord) -> str:
    """Where a copy goes to be removed: nothing half removed ever stands under the copy's own name."""
    return os.path.join(os.path.dirname(str(record.target_path)), f".mgmt-{token(record.operation_id)}.free")


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.lstat(path).st_size
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
