"""A target that is gone because it was archived already: a list may name it every night."""

from collections.abc import Mapping
from datetime import datetime

from mgmt.archive import covers
from mgmt.catalog import Catalog, FileStatus, Location, Place, Status, UploadRecord
from mgmt.errors import NotFoundError, ProblemError
from mgmt.paths import absolute, held_parent
from mgmt.services.steps.local_files import claim, host, is_in
from mgmt.services.steps.plan import ABSENT, UploadOptions, asks_the_same, key_of
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.request_arguments import SEEN
from mgmt.storage import ObjectStore
from mgmt.words import shell_word


def earlier_upload(path: str, options: UploadOptions, store: ObjectStore, catalog: Catalog) -> UploadRecord | None:
    """The upload that archived what was last seen at `path`, as `options` ask, and moved it to completed/.

    None if there is something at `path`, or what was there last was not archived, proven and moved. Raises BusyError if
    another process is about to.
    """
    try:
        with held_parent(path) as (target, folder):
            if is_in(folder, target):
                return None
    except NotFoundError:  # its folder is gone, too
        target = absolute(path)
    upload = _last(target, catalog)
    if upload is not None and upload.status is Status.RUNNING:
        catalog.journal.foresee(UploadRecord(target_path=target), claim(target))
        catalog.metadata.reload(upload)  # it may have ended just now
    if upload is None or upload.status is not Status.SUCCESS or upload.completed_dir_path is None:
        return None
    if upload.store != store.url or (upload.requested_key or upload.s3_object_key) != key_of(target, options):
        return None
    if not asks_the_same(options, upload):
        return None
    original = catalog.metadata.get_file_record(Place(Location.LOCAL, host(), target))
    if original is not None and original.status is not FileStatus.DELETED:
        return None  # something was seen there since, such as a download
    return upload


def predates(upload: UploadRecord, arguments: Mapping[str, object]) -> bool:
    """Whether `upload` had ended when something was at its target, as the request with these `arguments` saw."""
    seen = arguments.get(SEEN)
    return (
        isinstance(seen, str) and upload.completed_at is not None and upload.completed_at < datetime.fromisoformat(seen)
    )


def _last(target: str, catalog: Catalog) -> UploadRecord | None:
    """The last upload of `target` that saw it: an attempt to upload what was gone already does not count."""
    history = [each for each in catalog.metadata.get_upload_history(target, host()) if each.status != Status.PENDING]
    absent = f"{target}: {ABSENT}"
    return next((each for each in history if not (each.error_message or "").startswith(absent)), None)


def is_finished(upload: UploadRecord, store: ObjectStore, catalog: Catalog) -> bool:
    """Whether its key still holds an archive of the same content: that of `upload`, or one that has replaced it.

    Raises StoreUnavailableError.
    """
    archive = catalog.metadata.get_file_record(Place(Location.S3, store.url, str(upload.s3_object_key)))
    if archive is None or archive.status is not FileStatus.COMPLETED or archive.digest != upload.digest:
        return False
    if not covers(archive.kept or "", upload.kept or ""):
        return False
    try:
        return still_there(store, archive).size == archive.size
    except ProblemError:
        return False


def explained(error: NotFoundError, earlier: UploadRecord | None, store: ObjectStore) -> NotFoundError:
    """The `error` that there is nothing to upload; with the reason, if the archive of the `earlier` upload is gone."""
    if earlier is None:
        return error
    key = str(earlier.s3_object_key)
    return NotFoundError(
        f"{error.message}; it was archived, but {store.location(key)} is no longer there",
        next_step=f"mgmt verify {shell_word(store.location(key))}",
    )
