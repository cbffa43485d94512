"""Uploads that a store has begun and nobody knows: the process was killed between the answer and writing it down."""

from mgmt.catalog import Catalog, UploadRecord
from mgmt.storage import ObjectStore


def abort_unheard(store: ObjectStore, key: str, catalog: Catalog) -> int:
    """Remove those under `key`, for whoever has been cut off in an upload to it; returns how many there were.

    Such an upload has no parts, and none of the uploads that this catalog knows to be under way has its id. Should it
    be one that somebody else has begun this moment, that one ends with an error that says to run it again.
    """
    known = {each.upload_id for each in catalog.journal.running() if isinstance(each, UploadRecord)}
    unheard = [
        each.upload_id
        for each in store.pending(key)
        if each.key == key and each.size == 0 and each.upload_id not in known
    ]
    for upload_id in unheard:
        store.abort(key, upload_id)
    return len(unheard)
