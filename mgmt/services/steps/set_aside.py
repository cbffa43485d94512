"""Removing a completed copy that is proven in a store: set it aside under a hidden name, look again, then remove it.

Nothing half removed ever stands under the copy's own name. A removal that was interrupted or failed is resumed by the
next `mgmt free` of that copy, or by `mgmt recover`.
"""

import os
from contextlib import ExitStack

from mgmt.archive import Tree, fsync_folder, move, remove_tree, same_state, survey
from mgmt.catalog import Catalog, FileRecord, FileStatus, FreeRecord, Location, Place, Role
from mgmt.errors import ConflictError, MgmtError, ProblemError, RefusedError
from mgmt.paths import held_folder
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import host, is_in, token
from mgmt.services.steps.proof import still_there
from mgmt.signals import finish_first
from mgmt.words import shell_word

SET_ASIDE = "set-aside"
"""The stage of a `free` that has proven an archive: the copy is being renamed, then looked at once more."""

REMOVING = "removing"
"""The stage of a `free` whose copy, set aside, is still what was proven: it is being removed, or already gone.

From here on the record of the copy is `failed` and says where the rest of it is, until all of it is gone.
"""


def paths_of_removals(catalog: Catalog) -> set[str | None]:
    """The paths of the copies whose removal has begun and has not succeeded."""
    running = [each for each in catalog.journal.running() if isinstance(each, FreeRecord)]
    return {each.target_path for each in (*running, *catalog.metadata.unfinished_removals(host()))}


def hidden_name(record: FreeRecord, path: str) -> str:
    """The name under which the copy at `path` is removed."""
    return os.path.join(os.path.dirname(path), f".mgmt-{token(record.operation_id)}.free")


def finish_free(record: FreeRecord, context: Context, folder: int | None = None) -> bool:
    """Remove the copy that a `free` has set aside, and record that; False when it has set nothing aside yet.

    `folder` is the open folder that holds the copy. Raises RefusedError, with the copy back under its name, when it is
    no longer what was compared or its archive is gone; MgmtError when it cannot be removed.
    """
    if record.stage not in (SET_ASIDE, REMOVING):
        return False
    catalog, path = context.catalog, str(record.target_path)
    hidden = record.result_path or hidden_name(record, path)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(held_folder(os.path.dirname(hidden)))
        if is_in(folder, hidden):
            _look_again(record, hidden, folder, context)
            catalog.journal.confirm()
            finish_first()
            _remove(hidden, path, folder)
        elif record.stage == SET_ASIDE or (record.result_path is None and is_in(folder, path)):
            return False
        for copy, _ in catalog.metadata.files_of(record, Role.COMPLETED):
            if not is_in(folder, copy.path):  # else another copy has the name by now
                copy.status, copy.error_message = FileStatus.DELETED, None
                # An edited copy that was uploaded has a record as an original as well.
                original = catalog.metadata.get_file_record(Place(Location.LOCAL, host(), copy.path))
                if original is not None:
                    original.status = FileStatus.DELETED
    return True


def finish_earlier(left: FreeRecord, context: Context) -> FreeRecord:
    """Resume a removal that failed half way, as an operation of its own."""
    record = FreeRecord(target_path=left.target_path, target_name=left.target_name, command_args={})
    with context.catalog.journal.record(record) as record:
        take_over(record, left, context)
        finish_free(record, context)
    return record


def resume_earlier(record: FreeRecord, copy: FileRecord, context: Context) -> bool:
    """If an earlier removal of `copy` failed half way, finish it; what was left may have been removed by hand."""
    for left in context.catalog.metadata.unfinished_removals(host(), copy.path):
        begun = os.path.lexists(str(left.result_path)) or copy.status is FileStatus.FAILED
        if begun and not os.path.lexists(copy.path):
            take_over(record, left, context)
            return finish_free(record, context)
    return False


def take_over(record: FreeRecord, left: FreeRecord, context: Context) -> None:
    """Let `record` continue the removal `left`."""
    record.result_path, record.stage = left.result_path, left.stage
    record.details = {**left.details, "began_as": left.operation_id}
    for file, role in context.catalog.metadata.files_of(left):
        context.catalog.journal.link(record, file, role)
    context.catalog.journal.checkpoint()


def _look_again(record: FreeRecord, hidden: str, folder: int, context: Context) -> None:
    """Advance `record` to REMOVING, or raise RefusedError: the copy may have changed, or its archive may be gone."""
    whole = _is_whole(record, hidden, folder)
    if record.stage == SET_ASIDE and not whole:
        raise _put_back(record, hidden, folder, "it changed while it was compared")
    try:
        for archive, _ in context.catalog.metadata.files_of(record, Role.ARCHIVE):
            still_there(context.open_store(archive.store), archive)
    except ProblemError as exc:
        raise (_put_back if whole else _keep_the_rest)(record, hidden, folder, exc.message) from exc
    if record.stage == SET_ASIDE:
        record.stage = REMOVING
        for copy, _ in context.catalog.metadata.files_of(record, Role.COMPLETED):
            if not is_in(folder, copy.path):
                copy.status, copy.error_message = FileStatus.FAILED, f"its removal has begun: what is left is {hidden}"
        context.catalog.journal.checkpoint()


def _is_whole(record: FreeRecord, hidden: str, folder: int) -> bool:
    """Whether what is set aside is what was compared; a process that had it open may have changed it."""
    now = survey(Tree(hidden, str(record.target_name), folder=folder))
    return same_state(record.details.get("state"), now.source_state, renamed=True)


def _keep_the_rest(record: FreeRecord, hidden: str, _folder: int, why: str) -> RefusedError:
    """No archive holds the copy any more, so the half that is left may be all that there is."""
    return RefusedError(
        f"{hidden}, which is left of {record.target_path}, stays: {why}",
        next_step=f"mv -n {shell_word(hidden)} {shell_word(str(record.target_path))}\n# look at it first",
    )


def _put_back(record: FreeRecord, hidden: str, folder: int, why: str) -> RefusedError:
    path = str(record.target_path)
    try:
        move(hidden, path, source_folder=folder, destination_folder=folder)
    except ConflictError:
        return RefusedError(
            f"{path} stays, as {hidden}: {why}, and something else has its name by now",
            next_step=f"mv -n {shell_word(hidden)} ANOTHER-NAME",
        )
    return RefusedError(f"{path} stays: {why}", next_step=f"mgmt free {shell_word(path)}")


def _remove(hidden: str, path: str, folder: int) -> None:
    try:
        remove_tree(folder, os.path.basename(hidden))
        fsync_folder(folder)
    except OSError as exc:
        stuck = os.path.join(os.path.dirname(hidden), exc.filename or os.path.basename(hidden))
        raise MgmtError(
            f"{stuck}: {exc.strerror}; what is left of {path} is {hidden}, and its archive is proven",
            next_step=f"mgmt free {shell_word(path)}\n# make it removable first",
        ) from exc
