"""What an upload would do, refusals and conflicts included; nothing is changed."""

import os
import stat
from dataclasses import dataclass, replace

from mgmt.archive import Tree, covers, hash_tree, look_again, unreadable
from mgmt.catalog import Catalog, FileRecord, Status
from mgmt.choices import DEFAULT_PART_SIZE, OnConflict
from mgmt.errors import ConflictError, IntegrityError, MgmtError, NotFoundError
from mgmt.paths import held_parent
from mgmt.progress import Progress
from mgmt.services.steps.adoption import contradiction, proven_record
from mgmt.services.steps.conflicts import next_key, taken_by
from mgmt.services.steps.finished import earlier_upload, explained, is_finished
from mgmt.services.steps.indexes import any_index, look_up
from mgmt.services.steps.move_original import completed_path
from mgmt.services.steps.plan import Plan, UploadOptions, plan_upload
from mgmt.storage import ObjectStore, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an upload would do. `bytes` is an upper estimate of what would be sent."""

    type: str = "preview"
    target: str
    status: Status
    """The status that the upload would have."""
    files: int
    size: int
    object: str
    bytes: int
    requests: int
    left_out: int
    moved_to: str | None
    error_message: str | None = None
    """Why the target would be partial, or skipped."""


@dataclass(frozen=True, slots=True)
class Looking:
    """Where an upload would look, and be looked at; `catalog` is None if there is none yet."""

    store: ObjectStore
    catalog: Catalog | None
    progress: Progress


def preview(path: str, options: UploadOptions, at: Looking) -> Preview:
    """What `upload` would do with `path`. A target whose key is taken is read, to compare it with what is there.

    Raises the error that the upload would end with.
    """
    done = earlier_upload(path, options, at.store, at.catalog) if at.catalog is not None else None
    if done is not None and at.catalog is not None and is_finished(done, at.store, at.catalog):
        return Preview(
            target=str(done.target_path),
            status=Status.SUCCESS,
            files=done.file_count or 0,
            size=done.original_size or 0,
            object=str(done.result_path),
            bytes=0,
            requests=1,
            left_out=0,
            moved_to=None,
            error_message="archived already",
        )
    with held_parent(path) as (target, folder):
        try:
            plan = plan_upload(target, options, at.store, at.catalog, folder)
        except NotFoundError as exc:
            raise explained(exc, done, at.store) from exc
        skipped = plan.survey.skipped + (closed := unreadable(plan.tree))
        if closed and not stat.S_ISDIR(os.stat(os.path.basename(target), dir_fd=folder).st_mode):
            raise MgmtError(f"{closed[0].path} cannot be archived: {closed[0].reason}")
        planned = _planned(target, replace(plan, completed_dir=None if skipped else plan.completed_dir), options, at)
    if not skipped or planned.status is Status.CANCELLED:
        return planned
    why = f"{len(skipped)} left out, so the original stays where it is"
    return replace(planned, status=Status.PARTIAL, left_out=len(skipped), error_message=why)


def _planned(target: str, plan: Plan, options: UploadOptions, at: Looking) -> Preview:
    """As if everything could be read."""
    part_size = options.part_size or DEFAULT_PART_SIZE
    parts = -(-plan.survey.tar_size // part_size)
    key, found = (
        plan.key,
        Preview(
            target=target,
            status=Status.SUCCESS,
            files=plan.survey.files,
            size=plan.survey.size,
            object=at.store.location(plan.key),
            bytes=plan.survey.tar_size,
            # three lookups and the index; one PUT, or the parts with their start and completion; the proof
            requests=4 + (1 if parts <= 1 else parts + 2),
            left_out=0,
            moved_to=plan.completed_dir and completed_path(plan.completed_dir, plan.tree.name, "TIME"),
        ),
    )
    while (existing := look_up(at.store, key)) is not None:
        try:
            _compare(existing, plan.tree, options, at)
        except ConflictError as error:
            if options.on_conflict == OnConflict.ERROR:
                raise
            if options.on_conflict == OnConflict.SKIP:
                skipped = f"skipped: {error.message}"
                return replace(found, status=Status.CANCELLED, bytes=0, moved_to=None, error_message=skipped)
            key = next_key(plan.key, key)
        else:
            already = "the same contents are archived already"
            return replace(found, object=at.store.location(key), bytes=0, requests=4, error_message=already)
    return replace(found, object=at.store.location(key))


def _compare(existing: StoredObject, tree: Tree, options: UploadOptions, at: Looking) -> None:
    """Raise ConflictError unless `existing` holds what `tree` does, as far as its index and the catalog say."""
    known = proven_record(at.store, existing, at.catalog) if at.catalog is not None else None
    try:
        with any_index(at.store, existing) as index:
            if known is not None and contradiction(known, index):
                raise taken_by(at.store, existing.key, "an archive whose index is not its own")
            digest, kept = _of(known) or (index.end.digest, index.end.kept)
    except IntegrityError as error:
        raise taken_by(at.store, existing.key, "something that is not an archive of mgmt") from error
    at.progress.start(f"compare {tree.name}")
    try:
        hashed = hash_tree(tree, at.progress, owners=options.owners, xattrs=options.xattrs)
        look_again(tree, hashed)
    finally:
        at.progress.stop()
    if hashed.digest != digest:
        raise taken_by(at.store, existing.key, "other contents")
    if kept is not None and not covers(kept, hashed.kept):
        what = "the same contents, archived without the owners or extended attributes that are to be kept"
        raise taken_by(at.store, existing.key, what)


def _of(known: FileRecord | None) -> tuple[str, str | None] | None:
    return (known.digest, known.kept) if known is not None and known.digest is not None else None
