"""A target that is gone because it was archived already: a list may name it every night."""

from mgmt.catalog import Catalog, FileStatus, Location, Place, Role, Status, UploadRecord
from mgmt.errors import NotFoundError, ProblemError
from mgmt.paths import absolute, held_parent
from mgmt.services.steps.local_files import host, is_in
from mgmt.services.steps.plan import ABSENT, UploadOptions, key_of
from mgmt.services.steps.proof import still_there
from mgmt.storage import ObjectStore


def finished_upload(path: str, options: UploadOptions, store: ObjectStore, catalog: Catalog) -> UploadRecord | None:
    """The upload that archived `path` and moved it to completed/; None if it is still to be done, or cannot be.

    That is so only if nothing is at `path`, if the last that was seen there was archived, proven and moved, and if the
    archive is still in `store` under the key that `options` ask for. Raises StoreUnavailableError.
    """
    try:
        with held_parent(path) as (target, folder):
            if is_in(folder, target):
                return None
    except NotFoundError:  # its folder is gone, too
        target = absolute(path)
    upload = _last(target, catalog)
    if upload is None or upload.status is not Status.SUCCESS or upload.completed_dir_path is None:
        return None
    if upload.store != store.url or (upload.requested_key or upload.s3_object_key) != key_of(target, options):
        return None
    original = catalog.metadata.get_file_record(Place(Location.LOCAL, host(), target))
    if original is not None and original.status is not FileStatus.DELETED:
        return None  # something was seen there since, such as a download
    return upload if _is_stored(upload, store, catalog) else None


def _last(target: str, catalog: Catalog) -> UploadRecord | None:
    """The last upload of `target` that saw it: an attempt to upload what was gone already does not count."""
    history = catalog.metadata.get_upload_history(target, host())
    return next((each for each in history if each.error_message != f"{target}: {ABSENT}"), None)


def _is_stored(upload: UploadRecord, store: ObjectStore, catalog: Catalog) -> bool:
    for archive, _ in catalog.metadata.files_of(upload, Role.ARCHIVE):
        if archive.status is FileStatus.COMPLETED and archive.digest == upload.digest:
            try:
                still_there(store, archive)
            except ProblemError:
                return False
            return True
    return False
