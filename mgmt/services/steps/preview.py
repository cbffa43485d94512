"""What an upload would do, refusals and conflicts included; nothing is changed."""

import os
import stat
from dataclasses import dataclass, field, replace

from mgmt.archive import Hashed, Tree, covers, hash_tree, look_again, unreadable
from mgmt.catalog import Catalog, FileRecord, Status, UploadRecord
from mgmt.choices import OnConflict, StorageClass
from mgmt.errors import ConflictError, IntegrityError, MgmtError, NotFoundError
from mgmt.paths import held_parent
from mgmt.prices import Objects, Prices
from mgmt.progress import Progress
from mgmt.services.steps.adoption import contradiction, is_still_stored, proven_record
from mgmt.services.steps.archived import is_for, may_be_continued
from mgmt.services.steps.conflicts import next_key, taken_by
from mgmt.services.steps.finished import earlier_upload, explained, is_finished
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import any_index, look_up
from mgmt.services.steps.interrupted import Left, what_is_left
from mgmt.services.steps.local_copy import copy_path, unpublished_copy
from mgmt.services.steps.local_files import claim, host
from mgmt.services.steps.movable import completed_dir
from mgmt.services.steps.move_original import PROVEN, changed, completed_path, has_moved, lost, same_as_archived
from mgmt.services.steps.plan import Plan, UploadOptions, plan_upload
from mgmt.services.steps.plan_cost import PlanCost, of_upload
from mgmt.services.steps.resolve import archive_id
from mgmt.services.steps.targets import folders_above, was_part
from mgmt.storage import Capabilities, ObjectStore, StoredObject


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
    storage_class: str | None = None
    storage_class_by: str | None = None
    """What has decided the class: option, setting, or a rule. None if the archive exists already."""
    error_message: str | None = None
    """Why the target would be partial, or skipped."""
    cost: PlanCost | None = None


@dataclass(frozen=True, slots=True)
class Looking:
    """Where an upload would look, and be looked at; `catalog` is None if there is none yet."""

    store: ObjectStore
    catalog: Catalog | None
    progress: Progress
    sent: dict[str, str] = field(default_factory=dict)
    """The targets that would be sent before, by key."""
    moved: set[str] = field(default_factory=set)
    """Where originals would have moved before."""
    copies: set[str] = field(default_factory=set)
    """The copies of archives that would have been kept before."""
    wholes: dict[str, tuple[Preview, UploadRecord | None]] = field(default_factory=dict)
    """What would have moved before, or has, by its path; with the upload that has archived it, if there is one."""


def preview(path: str, options: UploadOptions, at: Looking) -> Preview:
    """What `upload` would do with `path`. A target whose key is taken is read, to compare it with what is there.

    Raises the error that the upload would end with.
    """
    if at.wholes and (whole := _whole(path, at)) is not None:
        return whole
    return _alone(path, options, at)


def priced(found: Preview, table: Prices) -> Preview:
    """The same with what it costs."""
    new = Objects(storage_class=found.storage_class or StorageClass.STANDARD, size=found.bytes)
    cost = of_upload(found.object, new, requests=found.requests, members=found.files, table=table)
    return replace(found, cost=cost)


def _whole(path: str, at: Looking) -> Preview | None:
    """What would be done before with a folder that stands for `path`, too (see `unless_part_of_another`)."""
    for above, inside in folders_above(path):
        if above in at.wholes:
            found, made = at.wholes[above]
            if os.path.lexists(path) if made is None or at.catalog is None else was_part(inside, made, at.catalog):
                return found
    return None


def _alone(path: str, options: UploadOptions, at: Looking) -> Preview:
    done = earlier_upload(path, options, at.store, at.catalog) if at.catalog is not None else None
    if done is not None and at.catalog is not None and is_finished(done, at.store, at.catalog):
        found = Preview(
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
        at.wholes[found.target] = found, done
        return found
    with held_parent(path) as (target, folder):
        left = _interrupted(target, at)
        if left is not None and (resumed := _resumed(left, options, at, folder)) is not None:
            at.moved.add(resumed.moved_to or "")
            if resumed.moved_to is not None:
                at.wholes[target] = resumed, left
            return resumed
        try:
            plan = plan_upload(target, options, at.store, at.catalog, folder)
        except NotFoundError as exc:
            raise explained(exc, done, at.store) from exc
        skipped = plan.survey.skipped + (closed := unreadable(plan.tree))
        if closed and not stat.S_ISDIR(os.stat(os.path.basename(target), dir_fd=folder).st_mode):
            raise MgmtError(f"{closed[0].path} cannot be archived: {closed[0].reason}")
        plan = replace(plan, completed_dir=None if skipped else plan.completed_dir)
        planned = _planned(target, plan, _first_key(target, plan, left, options, at), options, at)
    if planned.moved_to is not None:
        at.wholes[target] = planned, None
    if not skipped or planned.status is Status.CANCELLED:
        return planned
    return replace(planned, status=Status.PARTIAL, left_out=len(skipped), error_message=_left_out(len(skipped)))


def _left_out(count: int) -> str:
    return f"{count} left out, so the original stays where it is"


def _interrupted(target: str, at: Looking) -> UploadRecord | None:
    """The interrupted upload of `target` that an upload would resume. Raises BusyError."""
    if at.catalog is None:
        return None
    return at.catalog.journal.foresee(UploadRecord(target_path=target), claim(target))


def _resumed(left: UploadRecord, options: UploadOptions, at: Looking, folder: int) -> Preview | None:
    """How an interrupted upload would end whose archive is proven; None if the target would be uploaded again."""
    if left.stage != PROVEN or at.catalog is None:
        return None
    target, moved_to = str(left.target_path), left.completed_dir_path
    what = what_is_left(left, options, at.store, folder)
    stored = what in (Left.MOVED, Left.REPLACED) or _is_stored(left, at.store, at.catalog)
    if what is Left.TO_MOVE and stored:
        to = None if options.keep else completed_dir(target, options.completed_dir, folder)
        moved_to = None if to is None or left.skipped_count else _announced(moved_to, to, target, at)
    if stored and (copy := unpublished_copy(left)) is not None:
        at.copies.add(copy)
    if what in (Left.REPLACED, Left.ASKED_OTHERWISE) or not stored:
        return None
    if what is Left.MOVED and moved_to is not None and not has_moved(left):
        raise lost(left)
    if what is Left.TO_MOVE and moved_to is not None and not same_as_archived(target, left, folder=folder):
        raise changed(left)
    return Preview(
        target=target,
        status=Status.PARTIAL if left.skipped_count else Status.SUCCESS,
        files=left.file_count or 0,
        size=left.original_size or 0,
        object=str(left.result_path),
        bytes=0,
        requests=1,
        left_out=left.skipped_count or 0,
        moved_to=moved_to,
        error_message=_left_out(left.skipped_count) if left.skipped_count else "archived already, but not finished",
    )


def _is_stored(left: UploadRecord, store: ObjectStore, catalog: Catalog) -> bool:
    """Whether the archive of an interrupted upload is still there; presumed so of that in another store."""
    return left.store != store.url or is_still_stored(left, store, catalog)


def _announced(moved_to: str | None, folder: str, target: str, at: Looking) -> str:
    """Where an interrupted upload would move its original: where it was going to, unless that name is taken by now."""
    if moved_to is None:
        return _free_in(folder, target, at)
    taken = os.path.lexists(moved_to) or moved_to in at.moved
    return _free_in(os.path.dirname(moved_to), target, at) if taken else moved_to


def _first_key(target: str, plan: Plan, left: UploadRecord | None, options: UploadOptions, at: Looking) -> str:
    """The key that an upload would try first: that of an interrupted or failed upload of the same, if there is one."""
    if left is not None and left.stage == PROVEN:  # it ends, and another one follows
        return plan.key
    if left is not None and left.s3_object_key is not None:
        resumed = is_for(left, at.store, plan.key) and not _has_made_another(left, plan.tree, options, at)
        return left.s3_object_key if resumed else plan.key
    history = at.catalog.metadata.get_upload_history(target, host()) if at.catalog is not None else []
    earlier = next((each for each in history if each is not left), None)
    if at.catalog is None or earlier is None or not may_be_continued(earlier, at.store, plan.key, at.catalog):
        return plan.key
    return earlier.s3_object_key or plan.key


def _has_made_another(left: UploadRecord, tree: Tree, options: UploadOptions, at: Looking) -> bool:
    """Whether an interrupted upload has completed its archive, and `tree` has changed since: another upload follows."""
    existing = look_up(at.store, str(left.s3_object_key)) if left.archive_id is None else None
    if existing is None or existing.metadata.get(OPERATION) != archive_id(left):
        return False
    try:
        _compare(existing, tree, options, at)
    except ConflictError:
        return True
    return False


def _free_in(folder: str, target: str, at: Looking) -> str:
    """Where the original would move, after those that would have moved before."""
    path = completed_path(folder, os.path.basename(target), "TIME")
    return completed_path(folder, os.path.basename(target), "TIME", taken=path in at.moved)


def _planned(target: str, plan: Plan, key: str, options: UploadOptions, at: Looking) -> Preview:
    """As if everything could be read, beginning with `key`."""
    from mgmt.storage.multipart import plan_part_size

    part_size = plan_part_size(plan.survey.tar_size, Capabilities(None).max_parts, options.part_size)
    parts = -(-plan.survey.tar_size // part_size)
    found = Preview(
        target=target,
        status=Status.SUCCESS,
        files=plan.survey.files,
        size=plan.survey.size,
        object=at.store.location(plan.key),
        bytes=plan.survey.tar_size,
        # three lookups and the index; one PUT, or the parts with their start and completion; the proof
        requests=4 + (1 if parts <= 1 else parts + 2),
        left_out=0,
        moved_to=plan.completed_dir and _free_in(plan.completed_dir, target, at),
        storage_class=plan.storage_class,
        storage_class_by=plan.class_by,
    )
    while (existing := look_up(at.store, key)) is not None or key in at.sent:
        try:
            if existing is not None:
                _compare(existing, plan.tree, options, at)
            else:
                _compare_sent(key, plan.tree, options, at)
        except ConflictError as error:
            if options.on_conflict == OnConflict.ERROR:
                raise
            if options.on_conflict == OnConflict.SKIP:
                skipped = f"skipped: {error.message}"
                return replace(found, status=Status.CANCELLED, bytes=0, moved_to=None, error_message=skipped)
            key = next_key(plan.key, key)
        else:
            found = replace(found, bytes=0, requests=4, error_message="the same contents are archived already")
            found = replace(
                found, storage_class=existing.storage_class if existing is not None else None, storage_class_by=None
            )
            break
    if options.keep_archive is not None:
        at.copies.add(copy_path(options.keep_archive, key, at.copies))
    at.sent.setdefault(key, target)
    at.moved.add(found.moved_to or "")
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
    _refuse_other(existing.key, _hash(tree, options, at), digest, kept, at)


def _compare_sent(key: str, tree: Tree, options: UploadOptions, at: Looking) -> None:
    """Raise ConflictError unless the target that would be sent to `key` before holds what `tree` does."""
    with held_parent(at.sent[key]) as (other, folder):
        name = os.path.basename(other)
        sent = _hash(Tree(other, name, include=options.include, exclude=options.exclude, folder=folder), options, at)
    _refuse_other(key, _hash(tree, options, at), sent.digest, sent.kept, at)


def _hash(tree: Tree, options: UploadOptions, at: Looking) -> Hashed:
    at.progress.start(f"compare {tree.name}")
    try:
        hashed = hash_tree(tree, at.progress, owners=options.owners, xattrs=options.xattrs)
        look_again(tree, hashed)
    finally:
        at.progress.stop()
    return hashed


def _refuse_other(key: str, hashed: Hashed, digest: str, kept: str | None, at: Looking) -> None:
    """Raise ConflictError unless what was `hashed` is what `key` holds."""
    if hashed.digest != digest:
        raise taken_by(at.store, key, "other contents")
    if kept is not None and not covers(kept, hashed.kept):
        what = "the same contents, archived without the owners or extended attributes that are to be kept"
        raise taken_by(at.store, key, what)


def _of(known: FileRecord | None) -> tuple[str, str | None] | None:
    return (known.digest, known.kept) if known is not None and known.digest is not None else None
