"""The rows of an import: inserted in bulk, or compared with those that the catalog has, and updated on request."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Column, Connection, Integer, LargeBinary, Table, bindparam, text
from sqlalchemy.exc import IntegrityError as ConstraintViolation

from mgmt.catalog.audit.canonical import Facts, bytes_of, columns_of, sub_tables
from mgmt.catalog.audit.export import FINISHED, UNEXPORTED, exported_row, exported_tables
from mgmt.catalog.audit.triggers import CHAINED, UNKNOWN
from mgmt.catalog.db.bulk import insert
from mgmt.catalog.records.enums import LIVE, LIVE_SQL, Status
from mgmt.catalog.records.jobs import LEFT_TO_DO
from mgmt.catalog.records.operations import MOST_SEQ
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.catalog.records.types import UTCDateTime
from mgmt.errors import ConfigurationError, ConflictError, IntegrityError, MgmtError

ROWS = 2_000
"""Rows that are inserted together."""
_CREATE_FINISHED = (
    "CREATE TEMPORARY TABLE finished (operation_id TEXT{collation} PRIMARY KEY, sha256 {bytes} NOT NULL, seal BIGINT)"
)
_WHOLE = (int, type(None))
"""The types of a number in an export; SQLite, from which it may be, stores any text in any column."""
_STORE_STATE = frozenset({"upload_id", "index_key"})
"""Columns of an upload that name what it may remove from its store while it is running."""
_OTHERWISE = text(
    "SELECT f.operation_id FROM finished f JOIN operations o ON o.operation_id = f.operation_id "
    "WHERE o.sha256 <> f.sha256 OR o.seal IS NOT NULL AND o.seal <> coalesce(f.seal, -1) ORDER BY o.seq LIMIT 1"
)
_NEWEST = text(f"SELECT max(seq) FROM operations WHERE seq < {MOST_SEQ}")  # noqa: S608 - a constant
_SEALED_SINCE = text(
    "SELECT count(*) FROM operations o JOIN finished f ON f.operation_id = o.operation_id "
    "WHERE o.sha256 IS NOT NULL AND o.seal IS NULL AND f.seal IS NOT NULL"
)
_FINISH = text(
    "UPDATE operations AS o SET sha256 = coalesce(o.sha256, f.sha256), seal = f.seal FROM finished f "
    "WHERE o.operation_id = f.operation_id AND (o.sha256 IS NULL OR o.seal IS NULL AND f.seal IS NOT NULL)"
)
_IDENTITY = {
    "files": ("location", "host", "store", "path", "path_bytes"),
    "members": ("archive_id",),
    "member_ranges": (),
}
"""The tables that an update may change, and the columns in which a row must be the same."""
_ARRIVES = {"jobs": {"held": True}, "schedules": {"paused": True}}
"""What is so until somebody releases it: the other catalog may still run the same work."""
_REMOVE_ENDED = tuple(
    f"DELETE FROM {table} WHERE operation_id IN (SELECT operation_id FROM operations WHERE status NOT IN {LIVE_SQL})"  # noqa: S608
    for table in ("job_dependencies", "jobs")
)
"""Work that has ended is not left to do."""
_FORGET = text(
    "DELETE FROM members WHERE archive_id = :archive_id AND id NOT BETWEEN :first_id AND :last_id "
    "AND id BETWEEN :old_first AND :old_last"
)
_UNINDEX = (
    "INSERT INTO member_names (member_names) VALUES ('delete-all')",
    "UPDATE member_names_mark SET indexed_to = 0",
)
"""Names that have changed are indexed again by `Members.index_names`, and found by a scan until then."""


class ImportedRows:
    """Adds rows to the catalog, in the caller's transaction on `connection`."""

    def __init__(self, connection: Connection, *, update: bool) -> None:
        self.new = self.updated = self.ended = 0
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._update = update
        self._tables = {table.name: table for table in exported_tables(members=True)}
        self._empty = {name for name, table in self._tables.items() if _is_empty(connection, table)}
        self._live: set[str] = set()
        """The ids of operations that have not finished."""
        self._newest = connection.scalar(_NEWEST) or 0
        self._newest_imported = 0
        self._ended_since: set[str] = set()
        """The ids of operations that were pending here, and have ended in the other catalog."""
        self._ended_here: set[str] = set()
        """The ids of operations that are pending there, and have ended in this catalog."""
        self._parts = {"operation_files", *(table.name for table in sub_tables())}
        """The tables whose rows are parts of operations."""
        self._new_jobs: set[str] = set()
        self._recorded_anew: set[int] = set()
        """The ids of archives whose members have changed."""
        # The collation of the other columns: with another one the planner compares each row with each.
        blob, collation, end = ("BLOB", "", "") if self._is_sqlite else ("bytea", ' COLLATE "C"', " ON COMMIT DROP")
        connection.exec_driver_sql(_CREATE_FINISHED.format(bytes=blob, collation=collation) + end)

    def add(self, name: str, rows: Iterable[Facts]) -> None:
        """Add `rows` of the table `name`, or the hashes of finished operations. Raises ConflictError if one differs."""
        if name == "directory_archives":
            self._forget_directories()
        remaining = iter(rows)
        while batch := list(islice(remaining, ROWS)):
            if name == FINISHED:
                values = [(row["operation_id"], bytes.fromhex(row["sha256"]), row["seal"]) for row in batch]
                insert(self._connection, FINISHED, ("operation_id", "sha256", "seal"), values)
            else:
                self._add(self._table(name, batch), batch)

    def finish(self) -> None:
        """Set the hashes and seals of operations, after which they cannot change.

        Raises ConflictError if records were updated from an export that is older than the catalog.
        """
        connection = self._connection
        if self.updated and self._newest_imported < self._newest:
            raise ConflictError(
                "the export is older than the catalog, and records would go back: nothing was imported",
                next_step="mgmt db export FILE\n# in the other catalog; then import that",
            )
        if not self._is_sqlite:
            # Autovacuum sees nothing of this transaction, and without statistics the planner joins row by row.
            connection.exec_driver_sql(
                f"ANALYZE finished, {', '.join(each.name for each in exported_tables(members=False))}"
            )
        if (other := connection.scalar(_OTHERWISE)) is not None:
            raise _differs("operations", [other])
        self.new += connection.scalar(_SEALED_SINCE) or 0
        connection.execute(_FINISH)
        connection.exec_driver_sql("DROP TABLE finished")
        for statement in _REMOVE_ENDED:
            connection.exec_driver_sql(statement)
        for statement in _UNINDEX if self._is_sqlite and self._recorded_anew else ():
            connection.exec_driver_sql(statement)

    def _table(self, name: str, rows: Sequence[Facts]) -> Table:
        table = self._tables.get(name)
        if table is None or not all(isinstance(row, dict) and row.keys() <= set(table.c.keys()) for row in rows):
            raise ConfigurationError(
                f"the export is from a newer mgmt: unknown table or column in {name}", next_step="use a newer mgmt"
            )
        numbers = [column.name for column in table.columns if isinstance(column.type, Integer)]
        for row in rows:
            if wrong := [each for each in numbers if type(row.get(each)) not in _WHOLE]:
                raise IntegrityError(
                    f"the export has {row[wrong[0]]!r} for {name}.{wrong[0]}, a number: nothing was imported",
                    next_step="mgmt db check\n# in the other catalog",
                )
        return table

    def _add(self, table: Table, rows: Sequence[Facts]) -> None:
        known = {} if table.name in self._empty else _known(self._connection, table, rows)
        keys = [column.name for column in table.primary_key]
        arrives = _ARRIVES.get(table.name, {})
        left_out = UNEXPORTED.get(table.name, frozenset()) - arrives.keys()
        columns = [column for column in table.columns if column.name not in left_out]
        if table.name in LEFT_TO_DO:
            rows = self._still_to_do(table, rows, known)
        new: list[list[Any]] = []
        changed: list[tuple[Facts, Facts]] = []
        for row in rows:
            existing = known.get(tuple(row.get(key) for key in keys))
            imported = {**self._without_store_state(table.name, row), **arrives}
            if self._is_settled(table, existing, row):
                continue
            if existing is None:
                new.append([_value(each, imported.get(each.name), is_sqlite=self._is_sqlite) for each in columns])
            elif existing not in (row, imported):
                if not (self._update and _may_replace(table.name, existing, row)):
                    raise _differs(table.name, [row.get(key) for key in keys])
                changed.append((existing, row))
        try:
            self._replace(table, changed)
            if new:
                insert(self._connection, table.name, [column.name for column in columns], new)
        except ConstraintViolation as error:
            raise _refused(table.name, str(error.orig)) from error
        self.new += len(new)

    def _is_settled(self, table: Table, existing: Facts | None, row: Facts) -> bool:
        """Whether nothing is left to do for a row of an operation that was pending in one catalog: its end counts.

        What has ended here stays. What has ended there ends here. While it is pending in both, it stays as it is here:
        what it waits for may have been tried again since.
        """
        operation_id = row.get("operation_id")
        if table.name == "operations" and existing is not None:
            here, there = existing.get("status"), row.get("status")
            if here == there == Status.PENDING:
                return {**existing, "command_args": row.get("command_args")} == row
            if there == Status.PENDING and here not in LIVE:
                self._ended_here.add(str(operation_id))
                return True
            if here == Status.PENDING and there not in LIVE:
                self._end(table, row)
                self._ended_since.add(str(operation_id))
                return True
        if table.name not in self._parts:
            return False
        if operation_id in self._ended_since and existing not in (None, row):
            self._end(table, row)
            return True
        return operation_id in self._ended_here

    def _end(self, table: Table, row: Facts) -> None:
        """Replace the row of an operation that was pending. Raises ConflictError if it has just begun."""
        left_out = {*UNEXPORTED.get(table.name, ()), *(column.name for column in table.primary_key)}
        columns = [column for column in table.columns if column.name not in left_out]
        change = table.update().where(table.c.operation_id == row["operation_id"])
        if table.name == "operations":
            change = change.where(table.c.status == Status.PENDING)
        values = {column.name: _value(column, row.get(column.name), is_sqlite=None) for column in columns}
        if self._connection.execute(change, values).rowcount != 1:
            raise _differs(table.name, [row["operation_id"]])
        self.ended += table.name == "operations"

    def _still_to_do(self, table: Table, rows: Sequence[Facts], known: Collection[tuple[object, ...]]) -> list[Facts]:
        """The rows of jobs and schedules that are new: what is left to do here may have advanced since."""
        if table.name == "job_dependencies":
            return [row for row in rows if row.get("operation_id") in self._new_jobs]
        keys = [column.name for column in table.primary_key]
        new = [row for row in rows if tuple(row.get(key) for key in keys) not in known]
        new = [row for row in new if row.get("operation_id") not in self._ended_here]
        if table.name == "jobs":
            self._new_jobs |= {row["operation_id"] for row in new}
        return new

    def _replace(self, table: Table, changed: Sequence[tuple[Facts, Facts]]) -> None:
        if not changed:
            return
        keys = list(table.primary_key)
        statement = table.update().where(*(column == bindparam(f"old_{column.name}") for column in keys))
        values = [
            {column.name: _value(column, row.get(column.name), is_sqlite=None) for column in table.columns}
            | {f"old_{column.name}": row[column.name] for column in keys}
            for _, row in changed
        ]
        self._connection.execute(statement, values)
        self.updated += len(changed)
        if table.name != "files":
            self._recorded_anew |= {row["archive_id"] for _, row in changed}
        if table.name == "member_ranges":
            for old, row in changed:
                self._connection.execute(_FORGET, {**row, "old_first": old["first_id"], "old_last": old["last_id"]})

    def _forget_directories(self) -> None:
        """Remove what links archives that were recorded anew to directories; the export has what links them now."""
        forget = text("DELETE FROM directory_archives WHERE archive_id = :archive_id")
        for archive_id in self._recorded_anew:
            self._connection.execute(forget, {"archive_id": archive_id})

    def _without_store_state(self, name: str, row: Facts) -> Facts:
        """The row to import: of an upload that has not finished, without what it may remove from its store."""
        if name == "operations":
            self._newest_imported = max(self._newest_imported, row.get("seq") or 0)
            if row.get("status") in LIVE:
                self._live.add(row["operation_id"])
        if name != UploadRecord.__tablename__ or row["operation_id"] not in self._live:
            return row
        return {column: value for column, value in row.items() if column not in _STORE_STATE}


def _may_replace(name: str, existing: Facts, row: Facts) -> bool:
    """Whether both are records of the same thing, so that the newer one may replace the other."""
    if name not in _IDENTITY or any(existing.get(column) != row.get(column) for column in _IDENTITY[name]):
        return False
    return existing.get("archive_id") in (None, row.get("archive_id"))


def _refused(name: str, reason: str) -> MgmtError:
    """The error that says why the database refused a row: a trigger, or a key that is taken."""
    if CHAINED in reason:
        return IntegrityError(
            "the history does not match its seals", next_step="run `mgmt audit verify` on both catalogs"
        )
    if UNKNOWN in reason:
        return ConfigurationError(
            "the export contains an operation of an unknown type", next_step="mgmt db check\n# in the other catalog"
        )
    return ConflictError(
        f"the catalog already contains other {name} with the same keys: it has another history",
        next_step="import it into an empty catalog: mgmt --catalog URL db import FILE",
    )


def _known(connection: Connection, table: Table, rows: Sequence[Facts]) -> dict[tuple[object, ...], Facts]:
    """The rows that exist in the catalog, by key."""
    keys = [column.name for column in table.primary_key]
    query = text(f"SELECT {columns_of(table, 't')} FROM {table.name} t WHERE t.{keys[0]} IN :keys")  # noqa: S608
    query = query.bindparams(bindparam("keys", expanding=True))
    found: dict[tuple[object, ...], Facts] = {}
    for each in connection.execute(query, {"keys": list({row.get(keys[0]) for row in rows})}):
        facts = exported_row(table, each)
        found[tuple(facts.get(key) for key in keys)] = facts
    return found


def _value(column: Column[Any], plain: Any, *, is_sqlite: bool | None) -> Any:
    """The value to store for the JSON value `plain`; with `is_sqlite` None, for SQLAlchemy to convert."""
    if isinstance(column.type, UTCDateTime) and plain is not None:
        moment = datetime.fromisoformat(plain).astimezone(UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if is_sqlite else moment
    if isinstance(column.type, JSON) and plain is not None and is_sqlite is not None:
        return json.dumps(plain)
    return bytes_of(plain) if isinstance(column.type, LargeBinary) else plain


def _is_empty(connection: Connection, table: Table) -> bool:
    return connection.execute(text(f"SELECT 1 FROM {table.name} LIMIT 1")).first() is None  # noqa: S608


def _differs(name: str, key: Sequence[object]) -> ConflictError:
    return ConflictError(
        f"{name} {'/'.join(map(str, key))} differs from the catalog: nothing was imported",
        next_step="export again while nothing is running, or compare both catalogs with `mgmt audit verify`",
    )
