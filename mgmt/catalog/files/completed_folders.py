"""Folders of completed copies: which of them this process has changed, and what is recorded about each."""

import os
from array import array
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from mgmt.catalog.db.conditions import among, starting
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import Location, Role
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operation_types import AnyOperation
from mgmt.catalog.records.operations import OperationFile, OperationRecord
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord
from mgmt.catalog.records.types import exact

CHUNK = 500
"""Records in memory at a time; of all others only the ids are."""

_OF_ALL = {
    *(OperationRecord.shown_as.get(each.key, each.key) for each in OperationRecord.__mapper__.column_attrs),
    *OperationRecord.computed,
}
_INTERNAL = {"claim", "owner", "sha256", "seal"}


class Folders:
    """The folders on one host that hold copies of archived originals, and the records of each folder.

    These are the copies, their originals and archives, and the operations that touched a copy or its archive. Each
    comes as a dictionary, in the order in which they were recorded. All methods but the first raise CatalogError when
    the catalog cannot be used.
    """

    def __init__(self, database: Database, host: str) -> None:
        """Start to track what this process changes."""
        self._database = database
        self._host = host
        self._folders: set[str] = set()
        self._archives = array("q")
        database.listen("after_flush", self._note, everywhere=True)

    def changed(self) -> list[str]:
        """The folders with changes since the last call. The catalog is read only if there are any."""
        archives = sorted(set(self._archives))
        copy, moved, touched = FileRecord, aliased(OperationFile), aliased(OperationFile)
        copies = select(copy.path, copy.path_bytes).join(moved, moved.file_id == copy.id)
        copies = copies.join(touched, touched.operation_id == moved.operation_id)
        copies = copies.where(moved.role == Role.COMPLETED, copy.host == self._host).distinct()
        for start in range(0, len(archives), CHUNK):
            touching = among(touched.file_id.expression, archives[start : start + CHUNK])
            with self._database.reading() as session:
                found = session.execute(copies.where(touching))
                self._folders |= {os.path.dirname(exact(path, raw)) for path, raw in found}
        changed, self._folders, self._archives = sorted(self._folders), set(), array("q")
        return changed

    def files(self, folder: str) -> Iterator[dict[str, Any]]:
        """The copies in `folder`, including deleted ones, with their originals and archives."""
        for page in self._pages(self._files_of(folder).order_by(OperationFile.file_id)):
            with self._database.reading() as session:
                query = select(FileRecord).where(among(FileRecord.id.expression, page)).order_by(FileRecord.id)
                yield from [file.as_dict() for file in session.scalars(query)]

    def uploads(self, folder: str) -> Iterator[dict[str, Any]]:
        """The uploads of the copies in `folder`."""
        return self._operations(folder, UploadRecord)

    def downloads(self, folder: str) -> Iterator[dict[str, Any]]:
        """The downloads of the archives of the copies in `folder`."""
        return self._operations(folder, DownloadRecord)

    def operations(self, folder: str) -> Iterator[dict[str, Any]]:
        """Operations of every type, with the fields that all types have."""
        for facts in self._operations(folder, AnyOperation):
            yield {name: value for name, value in facts.items() if name in _OF_ALL}

    def _operations(self, folder: str, kind: type[OperationRecord]) -> Iterator[dict[str, Any]]:
        touched = self._files_of(folder).join(FileRecord, FileRecord.id == OperationFile.file_id)
        touched = touched.where(FileRecord.location != Location.LOCAL)
        operations = select(OperationFile.operation_id).where(OperationFile.file_id.in_(touched))
        numbers = select(kind.seq).where(kind.operation_id.in_(operations)).order_by(kind.seq)
        for page in self._pages(numbers):
            with self._database.reading() as session:
                records = session.scalars(select(kind).where(among(kind.seq.expression, page)).order_by(kind.seq))
                facts = [record.as_dict() for record in records]
            yield from ({name: each[name] for name in each if name not in _INTERNAL} for each in facts)

    def _files_of(self, folder: str) -> Select[int]:
        """The ids of the copies in `folder`, and of all other files that their uploads touched."""
        inside = os.path.join(folder, "")
        copies = select(FileRecord.id).where(
            FileRecord.location == Location.COMPLETED,
            FileRecord.host == self._host,
            starting(FileRecord.path, inside),
            FileRecord.path == inside + FileRecord.name,  # not further down
        )
        moved = select(OperationFile.operation_id)
        moved = moved.where(OperationFile.file_id.in_(copies), OperationFile.role == Role.COMPLETED)
        return select(OperationFile.file_id).where(OperationFile.operation_id.in_(moved)).distinct()

    def _pages(self, numbers: Select[int]) -> Iterator[list[int]]:
        found = array("q")
        with self._database.reading() as session:
            # Not as the session's own query, which would hold all rows at once.
            for chunk in session.connection().execute(numbers).scalars().partitions(CHUNK):
                found.extend(chunk)
        for start in range(0, len(found), CHUNK):
            yield found[start : start + CHUNK].tolist()

    def _note(self, session: Session, _flush: object) -> None:
        files = [each.file for each in session.new if isinstance(each, OperationFile)]
        files += [each for each in (*session.new, *session.dirty) if isinstance(each, FileRecord)]
        for file in files:
            if file.location is Location.COMPLETED and file.host == self._host:
                self._folders.add(os.path.dirname(file.path))
            elif file.location is Location.S3:
                self._archives.append(file.id)
