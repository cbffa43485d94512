"""Run a requested operation: what a worker does, and a person may."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mgmt.catalog import BatchRecord, Catalog, JobRecord, OperationRecord, Status, UploadRecord, this_host
from mgmt.errors import MgmtError, NotFoundError, RefusedError
from mgmt.paths import canonical
from mgmt.services.steps.request_arguments import FOLDER, NAMES, NO_OPTIONS, WORKER
from mgmt.services.steps.requests import ANYWHERE, KINDS, FanOut
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True)
class Requested:
    """A requested operation that is about to run, and its job."""

    operation: OperationRecord
    job: JobRecord
    catalog: Catalog
    taken_by: str
    """This process, or the worker that has started it."""

    @property
    def names(self) -> list[str]:
        """Its targets, as they were typed; empty if its options choose them."""
        names = self.operation.command_args.get(NAMES)
        return [str(each) for each in names] if isinstance(names, list) else []

    @property
    def options(self) -> dict[str, object]:
        """Its recorded options by their names."""
        return {name: value for name, value in self.operation.command_args.items() if name not in NO_OPTIONS}

    @property
    def fan_out(self) -> FanOut | None:
        """What makes an operation of each target, if it is a batch."""
        if not isinstance(self.operation, BatchRecord):
            return None
        return FanOut(self.operation, self.job, self.catalog, self.taken_by)


def requested(operation_id: str, catalog: Catalog) -> Requested | None:
    """The requested operation, taken for this process; None if it has succeeded or fanned out.

    Raises NotFoundError if there is none, BusyError if another process has taken or runs it, and RefusedError if it has
    ended otherwise, was not requested, waits for another one, or belongs to another machine.
    """
    operation = catalog.metadata.require_operation(operation_id)
    if operation.status == Status.SUCCESS:
        return None
    if operation.status.is_terminal:
        raise RefusedError(
            f"{operation.operation_type} {operation_id} has ended as {operation.status}",
            next_step=f"mgmt retry {operation_id}",
        )
    job = catalog.jobs.job(operation_id)
    if job is None:
        raise RefusedError(
            f"{operation.operation_type} {operation_id} was not requested to run later: it is {operation.status}",
            next_step=f"mgmt status {operation_id}",
        )
    if job.fanned_out:
        return None
    if (impossible := _impossible(operation, job)) is not None:
        catalog.queue.end_requested(operation_id, impossible)
        raise impossible
    _refuse_elsewhere(job)
    if job.taken_by is not None and job.taken_by == os.environ.get(WORKER):
        return Requested(operation, job, catalog, job.taken_by)  # it was free when the worker took it
    if waits_for := catalog.queue.waits_for([operation_id]).get(operation_id):
        raise RefusedError(
            f"{operation.operation_type} {operation_id} waits for {', '.join(waits_for)}", next_step="mgmt queue"
        )
    job = catalog.jobs.take_one(operation_id, worker=os.environ.get(WORKER))
    return None if job is None else Requested(operation, job, catalog, str(job.taken_by))


@contextmanager
def running(requested: Requested) -> Iterator[None]:
    """Run the command of `requested` in this block: its next operation of that type is the requested one.

    If the block begins none, the operation ends as the block does: with its error, or successfully, as there was
    nothing to do. It runs in the folder that it was requested in; raises NotFoundError if that is gone.
    """
    operation_id, catalog = requested.operation.operation_id, requested.catalog
    folder = requested.operation.command_args.get(FOLDER)
    try:
        if folder is not None and (requested.job.host is not None or os.path.isdir(str(folder))):
            _enter(str(folder))
        _refuse_another_file(requested)
        catalog.journal.run_requested(operation_id)
        yield
    except MgmtError as error:
        catalog.queue.end_requested(operation_id, error, taken_by=requested.taken_by)
        raise
    if not requested.operation.status.is_terminal:
        _link_earlier(requested.operation, catalog)
        catalog.queue.end_requested(operation_id, None, taken_by=requested.taken_by)


def _link_earlier(operation: OperationRecord, catalog: Catalog) -> None:
    """If an upload was done already, its archive is that of the earlier one: what follows needs it."""
    if not isinstance(operation, UploadRecord) or operation.status != Status.PENDING:
        return
    history = catalog.metadata.get_upload_history(str(operation.target_path), this_host())
    for earlier in history:
        if earlier.status == Status.SUCCESS and earlier is not operation:
            with catalog.transaction():
                operation.details = {**operation.details, "done_by": earlier.operation_id}
                for file, role in catalog.metadata.files_of(earlier):
                    catalog.journal.link(operation, file, role)
            return


def _refuse_another_file(requested: Requested) -> None:
    """Raise RefusedError if the path of an upload means another file than it did: a folder on it became a link."""
    operation = requested.operation
    if not isinstance(operation, UploadRecord):
        return
    for name in requested.names:
        path = canonical(os.path.join(str(operation.command_args.get(FOLDER, "")), name))
        if path != operation.target_path:
            raise RefusedError(
                f"{operation.target_path} is {path} by now: a folder on its path was replaced by a link",
                next_step=f"mgmt upload --later {shell_word(path)}",
            )


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as exc:
        raise NotFoundError(
            f"the folder {folder}, in which this was requested, cannot be entered: {exc.strerror}",
            next_step="request it again from another folder",
        ) from exc


def _impossible(operation: OperationRecord, job: JobRecord) -> MgmtError | None:
    """Why no machine can ever run the operation: mgmt has not requested it so."""
    if job.command not in KINDS or not isinstance(operation, (KINDS[job.command], BatchRecord)):
        return RefusedError(
            f"operation {job.operation_id}, of the type {operation.operation_type}, cannot be run by {job.command!r}"
        )
    if job.host is None and job.command not in ANYWHERE:
        return RefusedError(f"operation {job.operation_id} needs files of a machine, and its job does not say of which")
    return None


def _refuse_elsewhere(job: JobRecord) -> None:
    if job.host not in (None, this_host()):
        raise RefusedError(
            f"operation {job.operation_id} needs files of {job.host}, and this is {this_host()}",
            next_step=f"mgmt worker\n# on {shell_word(str(job.host))}",
        )
