"""The public API of the catalog (docs/python.md): save, get, list and search records of files and operations."""

import os
from datetime import datetime
from pathlib import Path
from typing import Self, Unpack

from sqlalchemy import Select, and_, case, or_, select
from sqlalchemy.orm import Session

from mgmt.catalog.db.conditions import among_found, named
from mgmt.catalog.db.database import Database
from mgmt.catalog.files.arguments import require, require_known, require_limit, require_text
from mgmt.catalog.files.file_lists import FileLists
from mgmt.catalog.files.lookups import Lookups, is_target
from mgmt.catalog.files.operation_filters import OperationNarrowing, narrow_operations, operations_between
from mgmt.catalog.records.enums import FileStatus, Location, Place, Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operation_types import AnyOperation
from mgmt.catalog.records.operations import OperationFile, OperationRecord, operations
from mgmt.catalog.records.process import this_host
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.config import default_path, load
from mgmt.errors import CatalogError, ConfigurationError, NotFoundError

_STORED_FIRST = (case((FileRecord.status == FileStatus.DELETED, 1), else_=0), FileRecord.id.desc())


class MetadataManager(Lookups, FileLists):
    """Saves and finds records. Lists are paged by key: `after` is the id of the last record of the page before.

    Records that come out are live: changes to them are committed with the next transaction. All methods raise
    CatalogError when the catalog cannot be used.
    """

    def __init__(self, database: Database | str | None = None) -> None:
        """The catalog in `database`, or at this URL; without either the configured one. It is opened at first use."""
        self._opened = None
        if not isinstance(database, Database):
            from mgmt.catalog import open_catalog  # it imports this module

            self._opened = open_catalog(_configured() if database is None else database)
            database = self._opened.database
        super().__init__(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection. A catalog that this object has opened seals what has finished first."""
        (self._opened or self._database).close()

    # Operations

    def save_operation(self, record: OperationRecord) -> None:
        """Insert `record`, or commit what has changed in it. A finished operation cannot be overwritten."""
        require("record", record, OperationRecord, "an operation")
        with self._database.transaction() as session:
            if record not in session:
                saved = select(OperationRecord.status).where(OperationRecord.operation_id == record.operation_id)
                if session.scalar(saved) is not None:
                    raise CatalogError(f"{record.operation_type} {record.operation_id} is recorded already")
            session.add(record)

    def get_operation(self, operation_id: str) -> OperationRecord | None:
        """The operation with this id; None when there is none."""
        require_text(operation_id=operation_id)
        with self._database.reading() as session:
            return session.get(AnyOperation, operation_id)

    def require_operation(self, operation_id: str) -> OperationRecord:
        """The operation with this id. Raises NotFoundError when there is none."""
        operation = self.get_operation(operation_id)
        if operation is None:
            raise NotFoundError(f"there is no operation {operation_id}", next_step="mgmt log")
        return operation

    def list_operations(
        self,
        operation_type: str | None = None,
        status: Status | str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        limit: int | None = 50,
        **narrowing: Unpack[OperationNarrowing],
    ) -> list[OperationRecord]:
        """Operations, the newest first. `start_date` is included, `end_date` is not.

        Further keywords narrow them: `user`, `host` and `parent` (the id of a batch) are exact; `target` is a path or a
        part of one; `after` is the id of the last operation of the page before.
        """
        require_known(narrowing, OperationNarrowing.__annotations__)
        require_text(**narrowing)
        require_limit(limit)
        query = select(AnyOperation).order_by(OperationRecord.seq.desc()).limit(limit)
        query = query.where(*operations_between(operation_type, status, start_date, end_date))
        after = narrowing.pop("after", None)
        query = query.where(*narrow_operations(narrowing))
        if after is not None:
            query = query.where(OperationRecord.seq < self.require_operation(after).seq)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def hosts(self) -> list[str]:
        """Every host with recorded operations, by name."""
        query = select(operations.c.host).where(operations.c.host.is_not(None)).distinct()
        with self._database.reading() as session:
            return sorted(session.scalars(query))

    def reload(self, record: OperationRecord) -> None:
        """Read `record` again, as other processes have left it; changes that are not committed are lost."""
        with self._database.reading() as session:
            session.refresh(record)

    def get_upload_history(self, target_path: str, host: str | None = None) -> list[UploadRecord]:
        """Every upload of the original at `target_path`, on `host` or on any host, the newest first."""
        require("target_path", target_path, str, "text")
        require_text(host=host)
        query = select(UploadRecord).where(is_target(target_path)).order_by(UploadRecord.seq.desc())
        if host is not None:
            query = query.where(UploadRecord.host == host)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def operations_of(self, file: FileRecord) -> list[OperationRecord]:
        """Every operation that touched `file`, the newest first."""
        touched = select(OperationFile.operation_id).where(OperationFile.file_id == file.id)
        query = select(AnyOperation).where(among_found(OperationRecord.operation_id, touched))
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(OperationRecord.seq.desc())))

    # Files

    def save_file_record(self, record: FileRecord) -> FileRecord:
        """Insert `record`, or update the one of the same file with its fields. Returns the one that is kept.

        An archive is never written over another one: what stood at its key is recorded as deleted then.
        """
        _require_place(record)
        with self._database.transaction() as session:
            if record not in session:
                self._database.advisory_lock("/".join(record.place))
                kept = _same(session, record)
                if kept is not None:
                    for attribute in FileRecord.__mapper__.column_attrs:
                        if attribute.key not in ("id", "recorded_at"):
                            setattr(kept, attribute.key, getattr(record, attribute.key))
                    record = kept
            session.add(record)
            session.flush()
            return record

    def get_file_record(self, file: int | str | Place) -> FileRecord | None:
        """The file with this id, at this path or key, or at this place; None when there is none.

        A path is one on this host. Of several files of one path or key, the newest that is not deleted.
        """
        require("file", file, int | str | Place, "an id, a path, a key or a Place")
        with self._database.reading() as session:
            if isinstance(file, int):
                return session.get(FileRecord, file) if 0 < file < 2**63 else None
            return _at_path(session, file) if isinstance(file, str) else _at(session, file)

    def require_file_record(self, file: int | str | Place) -> FileRecord:
        """The same. Raises NotFoundError when there is none."""
        found = self.get_file_record(file)
        if found is None:
            what = f"{file.path} ({file.location}, {file.where})" if isinstance(file, Place) else file
            raise NotFoundError(f"there is no record of file {what}", next_step="mgmt ls")
        return found

    def files_of(self, operation: OperationRecord, role: Role | None = None) -> list[tuple[FileRecord, Role]]:
        """The files that `operation` touched, each with its role."""
        query = select(FileRecord, OperationFile.role).join(OperationFile, OperationFile.file_id == FileRecord.id)
        query = query.where(OperationFile.operation_id == operation.operation_id).order_by(FileRecord.id)
        if role is not None:
            query = query.where(OperationFile.role == role)
        with self._database.reading() as session:
            return [(file, role) for file, role in session.execute(query)]


def _require_place(record: FileRecord) -> None:
    """Raise ConfigurationError unless `record` says where its file is."""
    require("record", record, FileRecord, "a file")
    stored = record.location is Location.S3
    if (record.store is not None) is not stored or (record.host is None) is not stored:
        needs = 'store="s3://...", and no host' if stored else f'host="{this_host()}" or another, and no store'
        raise ConfigurationError(f"{record.path}: a file in the location {record.location} needs {needs}")


def _configured() -> str:
    """The URL of the catalog that the configuration names, as the command line reads it."""
    named = os.environ.get("MGMT_CONFIG")
    path = Path(named).expanduser() if named else default_path()
    return load({}, path, required=bool(named)).catalog_url()


def _at(session: Session, place: Place) -> FileRecord | None:
    """The file at `place`; of deleted archives that had it, the last one."""
    return session.scalars(_all_at(place).order_by(*_STORED_FIRST).limit(1)).first()


def _at_path(session: Session, path: str) -> FileRecord | None:
    """The file of this host at `path`, or the archive with this key."""
    is_one = or_(*(named(FileRecord.path, FileRecord.path_bytes, each) for each in {path, os.path.abspath(path)}))
    is_near = or_(FileRecord.host == this_host(), FileRecord.host.is_(None))
    return session.scalars(select(FileRecord).where(is_one, is_near).order_by(*_STORED_FIRST).limit(1)).first()


def _same(session: Session, record: FileRecord) -> FileRecord | None:
    """The record of the same file. The record of another archive that had the same key becomes `deleted`.

    Archives are the same by their ids; an id that nobody knows may be any, unless the contents differ.
    """
    if record.location is not Location.S3:
        return _at(session, record.place)
    for known in session.scalars(_all_at(record.place).order_by(FileRecord.id.desc())).all():
        if None not in (known.archive_id, record.archive_id):
            if known.archive_id == record.archive_id:
                return known
        elif known.status is not FileStatus.DELETED and (
            known.digest == record.digest or None in (known.digest, record.digest)
        ):
            return known
        known.status = FileStatus.DELETED
        session.flush()
    return None


def _all_at(place: Place) -> Select[FileRecord]:
    where = FileRecord.store if place.location is Location.S3 else FileRecord.host
    return select(FileRecord).where(
        and_(FileRecord.location == place.location, where == place.where),
        named(FileRecord.path, FileRecord.path_bytes, place.path),
    )
