"""Bring a deleted archive back from the older versions in its bucket: the same version, with its index."""

from dataclasses import dataclass

from mgmt.catalog import FileRecord, FileStatus, Role, UndeleteRecord
from mgmt.errors import ConflictError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.deleted import Deleted, find_deleted, look_at, taken_error
from mgmt.services.steps.indexes import look_up, open_index
from mgmt.services.steps.removal import remove_remains, uncover
from mgmt.services.steps.resolve import Archive, note_stored
from mgmt.services.steps.versions import is_of
from mgmt.signals import finish_first
from mgmt.storage import StoredObject


def undelete(name: str, context: Context) -> UndeleteRecord:
    """Bring back the deleted archive that `name` means, and its index. One that is there already is left as it is.

    Raises RefusedError if the store keeps no versions, or none of it is left; ConflictError if its key holds another
    archive by now.
    """
    found, journal = find_deleted(name, context), context.catalog.journal
    archive, store = found.archive, found.archive.store
    record = UndeleteRecord(
        target_path=archive.url,
        target_name=archive.key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
    )
    digest = archive.record.digest if archive.record is not None else None
    claim = archive.url if digest is None else content_claim(digest)
    with journal.record(record, claim=claim) as record:
        found = look_at(archive, name)  # it may have changed before this operation had its claim
        if archive.record is not None:
            journal.link(record, archive.record, Role.ARCHIVE)
        record.details = {"version_id": found.version_id, "index": found.index_key}
        journal.checkpoint()
        finish_first()
        # The index first: an interruption leaves an index without an archive, never the reverse.
        markers = []
        try:
            if found.index_key is not None and found.index_version is not None:
                markers += uncover(store, found.index_key, found.index_version)
            if found.hidden:
                markers += uncover(store, archive.key, found.version_id)
            stored = _confirmed(archive, found)
        except ConflictError:
            if archive.record is not None:
                remove_remains(store, archive.record)  # its index alone is of no use
            raise
        record.details = {**record.details, "markers": markers}
        if archive.record is not None:
            _note_back(archive.record, stored, found, context)
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an undelete would do. `state` is deleted, or stored if it is there already."""

    type: str = "preview"
    object: str
    size: int
    version_id: str
    state: str
    index: str | None


def preview(name: str, context: Context) -> Preview:
    """What `undelete` would do with `name`, refusals included; changes nothing."""
    found = find_deleted(name, context)
    return Preview(
        object=found.archive.url,
        size=found.size,
        version_id=found.version_id,
        state="deleted" if found.hidden else "stored",
        index=found.index_key if found.index_version is not None else None,
    )


def _confirmed(archive: Archive, found: Deleted) -> StoredObject:
    """The archive as it is there now. Raises ConflictError if something else happened to its key meanwhile."""
    stored = look_up(archive.store, archive.key)
    if stored is None:
        raise ConflictError(f"{archive.url} was deleted again meanwhile", next_step=f"mgmt undelete {archive.word}")
    is_another = archive.record is not None and not is_of(archive.record, stored)
    if is_another or stored.version_id not in (None, found.version_id):
        raise taken_error(archive.store, archive.key, hidden=False)
    return stored


def _note_back(record: FileRecord, stored: StoredObject, found: Deleted, context: Context) -> None:
    catalog = context.catalog
    with catalog.transaction():
        record.status, record.error_message = FileStatus.COMPLETED, None
        record.index_key = found.index_key if found.index_version is not None else record.index_key
        note_stored(record, stored)
        catalog.journal.checkpoint()
    complete = catalog.members.count(record.id) == record.member_count
    if found.index_key is not None and found.index_version is not None and not complete:
        with open_index(found.archive.store, found.index_key, stored.size) as index:
            catalog.members.record(record.id, index.members())
