"""The public API of the catalog (docs/python.md): save, get, list and search records of files and operations."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, Unpack

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, tuple_
from sqlalchemy.orm import Session

from mgmt.catalog.audit.chain import Audit
from mgmt.catalog.db.conditions import containing, named, starting
from mgmt.catalog.db.database import Database
from mgmt.catalog.files.filters import WHEN, FileFilter, Narrowing
from mgmt.catalog.records.enums import LIVE, FileStatus, Location, Place, Role, Status, one_of
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.maintenance import FreeRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord, operations
from mgmt.catalog.records.process import this_host
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.config import default_path, load
from mgmt.errors import CatalogError, ConfigurationError, NotFoundError

SORTS: Mapping[str, ColumnElement[Any]] = {
    "path": FileRecord.path.expression,
    "name": FileRecord.name.expression,
    "size": func.coalesce(FileRecord.size, -1),
    "modified": WHEN,
    "recorded": FileRecord.id.expression,
}
"""Sort orders of files."""

_STORED_FIRST = (case((FileRecord.status == FileStatus.DELETED, 1), else_=0), FileRecord.id.desc())


class MetadataManager:
    """Saves and finds records. Lists are paged by key: `after` is the id of the last record of the page before.

    Records that come out are live: changes to them are committed with the next transaction. All methods raise
    CatalogError when the catalog cannot be used.
    """

    def __init__(self, database: Database | str | None = None) -> None:
        """The catalog in `database`, or at this URL; without either the configured one. It is opened at first use."""
        if not isinstance(database, Database):
            database = Database(database or _configured())
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Seal what has finished, if anything has finished here, and close every connection."""
        try:
            if self._database.has_ended:
                Audit(self._database).seal_at_the_end()
        finally:
            self._database.close()

    # Operations

    def save_operation(self, record: OperationRecord) -> None:
        """Insert `record`, or commit what has changed in it. A finished operation cannot be overwritten."""
        with self._database.transaction() as session:
            if record not in session:
                saved = select(OperationRecord.status).where(OperationRecord.operation_id == record.operation_id)
                if session.scalar(saved) is not None:
                    raise CatalogError(f"{record.operation_type} {record.operation_id} is recorded already")
            session.add(record)

    def get_operation(self, operation_id: str) -> OperationRecord | None:
        """The operation with this id; None when there is none."""
        with self._database.reading() as session:
            return session.get(OperationRecord, operation_id)

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
        after: str | None = None,
        *,
        user: str | None = None,
        host: str | None = None,
        target: str | None = None,
        parent: str | None = None,
    ) -> list[OperationRecord]:
        """The newest first. `start_date` is included, `end_date` is not; `target` is a path or a part of one."""
        query = select(OperationRecord).order_by(OperationRecord.seq.desc()).limit(limit)
        if operation_type is not None:
            query = query.where(OperationRecord.operation_type == operation_type)
        if status is not None:
            query = query.where(OperationRecord.status == one_of(Status, status))
        if start_date is not None:
            query = query.where(OperationRecord.started_at >= start_date)
        if end_date is not None:
            query = query.where(OperationRecord.started_at < end_date)
        if user is not None:
            query = query.where(OperationRecord.user == user)
        if host is not None:
            query = query.where(OperationRecord.host == host)
        if target is not None:
            query = query.where(containing(OperationRecord.target_path, target))
        if parent is not None:
            query = query.where(OperationRecord.parent_id == parent)
        if after is not None:
            query = query.where(OperationRecord.seq < self.require_operation(after).seq)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def hosts(self) -> list[str]:
        """Every host with recorded operations, by name."""
        query = select(operations.c.host).where(operations.c.host.is_not(None)).distinct()
        with self._database.reading() as session:
            return sorted(session.scalars(query))

    def get_upload_history(self, target_path: str, host: str | None = None) -> list[UploadRecord]:
        """Every upload of the original at `target_path`, on `host` or on any host, the newest first."""
        query = select(UploadRecord).where(_targets(target_path)).order_by(UploadRecord.seq.desc())
        if host is not None:
            query = query.where(UploadRecord.host == host)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def unfinished_uploads(self) -> list[UploadRecord]:
        """Uploads that failed or were cancelled, and may have left something in their store; the oldest first."""
        ended = OperationRecord.status.in_([Status.FAILED, Status.CANCELLED])
        query = select(UploadRecord).where(ended, UploadRecord.index_key.is_not(None)).order_by(UploadRecord.seq)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def operations_of(self, file: FileRecord) -> list[OperationRecord]:
        """Every operation that touched `file`, the newest first."""
        touched = select(OperationFile.operation_id).where(OperationFile.file_id == file.id)
        query = select(OperationRecord).where(OperationRecord.operation_id.in_(touched))
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(OperationRecord.seq.desc())))

    # Files

    def save_file_record(self, record: FileRecord) -> FileRecord:
        """Insert `record`, or update the one of the same file with its fields. Returns the one that is kept.

        An archive is never written over another one: what stood at its key is recorded as deleted then.
        """
        with self._database.transaction() as session:
            if record not in session:
                self._database.take_turns("/".join(record.place))
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
        with self._database.reading() as session:
            if isinstance(file, int):
                return session.get(FileRecord, file)
            return _at_path(session, file) if isinstance(file, str) else _at(session, file)

    def require_file_record(self, file: int | str | Place) -> FileRecord:
        """The same. Raises NotFoundError when there is none."""
        found = self.get_file_record(file)
        if found is None:
            what = f"{file.path} ({file.location}, {file.where})" if isinstance(file, Place) else file
            raise NotFoundError(f"there is no record of file {what}", next_step="mgmt ls")
        return found

    def search_files(
        self,
        keyword: str | None = None,
        location: Location | str | None = None,
        status: FileStatus | str | None = None,
        *,
        limit: int | None = 100,
        after: int | None = None,
        **narrowing: Unpack[Narrowing],
    ) -> list[FileRecord]:
        """Files whose name or path contains `keyword`, in any case, the newest record first; without one, all files.

        Further keywords narrow them (`FileFilter` has the details): `host` excludes files of other hosts, `tags` are
        exact, `since` is included and `until` is not; `deleted=False` excludes deleted files.
        """
        only = _filter(location, status, narrowing)
        query = select(FileRecord).where(*only.of_files()).order_by(FileRecord.id.desc()).limit(limit)
        if keyword:
            query = query.where(or_(containing(FileRecord.name, keyword), containing(FileRecord.path, keyword)))
        if after is not None:
            query = query.where(FileRecord.id < after)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def list_files(
        self,
        prefix: str | None = None,
        location: Location | str | None = None,
        status: FileStatus | str | None = None,
        *,
        sort: str = "path",
        descending: bool = False,
        limit: int | None = 50,
        after: int | None = None,
        **narrowing: Unpack[Narrowing],
    ) -> list[FileRecord]:
        """Files whose path begins with `prefix`, in exactly this case. `sort` is one of `SORTS`.

        Further keywords narrow them, as in `search_files`.
        """
        if sort not in SORTS:
            raise ConfigurationError(f"files cannot be sorted by {sort!r}", next_step=f"sort by {', '.join(SORTS)}")
        column = SORTS[sort]
        order = [c.desc() if descending else c.asc() for c in (column, FileRecord.id)]
        only = _filter(location, status, narrowing)
        query = select(FileRecord).where(*only.of_files()).order_by(*order).limit(limit)
        if prefix:
            query = query.where(starting(FileRecord.path, prefix))
        with self._database.reading() as session:
            if after is not None:
                last = session.execute(select(column, FileRecord.id).where(FileRecord.id == after)).first()
                if last is None:
                    raise NotFoundError(f"there is no record of file {after}", next_step="mgmt ls")
                at = tuple_(column, FileRecord.id)
                query = query.where(at < last if descending else at > last)
            return list(session.scalars(query))

    def files_of(self, operation: OperationRecord, role: Role | None = None) -> list[tuple[FileRecord, Role]]:
        """The files that `operation` touched, each with its role."""
        query = select(FileRecord, OperationFile.role).join(OperationFile, OperationFile.file_id == FileRecord.id)
        query = query.where(OperationFile.operation_id == operation.operation_id).order_by(FileRecord.id)
        if role is not None:
            query = query.where(OperationFile.role == role)
        with self._database.reading() as session:
            return [(file, role) for file, role in session.execute(query)]

    def copies_of(self, digest: str) -> list[FileRecord]:
        """Originals and completed copies that were archived with this digest and, as far as is known, still exist.

        They may be on any machine.
        """
        query = select(FileRecord).where(FileRecord.digest == digest, FileRecord.location != Location.S3)
        query = query.where(FileRecord.status != FileStatus.DELETED).order_by(FileRecord.id.desc())
        with self._database.reading() as session:
            return list(session.scalars(query))

    def archives_of(self, digest: str) -> list[FileRecord]:
        """Archives with this digest that are stored, as far as is known; in any store, the newest first."""
        query = select(FileRecord).where(FileRecord.digest == digest, _is_archive())
        query = query.where(FileRecord.status == FileStatus.COMPLETED).order_by(FileRecord.id.desc())
        with self._database.reading() as session:
            return list(session.scalars(query))

    def has_archive_of(self, original_size: int) -> bool:
        """Whether an archive is stored whose original had this size in bytes."""
        query = select(FileRecord.id).where(FileRecord.original_size == original_size, _is_archive())
        with self._database.reading() as session:
            return session.scalar(query.where(FileRecord.status == FileStatus.COMPLETED).limit(1)) is not None

    def unfinished_removals(self, host: str, path: str | None = None) -> list[FreeRecord]:
        """Removals of copies on `host` that failed after they had begun (`result_path` is what is left), newest first.

        With `path` only those of the copy that was there.
        """
        query = select(FreeRecord).where(
            FreeRecord.status == Status.FAILED, FreeRecord.host == host, FreeRecord.result_path.is_not(None)
        )
        if path is not None:
            query = query.where(_targets(path))
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(FreeRecord.seq.desc())))

    def completed_folders(self, host: str) -> list[str]:
        """The folders on `host` that hold, or held, completed copies."""
        copies = select(FileRecord).where(FileRecord.location == Location.COMPLETED, FileRecord.host == host)
        folder = func.substr(FileRecord.path, 1, func.length(FileRecord.path) - func.length(FileRecord.name) - 1)
        named = copies.where(FileRecord.path_bytes.is_(None)).with_only_columns(folder).distinct()
        with self._database.reading() as session:
            folders = set(session.scalars(named))
            for copy in session.scalars(copies.where(FileRecord.path_bytes.is_not(None))):
                folders.add(os.path.dirname(copy.path))
        return sorted(folders)

    def stores(self) -> list[str]:
        """The URL of each store that an archive is, or was, recorded in."""
        query = select(FileRecord.store).where(FileRecord.store.is_not(None)).distinct().order_by(FileRecord.store)
        with self._database.reading() as session:
            return [str(url) for url in session.scalars(query)]

    def unknown_keys(self, store: str, keys: Sequence[str]) -> list[str]:
        """Those of `keys`, a few hundred at most, that belong to no stored archive, index or running upload."""
        archives = select(FileRecord.s3_object_key, FileRecord.index_key).where(
            FileRecord.store == store,
            FileRecord.status == FileStatus.COMPLETED,
            or_(FileRecord.s3_object_key.in_(keys), FileRecord.index_key.in_(keys)),
        )
        uploads = select(UploadRecord.s3_object_key, UploadRecord.index_key).where(
            UploadRecord.store == store, UploadRecord.status.in_(LIVE)
        )
        with self._database.reading() as session:
            known = {key for query in (archives, uploads) for row in session.execute(query) for key in row}
        return [key for key in keys if key not in known]

    def latest_archive(self, target_path: str) -> FileRecord:
        """The newest archive of the original at `target_path` that is still stored. Raises NotFoundError."""
        query = select(FileRecord).join(OperationRecord, OperationRecord.operation_id == FileRecord.operation_id)
        query = query.where(_is_archive(), _targets(target_path), FileRecord.status != FileStatus.DELETED)
        with self._database.reading() as session:
            found = session.scalars(query.order_by(OperationRecord.seq.desc()).limit(1)).first()
        if found is None:
            raise NotFoundError(f"there is no archive of {target_path}", next_step="mgmt ls")
        return found

    def find(self, name: str, host: str | None = None, *, strictly: bool = False) -> list[FileRecord]:
        """The archives that `name` can mean, the newest first; none, one, or several to choose from.

        In this order, the first that matches anything: the id of the upload, the key or the full URL, the archive's
        name with or without `.tar.gz`, the path or the name of the original, of one on `host` rather than of one
        elsewhere. Deleted ones only when nothing else fits; `strictly`, they count as others do: a word that meant an
        archive yesterday means no other one today because that one is deleted.
        """
        names = (name, f"{name}.tar.gz")
        # An index answers each of them: there may be a million archives.
        parts = name.split("/")
        keys = ["/".join(parts[start:]) for start in range(1, len(parts))]
        url = and_(FileRecord.s3_object_key.in_(keys), FileRecord.store + "/" + FileRecord.s3_object_key == name)
        original = or_(_targets(name), named(OperationRecord.target_name, OperationRecord.target_name_bytes, name))
        uploads = select(OperationRecord.operation_id).where(original)
        ways: Sequence[ColumnElement[bool]] = (
            FileRecord.operation_id == name,
            or_(FileRecord.s3_object_key == name, url),
            FileRecord.name.in_(names),
            *([FileRecord.operation_id.in_(uploads.where(OperationRecord.host == host))] if host is not None else []),
            FileRecord.operation_id.in_(uploads),
        )
        deleted: list[FileRecord] = []
        with self._database.reading() as session:
            for way in ways:
                query = select(FileRecord).where(_is_archive(), way).order_by(FileRecord.id.desc())
                found = list(session.scalars(query))
                if stored := [file for file in found if file.status is not FileStatus.DELETED]:
                    return stored
                if strictly and found:
                    return found
                deleted = deleted or found
        return deleted


def _filter(location: Location | str | None, status: FileStatus | str | None, more: Narrowing) -> FileFilter:
    return FileFilter(
        location=None if location is None else one_of(Location, location),
        status=None if status is None else one_of(FileStatus, status),
        **more,
    )


def _configured() -> str:
    """The URL of the catalog that the configuration names, as the command line reads it."""
    return load({}, Path(os.environ.get("MGMT_CONFIG") or default_path())).catalog_url()


def _is_archive() -> ColumnElement[bool]:
    """It is in a store. Unlike a condition on `location`, this keeps SQLite from scanning that location."""
    return FileRecord.store.is_not(None)


def _targets(path: str) -> ColumnElement[bool]:
    return named(OperationRecord.target_path, OperationRecord.target_path_bytes, path)


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
