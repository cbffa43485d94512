"""Remove copies in completed/ to get their space back, after proving an archive of the same content again."""

import os
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from mgmt.archive import Hashed, Tree, fsync_folder, look_again, move, remove_tree, survey
from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Place, Role
from mgmt.errors import ConflictError, MgmtError, NotFoundError, ProblemError, RefusedError
from mgmt.paths import held_folder, held_parent, mounted_in
from mgmt.progress import Progress
from mgmt.services.steps.copies import Copies, content_claim
from mgmt.services.steps.local_files import host, paths_meant, token
from mgmt.services.steps.proof import still_there
from mgmt.services.steps.resolve import AmbiguousNameError, OpenStore, find_archive
from mgmt.signals import finish_first

SET_ASIDE = "set-aside"
"""The stage of a `free` that has proven an archive: the copy is getting another name, and is looked at once more."""

REMOVING = "removing"
"""The stage of a `free` whose copy, set aside, is still what was proven: it is being removed, or is gone already.

The record of the copy is `failed` from here on, and says where the rest of it is, until all of it is gone.
"""

_LEFT = (FileStatus.COMPLETED, FileStatus.FAILED)


def completed_copies(catalog: Catalog, older_than: timedelta | None) -> list[FileRecord]:
    """The copies in completed/ on this machine that were archived longer ago than `older_than`."""
    now = datetime.now(UTC)
    begun = _paths_of_removals(catalog)
    return [
        each
        for each in _copies(catalog)
        if (older_than is None or now - each.recorded_at > older_than)
        # What somebody else has removed, or is on a disk that is not mounted, takes no space here.
        and (os.path.lexists(each.path) or each.path in begun)
    ]


def _paths_of_removals(catalog: Catalog) -> set[str | None]:
    """Where the copies were of which a removal has begun that has not ended well."""
    running = [each for each in catalog.journal.running() if isinstance(each, FreeRecord)]
    return {each.target_path for each in (*running, *catalog.metadata.unfinished_removals(host()))}


def _copies(catalog: Catalog) -> list[FileRecord]:
    found = catalog.metadata.list_files(None, Location.COMPLETED, None, host=host(), sort="recorded", limit=None)
    return [each for each in found if each.status in _LEFT]


def find_copy(name: str, open_store: OpenStore, catalog: Catalog) -> FileRecord:
    """The completed copy that `name` means: a path, or what names its archive.

    Raises NotFoundError, or AmbiguousNameError when there are several copies of what that archive holds.
    """
    for path in sorted(paths_meant(name)):
        try:
            copy = catalog.metadata.require_file_record(Place(Location.COMPLETED, host(), path))
        except NotFoundError:
            continue
        if copy.status in _LEFT:
            return copy
        raise NotFoundError(f"{path} was removed already", next_step=f"mgmt log --target {path}")
    archive = find_archive(name, open_store, catalog, strictly=True)
    digest = archive.record.digest if archive.record is not None else None
    copies = [each for each in _copies(catalog) if digest is not None and each.digest == digest]
    if len(copies) > 1:
        paths = ", ".join(sorted(each.path for each in copies)[:10])
        raise AmbiguousNameError(f"{name!r} has {len(copies)} copies: {paths}", next_step="use one of these paths")
    if not copies:
        raise NotFoundError(
            f"{name!r} has no copy in completed/ on this machine", next_step="mgmt ls --location completed"
        )
    return copies[0]


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

    Raises RefusedError when the copy is not what was archived, or no archive holds what it holds, and IntegrityError
    when the archive cannot be proven: the copy stays then.
    """
    copy = find_copy(name, open_store, catalog)
    _refuse_missing(copy, catalog)
    if copy.digest is None:
        raise RefusedError(f"{copy.path}: its digest was never recorded, so it cannot be compared")
    record = FreeRecord(target_path=copy.path, target_name=copy.name, command_args=dict(command_args), parent_id=parent)
    try:
        with catalog.journal.record(record, claim=content_claim(copy.digest)) as record:
            removed = finish_free(record, open_store, catalog)
            if not removed and not _go_on_removing(record, copy, open_store, catalog):
                _prove_and_remove(record, copy, Copies(open_store, catalog, progress), catalog)
    finally:
        progress.stop()
    return record


def _refuse_missing(copy: FileRecord, catalog: Catalog) -> None:
    """Raise NotFoundError when somebody else has removed the copy; its record says so then."""
    if os.path.lexists(copy.path) or copy.path in _paths_of_removals(catalog):
        return
    if os.path.isdir(os.path.dirname(copy.path)):
        copy.status = FileStatus.DELETED
        catalog.journal.checkpoint()
    raise NotFoundError(f"{copy.path} is not there any more", next_step="mgmt ls --location completed")


def _prove_and_remove(record: FreeRecord, copy: FileRecord, copies: Copies, catalog: Catalog) -> None:
    with held_parent(copy.path) as (path, folder):
        tree = Tree(path, copy.name, folder=folder)
        _refuse_unremovable(tree)
        seen = copies.hash(copy, folder)
        proven = copies.archive_of(seen, copy.path)
        catalog.journal.link(record, copy, Role.COMPLETED)
        if proven.archive.record is not None:
            catalog.journal.link(record, proven.archive.record, Role.ARCHIVE)
        record.details = {"freed": seen.original_size, "proof": proven.proof, "state": seen.source_state}
        record.result_path, record.stage = _hidden_name(record, path), SET_ASIDE
        catalog.journal.checkpoint()
        finish_first()
        _same(tree, seen, copy.path)
        move(path, record.result_path, source_folder=folder, destination_folder=folder)
        if not finish_free(record, copies.open_store, catalog, folder):
            raise MgmtError(f"{record.result_path}, which was {copy.path}, was moved away by somebody else just now")


def _same(tree: Tree, seen: Hashed, path: str) -> None:
    try:
        look_again(tree, seen)
    except MgmtError as exc:
        raise RefusedError(f"{path} stays: it changed while it was compared", next_step=exc.next_step) from exc


def finish_free(record: FreeRecord, open_store: OpenStore, catalog: Catalog, folder: int | None = None) -> bool:
    """Remove the copy that a `free` has set aside, and record that; False when it has set nothing aside yet.

    `folder` is the open folder that the copy is in. Raises RefusedError, with the copy back under its name, when it is
    no longer what was compared, or its archive is gone; MgmtError when it cannot be removed: `mgmt free` and
    `mgmt recover` go on with it.
    """
    if record.stage not in (SET_ASIDE, REMOVING):
        return False
    hidden, path = record.result_path or _hidden_name(record, str(record.target_path)), str(record.target_path)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(held_folder(os.path.dirname(hidden)))
        if _is_in(folder, hidden):
            whole = _is_whole(record, hidden, folder)
            if record.stage == SET_ASIDE and not whole:
                raise _put_back(record, hidden, folder, "it changed while it was compared")
            try:
                _look_at_the_archive(record, open_store, catalog)
            except ProblemError as exc:
                raise (_put_back if whole else _keep_the_rest)(record, hidden, folder, exc.message) from exc
            if record.stage == SET_ASIDE:
                record.stage = REMOVING
                _note_beginning(record, hidden, folder, catalog)
                catalog.journal.checkpoint()
            catalog.journal.confirm()
            finish_first()
            _remove(hidden, path, folder)
        elif record.stage == SET_ASIDE or (record.result_path is None and _is_in(folder, path)):
            return False
        for copy, _ in catalog.metadata.files_of(record, Role.COMPLETED):
            if not _is_in(folder, copy.path):  # else the name has another copy by now
                copy.status, copy.error_message = FileStatus.DELETED, None
    return True


def _note_beginning(record: FreeRecord, hidden: str, folder: int, catalog: Catalog) -> None:
    """The copy is none any more, and is still to be found."""
    for copy, _ in catalog.metadata.files_of(record, Role.COMPLETED):
        if not _is_in(folder, copy.path):
            copy.status, copy.error_message = FileStatus.FAILED, f"its removal has begun: what is left is {hidden}"


def finish_earlier(left: FreeRecord, open_store: OpenStore, catalog: Catalog) -> FreeRecord:
    """Go on with a removal that failed half way, as an operation of its own."""
    record = FreeRecord(target_path=left.target_path, target_name=left.target_name, command_args={})
    with catalog.journal.record(record) as record:
        _take_over(record, left, catalog)
        finish_free(record, open_store, catalog)
    return record


def _go_on_removing(record: FreeRecord, copy: FileRecord, open_store: OpenStore, catalog: Catalog) -> bool:
    """If an earlier removal of `copy` failed half way, finish that; what was left may have been removed by hand."""
    for left in catalog.metadata.unfinished_removals(host(), copy.path):
        begun = os.path.lexists(str(left.result_path)) or copy.status is FileStatus.FAILED
        if begun and not os.path.lexists(copy.path):
            _take_over(record, left, catalog)
            return finish_free(record, open_store, catalog)
    return False


def _take_over(record: FreeRecord, left: FreeRecord, catalog: Catalog) -> None:
    record.result_path, record.stage = left.result_path, left.stage
    record.details = {**left.details, "began_as": left.operation_id}
    for file, role in catalog.metadata.files_of(left):
        catalog.journal.link(record, file, role)
    catalog.journal.checkpoint()


def _is_whole(record: FreeRecord, hidden: str, folder: int) -> bool:
    """Whether what is set aside is what was compared: whoever had it open, or stood in it, may have changed it."""
    now = survey(Tree(hidden, str(record.target_name), folder=folder))
    return bool(now.source_state == record.details.get("state"))


def _look_at_the_archive(record: FreeRecord, open_store: OpenStore, catalog: Catalog) -> None:
    """The archive that was proven has to be there still: it may have been deleted since the copy was set aside.

    Raises ProblemError when it is not.
    """
    for archive, _ in catalog.metadata.files_of(record, Role.ARCHIVE):
        still_there(open_store(archive.store), archive)


def _keep_the_rest(record: FreeRecord, hidden: str, _folder: int, why: str) -> RefusedError:
    """No archive holds it any more, so the half that is left may be all that there is."""
    return RefusedError(
        f"{hidden}, which is left of {record.target_path}, stays: {why}",
        next_step=f"look at it; then: mv -n {shlex.quote(hidden)} {shlex.quote(str(record.target_path))}",
    )


def _put_back(record: FreeRecord, hidden: str, folder: int, why: str) -> RefusedError:
    path = str(record.target_path)
    try:
        move(hidden, path, source_folder=folder, destination_folder=folder)
    except ConflictError:
        return RefusedError(
            f"{path} stays, as {hidden}: {why}, and something else has its name by now",
            next_step=f"mv -n {shlex.quote(hidden)} ANOTHER-NAME",
        )
    return RefusedError(f"{path} stays: {why}", next_step=f"mgmt free {shlex.quote(path)}")


def _remove(hidden: str, path: str, folder: int) -> None:
    try:
        remove_tree(folder, os.path.basename(hidden))
        fsync_folder(folder)
    except OSError as exc:
        stuck = os.path.join(os.path.dirname(hidden), exc.filename or os.path.basename(hidden))
        raise MgmtError(
            f"{stuck}: {exc.strerror}; what is left of {path} is {hidden}, and its archive is proven",
            next_step=f"make it removable, then: mgmt free {path}",
        ) from exc


def _refuse_unremovable(tree: Tree) -> None:
    """Raise RefusedError for what can be seen to be in the way of a removal, before anything is removed."""
    for path in mounted_in(tree.root):
        raise RefusedError(
            f"{tree.root} stays: another file system is mounted at {path}", next_step=f"umount {shlex.quote(path)}"
        )


def _is_in(folder: int, path: str) -> bool:
    try:
        os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _hidden_name(record: FreeRecord, path: str) -> str:
    """Where the copy at `path` goes to be removed: nothing half removed ever stands under the copy's own name."""
    return os.path.join(os.path.dirname(path), f".mgmt-{token(record.operation_id)}.free")
