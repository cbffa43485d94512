"""What can be requested to run later: which commands, as which operations, and where."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest
from typing import Any

from mgmt.catalog import (
    ANY,
    BatchRecord,
    Catalog,
    ClassRecord,
    DeleteRecord,
    DownloadRecord,
    FreeRecord,
    JobRecord,
    LockRecord,
    NewJob,
    OperationRecord,
    RestoreRecord,
    TagRecord,
    UndeleteRecord,
    UploadRecord,
    VerifyRecord,
    host_queue,
    target_of,
    this_host,
)
from mgmt.config import parse_duration
from mgmt.errors import LostError
from mgmt.paths import canonical
from mgmt.services.steps.request_arguments import AFTER, FOLDER, NAMES, SCHEDULE, SEEN, STORE, THEN

CHOICES = ("all_of", "all_of_them", "sample", "older_than", "keyword", "batch")
"""Options that choose the targets of a request when it runs."""

SELECTIONS = (*CHOICES, "files_from", "null", "members")
"""Options that choose targets. The operations of a batch have one target each, and none of these."""

KINDS: Mapping[str, type[OperationRecord]] = {
    "upload": UploadRecord,
    "download": DownloadRecord,
    "verify": VerifyRecord,
    "free": FreeRecord,
    "delete": DeleteRecord,
    "restore": RestoreRecord,
    "class": ClassRecord,
    "tag": TagRecord,
    "lock": LockRecord,
    "undelete": UndeleteRecord,
}
"""The operations that each command makes. A worker runs these commands and no others."""

ANYWHERE = frozenset({"verify", "restore", "class", "tag", "lock", "undelete"})
"""The commands that need no file of this machine. `delete` looks for other copies on it."""


_OF_REQUEST = (NAMES, FOLDER, THEN, AFTER, STORE)
"""Arguments of a batch that are no arguments of its operations, or are set anew for each."""

PAGE = 1_000
"""Operations of a batch that are recorded in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often to try what may succeed later, and how many seconds to wait at first."""

    most: int = 1
    backoff_seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When a request runs, and what follows it."""

    not_before: datetime | None = None
    after: Sequence[str] = ()
    """The operations that must have succeeded."""
    queue: str | None = None
    """By default, that of this machine, or of any."""
    then: Sequence[str] = ()
    """The commands that follow, one after the other, on the archive that it makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command to run later."""

    command: str
    names: Sequence[str]
    """Its targets; empty if `arguments` choose them when it runs."""
    arguments: Mapping[str, object]
    """Its options, as they were given."""
    when: When
    attempts: Attempts = field(default_factory=Attempts)
    store: str | None = None
    """The store that it was given, if any."""
    folder: str | None = None
    """The folder in which relative names are meant: by default, the current one."""
    schedule: str | None = None
    template: str | None = None
    retry_of: str | None = None
    """The operation whose work it does again."""
    then_retry_of: Sequence[str] = ()
    """The operations whose work those that follow it do again, in their order."""


def operation_of(request: Request) -> OperationRecord:
    """The operation that `request` asks for: a batch if it has not one target."""
    return _jobs(request, None)[0].operation


def enqueue(request: Request, catalog: Catalog) -> list[OperationRecord]:
    """Record the operation that `request` asks for, and those that follow it, in one transaction.

    One target is an operation of its own. Several are a batch, which becomes an operation for each when it runs.
    """
    made = _jobs(request, None)
    catalog.queue.add(made)
    return [each.operation for each in made]


@dataclass(frozen=True, slots=True)
class FanOut:
    """Makes an operation of each target of a requested batch, instead of working on them one after the other."""

    batch: BatchRecord
    job: JobRecord
    catalog: Catalog
    taken_by: str
    """Who has taken the job: this process, or its worker."""

    def __call__(self, targets: Iterable[str], each_with: Sequence[Mapping[str, object]] = ({},)) -> None:
        """Enqueue an operation for each of `targets`, and for each of the options `each_with`.

        They are held until all are there: other processes may write meanwhile, and if this one is killed, the next one
        goes on. A batch without targets has succeeded.
        """
        queue, batch = self.catalog.queue, self.batch.operation_id
        with self.catalog.transaction():  # whoever began it is dead, but what it sent last may be being committed
            self._hold()
            there = queue.begun_fan_out(batch)
        own = {name: value for name, value in self.batch.command_args.items() if name not in SELECTIONS}
        wanted = ({**own, NAMES: [target], **more} for target in targets for more in each_with)
        missing = (each for each in wanted if target_of(each) not in there)
        while page := list(islice(missing, PAGE)):
            with self.catalog.transaction():
                self._hold()
                queue.add([job for arguments in page for job in self._of_one(arguments)])
        with self.catalog.transaction():
            self._hold()
            queue.note_fanned_out(batch)

    def _hold(self) -> None:
        """Let the batch stay as it is until the caller's transaction ends.

        Raises RefusedError if it has ended or fanned out, and LostError if another process has taken it.
        """
        job = self.catalog.queue.batch_to_fan_out(self.batch.operation_id)
        if job.taken_by != self.taken_by:
            raise LostError(
                f"another process has taken batch {self.batch.operation_id}; this process stops", next_step="mgmt queue"
            )

    def _of_one(self, arguments: Mapping[str, Any]) -> list[NewJob]:
        """The operation on one target, and those that follow it."""
        job = self.job
        options = {name: value for name, value in arguments.items() if name not in _OF_REQUEST}
        request = Request(
            command=job.command,
            names=arguments[NAMES],
            arguments=options,
            when=When(queue=job.queue, then=arguments.get(THEN, ())),
            attempts=Attempts(most=job.attempts, backoff_seconds=job.backoff_seconds),
            store=job.store,
            folder=arguments.get(FOLDER),
            schedule=job.schedule,
            template=job.template,
        )
        made = _jobs(request, self.batch.operation_id)
        for each in made:
            each.job.held = True
        return made


def _jobs(request: Request, parent: str | None) -> list[NewJob]:
    """The operation that `request` asks for, as part of the batch `parent`, and those that follow it."""
    operation = _operation(request, parent)
    operation.retry_of = request.retry_of
    made = [NewJob(operation, _job(request, request.command), request.when.after)]
    return made if isinstance(operation, BatchRecord) else made + _following(request, operation)


def is_batch(request: Request) -> bool:
    """Whether the request has to be fanned out when it runs: it chooses its targets then, or has several."""
    members = request.arguments.get("members")
    several = isinstance(members, list) and len(members) > 1
    return len(request.names) != 1 or several or any(each in request.arguments for each in SELECTIONS[:-1])


def new_job(command: str, host: str, queue: str | None, store: str | None, attempts: Attempts) -> JobRecord:
    """The job of an operation of `command`, which was requested on `host`."""
    anywhere = command in ANYWHERE
    return JobRecord(
        operation_id="",
        command=command,
        queue=queue or (ANY if anywhere else host_queue(host)),
        host=None if anywhere else host,
        store=store,
        attempts=attempts.most,
        backoff_seconds=attempts.backoff_seconds,
    )


def _job(request: Request, command: str) -> JobRecord:
    queue = request.when.queue
    if command != request.command and queue in (ANY, host_queue(this_host())):
        queue = None  # what follows has a default of its own
    job = new_job(command, this_host(), queue, request.store, request.attempts)
    job.not_before = request.when.not_before if command == request.command else None
    job.schedule, job.template = request.schedule, request.template
    return job


def _operation(request: Request, parent: str | None) -> OperationRecord:
    folder = request.folder or os.getcwd()
    arguments = {**request.arguments, NAMES: list(request.names), FOLDER: folder}
    if request.when.then:
        arguments[THEN] = list(request.when.then)
    if request.when.after:
        arguments[AFTER] = list(dict.fromkeys(request.when.after))
    if request.store is not None:
        arguments[STORE] = request.store
    if is_batch(request):
        name = str(request.arguments.get("all_of") or f"{request.command} of {_targets(request)}")
        return BatchRecord(target_path=name, target_name=name, command_args=arguments, parent_id=parent)
    (name,) = request.names
    path = canonical(os.path.join(folder, name)) if request.command == "upload" else name
    kind = KINDS[request.command]
    if kind is UploadRecord:
        if os.path.lexists(path):
            arguments[SEEN] = datetime.now(UTC).isoformat()
        return UploadRecord(target_path=path, store=request.store, command_args=arguments, parent_id=parent)
    return kind(target_path=path, target_name=name, command_args=arguments, parent_id=parent)


def _targets(request: Request) -> str:
    """What `request`, a batch, works on."""
    if request.names:
        return f"{len(request.names)} target{'s' if len(request.names) > 1 else ''}"
    match next((each for each in CHOICES if each in request.arguments), None):
        case "sample":
            return f"a sample of {request.arguments['sample']}"
        case "older_than":
            age = parse_duration(str(request.arguments["older_than"]))  # it is recorded in seconds
            return f"copies older than {f'{age.days}d' if age == timedelta(age.days) else age}"
        case "keyword":
            return f"what matches {request.arguments['keyword']}"
        case "batch":
            return f"the archives of {request.arguments['batch']}"
        case _:
            return "all targets"


def _following(request: Request, first: OperationRecord) -> list[NewJob]:
    """The operations on the archive of `first`, an upload, one after the other."""
    made: list[NewJob] = []
    before = first.operation_id
    for command, retry_of in zip_longest(request.when.then, request.then_retry_of[: len(request.when.then)]):
        name = first.operation_id  # it names the archive that the upload makes
        arguments: dict[str, object] = {NAMES: [name], FOLDER: first.command_args[FOLDER], AFTER: [before]}
        if request.store is not None:
            arguments[STORE] = request.store
        if (schedule := first.command_args.get(SCHEDULE)) is not None:
            arguments[SCHEDULE] = schedule
        operation = KINDS[command](
            target_path=first.target_path,
            target_name=first.target_name,
            command_args=arguments,
            parent_id=first.parent_id,
            retry_of=retry_of,
        )
        made.append(NewJob(operation, _job(request, command), [before]))
        before = operation.operation_id
    return made
