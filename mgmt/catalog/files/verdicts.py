"""What operations have found out about archives and copies, for a page of files at a time."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    case,
    cast,
    column,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.orm import aliased

from mgmt.catalog.db.conditions import tag_value, value_of
from mgmt.catalog.db.database import Database
from mgmt.catalog.files.known_copies import KnownCopy, in_parts
from mgmt.catalog.records.enums import LIVE_SQL, Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import OperationFile, operations

COPY, CHANGED = "copy", "changed"
"""What the metadata of an operation that found a completed copy changed says."""

FAULT = "fault "
"""What the metadata of an operation that found an archive at fault says begins so, before the id of the archive."""

_CLAIM = "content "

_PROVES_COPIES = ("free", "upload")
"""Operations that have proven the copy in completed/ if they succeed."""

_JUDGES = ("verify", "undelete", "download", "free", "delete")
_UPLOADS = table("uploads", column("operation_id"), column("skipped_count"))  # without mapping what `ls` does not need


_PROBLEM = tag_value(operations.c.metadata, "problem")


class Verdict(NamedTuple):
    """The last operation that found an archive sound, or found a fault."""

    problem: str | None
    """None if it was sound; else what `mgmt verify` calls the fault."""
    message: str | None
    at: datetime
    restored: bool
    """It was brought back by `mgmt undelete` since, and not verified."""
    seq: int = 0
    """The place of the operation in the history."""
    is_verified: bool = True
    """It was a verification, rather than something else that met the fault."""


def shared(archives: Iterable[FileRecord | KnownCopy], verdicts: Mapping[int, Verdict]) -> dict[int, Verdict]:
    """`verdicts` by the ids of all these archives: the last on one object counts for all records of it.

    The same object may be recorded twice, under two URLs of its store.
    """
    last: dict[str | int, Verdict] = {}
    objects = {each.id: each.archive_id or each.id for each in archives}
    for archive, of_it in objects.items():
        if archive in verdicts:
            last[of_it] = max(verdicts[archive], last.get(of_it, verdicts[archive]), key=lambda each: each.seq)
    return {archive: last[of_it] for archive, of_it in objects.items() if of_it in last}


class Verdicts:
    """What became of archives and copies, by the operations that touched them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, archives: Collection[int]) -> dict[int, Verdict]:
        """The last verdict on each of these archives, in the order of operations rather than of clocks."""
        of, ended = operations.c, operations.c.completed_at
        problem = _PROBLEM.label("problem")
        met = value_of(of.metadata, literal(FAULT).concat(cast(OperationFile.file_id, Text))).label("met")
        is_back = case((of.operation_type == "undelete", 1), else_=0).label("is_back")
        kind = (OperationFile.file_id, is_back)
        facts = (
            select(OperationFile.file_id, is_back, of.operation_type, of.seq, of.status, problem, of.error_message, met)
            .add_columns(func.coalesce(ended, of.started_at, type_=of.started_at.type).label("at"))
            .add_columns(func.row_number().over(partition_by=kind, order_by=of.seq.desc()).label("number"))
            .join(operations, of.operation_id == OperationFile.operation_id)
            .where(OperationFile.role == Role.ARCHIVE, _plain(of.operation_type).in_(_JUDGES))
            .where(
                or_(
                    met.is_not(None),
                    of.operation_type.in_(_JUDGES[:2]) & (_plain(of.status) == Status.SUCCESS),
                    (of.operation_type == "verify") & problem.is_not(None),
                )
            )
        )
        last: dict[tuple[int, bool], Row[Any]] = {}
        with self._database.reading() as session:
            for some in in_parts(sorted(archives)):
                numbered = facts.where(OperationFile.file_id.in_(some)).subquery()
                for row in session.execute(select(numbered).where(numbered.c.number == 1)):
                    last[row.file_id, bool(row.is_back)] = row
        found: dict[int, Verdict] = {}
        for (archive, is_undelete), row in last.items():
            if not is_undelete:
                back = last.get((archive, True))
                is_restored, is_verified = back is not None and back.seq > row.seq, row.met is None
                is_sound = is_verified and row.status == Status.SUCCESS
                fault = None if is_sound else str(row.problem or "damaged")
                message = row.error_message if is_verified else row.met
                found[archive] = Verdict(fault, message, row.at, is_restored, row.seq, is_verified)
        return found

    def freed(self, copies: Collection[int]) -> set[int]:
        """Those of these copies that `mgmt free` has removed."""
        query = select(OperationFile.file_id).join(operations, operations.c.operation_id == OperationFile.operation_id)
        query = query.where(
            _plain(operations.c.operation_type) == "free", _plain(operations.c.status) == Status.SUCCESS
        )
        query = query.where(OperationFile.role == Role.COMPLETED)
        found: set[int] = set()
        with self._database.reading() as session:
            for some in in_parts(sorted(copies)):
                found.update(session.scalars(query.where(OperationFile.file_id.in_(some))))
        return found

    def changed(self, copies: Collection[int]) -> dict[int, datetime]:
        """Those of these copies that a comparison has found changed, and when; no later operation has proven them."""
        of = operations.c
        found_so = (tag_value(of.metadata, COPY) == CHANGED).label("changed")
        facts = (
            select(OperationFile.file_id, func.coalesce(found_so, false()).label("changed"))
            .add_columns(func.coalesce(of.completed_at, of.started_at, type_=of.started_at.type).label("at"))
            .add_columns(
                func.row_number().over(partition_by=OperationFile.file_id, order_by=of.seq.desc()).label("number")
            )
            .join(operations, of.operation_id == OperationFile.operation_id)
            .where(OperationFile.role == Role.COMPLETED)
            .where(
                or_(found_so, _plain(of.operation_type).in_(("free", "upload")) & (_plain(of.status) == Status.SUCCESS))
            )
        )
        found: dict[int, datetime] = {}
        with self._database.reading() as session:
            for some in in_parts(sorted(copies)):
                numbered = facts.where(OperationFile.file_id.in_(some)).subquery()
                for row in session.execute(select(numbered).where(numbered.c.number == 1)):
                    if row.changed:
                        found[row.file_id] = row.at
        return found

    def left_out(self, originals: Collection[int]) -> dict[int, int]:
        """Those of these originals of which their upload has left something out, and of how much."""
        query = select(FileRecord.id, _UPLOADS.c.skipped_count).where(_UPLOADS.c.skipped_count > 0)
        query = query.join(_UPLOADS, _UPLOADS.c.operation_id == FileRecord.operation_id)
        found: dict[int, int] = {}
        with self._database.reading() as session:
            for some in in_parts(sorted(originals)):
                for file, count in session.execute(query.where(FileRecord.id.in_(some))):
                    found[file] = count
        return found

    def claimed(self, digests: Collection[str]) -> set[str]:
        """Those of these contents that an operation has claimed, which excludes any removal of a copy."""
        found: set[str] = set()
        with self._database.reading() as session:
            for some in in_parts(sorted(digests)):
                claims = [_CLAIM + each for each in some]
                # As the index says it: SQLite does not look into bound values.
                query = select(operations.c.claim).where(operations.c.claim.in_(claims), text(f"status IN {LIVE_SQL}"))
                found.update(str(claim).removeprefix(_CLAIM) for claim in session.scalars(query))
        return found


def faulty() -> Select[int]:
    """The numbers of the archives whose last verdict is a fault."""
    return select(faults().subquery().c.file_id)


def faults() -> Select[int, int]:
    """The archives whose last verdict is a fault, each with the number (`seq`) of the operation that found it.

    They are few, and found by the few operations that failed.
    """
    of, link, later = operations.c, aliased(OperationFile), operations.alias().c
    others = [each for each in Status if each is not Status.SUCCESS]
    fault = select(OperationFile.file_id, func.max(of.seq).label("seq"))
    fault = fault.join(operations, of.operation_id == OperationFile.operation_id)
    met = value_of(of.metadata, literal(FAULT).concat(cast(OperationFile.file_id, Text))).is_not(None)
    failed = of.status.in_(others) & or_(met, (_plain(of.operation_type) == "verify") & _PROBLEM.is_not(None))
    besides = of.operation_type.in_(("free", "delete")) & met  # which may succeed by another archive
    fault = fault.where(OperationFile.role == Role.ARCHIVE, or_(failed, besides))
    last = fault.group_by(OperationFile.file_id).subquery()
    sound = exists().where(link.file_id == last.c.file_id, link.role == Role.ARCHIVE)
    sound = sound.where(later.operation_id == link.operation_id, _plain(later.operation_type) == "verify")
    sound = sound.where(_plain(later.status) == Status.SUCCESS, func.coalesce(later.seq, 0) > last.c.seq)
    return select(last.c.file_id, last.c.seq).where(~sound)


def changed_copies() -> Select[int]:
    """The numbers of the copies that a comparison has found changed, and that no later operation has proven."""
    of, link, later = operations.c, aliased(OperationFile), operations.alias().c
    found = select(OperationFile.file_id, func.max(of.seq).label("seq"))
    found = found.join(operations, of.operation_id == OperationFile.operation_id)
    found = found.where(OperationFile.role == Role.COMPLETED, of.operation_type.in_(("free", "delete")))
    last = found.where(tag_value(of.metadata, COPY) == CHANGED).group_by(OperationFile.file_id).subquery()
    proven = exists().where(link.file_id == last.c.file_id, link.role == Role.COMPLETED)
    proven = proven.where(later.operation_id == link.operation_id, _plain(later.operation_type).in_(_PROVES_COPIES))
    proven = proven.where(_plain(later.status) == Status.SUCCESS, func.coalesce(later.seq, 0) > last.c.seq)
    return select(last.c.file_id).where(~proven)


def _plain(column: Any) -> ColumnElement[str]:
    """`column` as no index has it: SQLite would read all operations of a type or status before those of few files."""
    return func.coalesce(column, "", type_=column.type)
