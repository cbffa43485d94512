"""Checks of the catalog."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from mgmt.catalog import ANY, HEAD, Catalog, OperationRecord, UploadRecord, Wanted, host_queue
from mgmt.catalog.db.engine import is_writable
from mgmt.errors import CatalogError
from mgmt.services.doctor.finding import Finding, permissions, problem
from mgmt.services.steps.elsewhere import WAITING, waiting_elsewhere
from mgmt.services.steps.local_files import host
from mgmt.services.steps.unrecorded import unnamed
from mgmt.words import operand

_EXPIRING = timedelta(days=1)
"""How long before the end of a thaw somebody should download what was thawed."""


def check_catalog(catalog: Catalog, uploads: dict[str, UploadRecord]) -> Iterator[Finding]:
    """Check schema, integrity, permissions and interrupted work.

    Adds to `uploads`, by upload id, those that may have left parts in a store.
    """
    database = catalog.database
    try:
        if database.path is not None and not os.path.exists(database.path):
            detail = f"{database.path} does not exist yet; it is created at first use"
            yield Finding(area="catalog", what="file", detail=detail)
            return
        if database.path is not None:
            yield from _file(database.path)
        found = database.revision()
        if found != HEAD:
            yield _other_schema(database.name, found)
            return
        yield _soundness(catalog)
        interrupted = catalog.journal.interrupted()
        uploads.update(_abandoned(catalog, interrupted))
    except CatalogError as error:
        yield problem("catalog", "soundness", error)
        return
    yield _operations(interrupted)
    yield _work(catalog)
    yield from _elsewhere(catalog)
    yield _notifications(catalog)
    yield _copies(catalog)
    yield from _thaws(catalog)


def _thaws(catalog: Catalog) -> Iterator[Finding]:
    """What was thawed, is not downloaded, and will soon be frozen again."""
    soon = datetime.now(UTC) + _EXPIRING
    ending = [each for each in catalog.thaws.to_fetch() if each.expires_at is not None and each.expires_at < soon]
    if ending:
        detail = (
            f"{len(ending)} restored archives were not downloaded, and expire within a day: {ending[0].target_path}"
        )
        yield Finding(area="catalog", what="thaws", state="warning", detail=detail, next="mgmt restore --ready")


def _file(path: str) -> Iterator[Finding]:
    own = [(path, 0o600), (f"{path}-wal", 0o600), (f"{path}-shm", 0o600), (os.path.dirname(path), 0o700)]
    yield from permissions("catalog", own)
    if not is_writable(path):
        error = CatalogError(
            f"{path} is not writable",
            next_step=f"chmod u+w {operand(path)} && chmod u+wx {operand(os.path.dirname(path) or '.')}",
        )
        yield problem("catalog", "permissions", error)


def _other_schema(name: str, found: str | None) -> Finding:
    if found is None:
        return Finding(area="catalog", what="schema", detail=f"{name} is empty; its schema is created at first use")
    kind, fix = ("older", "mgmt db upgrade") if found < HEAD else ("newer", "use a newer mgmt")
    detail = f"{name} has the {kind} schema {found}; this mgmt requires {HEAD}"
    return problem("catalog", "schema", CatalogError(detail, next_step=fix))


def _soundness(catalog: Catalog) -> Finding:
    from mgmt.catalog.schema import soundness

    database = catalog.database
    problems = soundness.check(database)
    if not problems:
        return Finding(area="catalog", what="soundness", detail=f"{database.name} is sound, with the schema {HEAD}")
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    detail = f"{database.name}: {problems[0].message}{more}"
    return problem("catalog", "soundness", CatalogError(detail, next_step=problems[0].remedy))


def _operations(interrupted: Sequence[OperationRecord]) -> Finding:
    if not interrupted:
        return Finding(area="catalog", what="operations", detail="no interrupted operations")
    first = interrupted[0]
    detail = f"{len(interrupted)} interrupted; the first: {first.operation_type} of {first.target_path}"
    return Finding(area="catalog", what="operations", state="warning", detail=detail, next="mgmt recover")


def _work(catalog: Catalog) -> Finding:
    """Requested work that nobody has taken although it may run: perhaps no worker runs."""
    wanted = Wanted((host_queue(host()), ANY))
    since = datetime.now(UTC) - WAITING
    late = [each for each in catalog.queue.waiting(wanted) if (each.not_before or each.requested_at) < since]
    if not late:
        return Finding(area="catalog", what="work", detail="no requested operation waits for a worker")
    detail = f"{len(late)} operations could have been run for more than an hour; the first: {late[0].operation_id}"
    return Finding(area="catalog", what="work", state="warning", detail=detail, next="mgmt worker\n# or: mgmt queue")


def _elsewhere(catalog: Catalog) -> Iterator[Finding]:
    """Requested work that only other machines can run, where no worker seems to."""
    for detail, next_step in waiting_elsewhere(catalog):
        yield Finding(area="catalog", what="other hosts", state="warning", detail=detail, next=next_step)


def _notifications(catalog: Catalog) -> Finding:
    count, newest = catalog.outbox.given_up()
    if newest is None:
        return Finding(area="catalog", what="notifications", detail="none was given up")
    detail = f"{count} given up; the newest, of the rule {newest.rule}: {newest.error}"
    next_step = "mgmt notify retry\n# sends them again; mgmt notify ls lists them"
    return Finding(area="catalog", what="notifications", state="warning", detail=detail, next=next_step)


def _copies(catalog: Catalog) -> Finding:
    """Copies in completed folders that need `recover`: partly removed, or without a record."""
    left = [str(each.result_path) for each in catalog.metadata.unfinished_removals(host())]
    left = [path for path in dict.fromkeys(left) if os.path.lexists(path)]
    unrecorded = unnamed(catalog)
    if not left and not unrecorded:
        return Finding(area="catalog", what="copies", detail="all completed copies on this host are recorded")
    parts = [f"{len(left)} partly removed; the first: {left[0]}"] if left else []
    parts += [f"{len(unrecorded)} without a record; the first: {unrecorded[0]}"] if unrecorded else []
    return Finding(area="catalog", what="copies", state="warning", detail="; ".join(parts), next="mgmt recover")


def _abandoned(catalog: Catalog, interrupted: Sequence[OperationRecord]) -> dict[str, UploadRecord]:
    """Uploads that may have left parts in a store, and that no running process will resume."""
    uploads = [each for each in interrupted if isinstance(each, UploadRecord)]
    uploads += catalog.metadata.unfinished_uploads()
    found = {each.upload_id: each for each in uploads if each.upload_id is not None}
    for each in catalog.journal.running():
        if isinstance(each, UploadRecord) and each not in uploads and each.upload_id is not None:
            found.pop(each.upload_id, None)
    return found
