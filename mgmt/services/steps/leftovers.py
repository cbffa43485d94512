"""What may be left in a store: by uploads that ended unproven, and of archives that are no longer there."""

from mgmt.catalog import Catalog, FileRecord, UploadRecord
from mgmt.errors import StoreError, StoreUnavailableError
from mgmt.services.steps.adoption import adopt_left, proven_record
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import look_up
from mgmt.services.steps.move_original import PROVEN
from mgmt.services.steps.orphans import abort_orphans, may_be_completing, may_be_resumed, orphans_of
from mgmt.services.steps.removal import remove_index, remove_remains
from mgmt.services.steps.resolve import archive_id
from mgmt.storage import ObjectStore


def abandoned_uploads(catalog: Catalog) -> list[UploadRecord]:
    """Uploads that ended unproven and may have left something in a store, which costs money."""
    live = {archive_id(each) for each in catalog.journal.running() if isinstance(each, UploadRecord)}
    ended = catalog.metadata.unfinished_uploads()
    return [each for each in ended if each.stage != PROVEN and archive_id(each) not in live]


def adopt_complete(record: UploadRecord, store: ObjectStore, context: Context) -> FileRecord | None:
    """Record the archive that an upload completed before it failed, if it is not recorded yet; return it then."""
    stored = look_up(store, str(record.s3_object_key))
    if stored is None or stored.metadata.get(OPERATION) != archive_id(record):
        return None
    if proven_record(store, stored, context.catalog) is not None:
        return None
    return adopt_left(record, stored, store, context)


def remove_leftovers(record: UploadRecord, store: ObjectStore, catalog: Catalog) -> list[str]:
    """Remove what an upload that ended unproven left in the store; return what that was.

    Raises StoreError where the store lists no uploads: then the parts are removed, and the index stays, which may be
    that of an upload that is still running.
    """
    key, own_index, left = str(record.s3_object_key), str(record.index_key), []
    try:
        pending = list(store.pending(key))
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        if record.upload_id is not None:
            store.abort(key, record.upload_id)
        why = f"its parts are removed, if there were any; its index stays, as uploads cannot be listed: {exc.message}"
        raise StoreError(why, next_step=exc.next_step) from exc
    completing = may_be_completing(record, pending)
    if record.upload_id is not None and record.upload_id in {each.upload_id for each in pending}:
        store.abort(key, record.upload_id)
        left.append("the parts")
    elif record.upload_id is None and abort_orphans(store, key, catalog):
        left.append("the upload without parts")
    index = None if completing else look_up(store, own_index)
    if completing:
        pass  # the archive may yet appear, and needs its index
    elif index is None:  # the index is stored before its archive, so there is no archive either
        for half in [each for each in store.pending(own_index) if each.key == own_index]:
            store.abort(half.key, half.upload_id)
            left.append("half an index")
    elif may_be_resumed(store, key, index):
        pass  # of another catalog, perhaps, whose upload is still running
    elif remove_index(store, key, own_index, archive_id(record)):
        left.append("the index")
    return left


def remove_replaced_index(archive: FileRecord, store: ObjectStore, catalog: Catalog) -> bool:
    """Remove the index of a deleted `archive` whose key holds another one by now; return whether there was one.

    Somebody else has removed that archive, or an interrupted deletion.
    """
    existed = look_up(store, str(archive.index_key)) is not None
    if not remove_remains(store, archive):
        return False
    with catalog.transaction():
        archive.index_key = None
    return existed


def has_leftovers(record: UploadRecord, store: ObjectStore, catalog: Catalog) -> bool:
    """Whether `remove_leftovers` or `adopt_complete` would find something; changes nothing."""
    key = str(record.s3_object_key)
    pending = [each for each in store.pending(key) if each.key == key]
    if record.upload_id in {each.upload_id for each in pending} or orphans_of(store, key, catalog):
        return True
    stored = look_up(store, key)
    if stored is not None and stored.metadata.get(OPERATION) == archive_id(record):
        return proven_record(store, stored, catalog) is None
    own_index = str(record.index_key)
    half = any(each.key == own_index for each in store.pending(own_index))
    return half or (not pending and look_up(store, own_index) is not None)
