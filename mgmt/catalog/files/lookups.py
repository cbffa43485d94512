"""Lookups of the services: archives by any name, copies of a content, and what an operation has left behind."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import aliased

from mgmt.catalog.db.conditions import named
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.enums import LIVE, FileStatus, Location, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.maintenance import FreeRecord, IgnoreRecord, UndoRecord
from mgmt.catalog.records.operations import OperationRecord
from mgmt.catalog.records.transfers import UploadRecord
from mgmt.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class IgnoredKeys:
    """Keys that are ignored in a store; one that ends with "/" stands for all below it that cannot be mgmt's."""

    keys: frozenset[str]

    def __contains__(self, key: str) -> bool:
        if key in self.keys:
            return True
        own = key.endswith((".tar.gz", ".index.jsonl.gz"))  # the catalog may have lost it, or never had it
        return not own and any(key.startswith(each) for each in self.keys if each.endswith("/"))


class Lookups:
    """Each reads what is committed. All methods raise CatalogError when the catalog cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unfinished_uploads(self) -> list[UploadRecord]:
        """Uploads that failed or were cancelled, and may have left something in their store; the oldest first."""
        ended = OperationRecord.status.in_([Status.FAILED, Status.CANCELLED])
        query = select(UploadRecord).where(ended, UploadRecord.index_key.is_not(None)).order_by(UploadRecord.seq)
        with self._database.reading() as session:
            return list(session.scalars(query))

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
        query = select(FileRecord).where(FileRecord.digest == digest, is_archive())
        query = query.where(FileRecord.status == FileStatus.COMPLETED).order_by(FileRecord.id.desc())
        with self._database.reading() as session:
            return list(session.scalars(query))

    def has_archive_of(self, original_size: int) -> bool:
        """Whether an archive is stored whose original had this size in bytes."""
        query = select(FileRecord.id).where(FileRecord.original_size == original_size, is_archive())
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
            query = query.where(is_target(path))
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(FreeRecord.seq.desc())))

    def undone_by(self, operation_id: str) -> UndoRecord | None:
        """The undo of this operation that has succeeded; None if there is none."""
        query = select(UndoRecord).where(UndoRecord.undo_of == operation_id, OperationRecord.status == Status.SUCCESS)
        with self._database.reading() as session:
            return session.scalars(query.order_by(OperationRecord.seq.desc()).limit(1)).first()

    def repeats_of(self, operation_id: str) -> list[OperationRecord]:
        """The operations that do the work of this one again, the newest first."""
        query = select(OperationRecord).where(OperationRecord.retry_of == operation_id)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(OperationRecord.seq.desc())))

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

    def archive_urls(self) -> list[str]:
        """The URL of each stored archive, sorted by key. A million texts take 0.4 GB, a million records 5 GB."""
        query = select(FileRecord.store, FileRecord.s3_object_key).order_by(FileRecord.path, FileRecord.id)
        query = query.where(FileRecord.location == Location.S3, FileRecord.status == FileStatus.COMPLETED)
        with self._database.reading() as session:
            return [f"{store}/{key}" for store, key in session.execute(query)]

    def stores(self) -> list[str]:
        """The URL of each store that an archive is, or was, recorded in."""
        query = select(FileRecord.store).where(FileRecord.store.is_not(None)).distinct().order_by(FileRecord.store)
        with self._database.reading() as session:
            return [str(url) for url in session.scalars(query)]

    def stores_in_use(self) -> list[str]:
        """The URL of each store that an archive is recorded as stored in."""
        # A step in an index for each: there may be a million archives, and few stores.
        in_use = and_(FileRecord.store.is_not(None), FileRecord.status != FileStatus.DELETED)
        first = select(func.min(FileRecord.store).label("url")).where(in_use).cte("stores", recursive=True)
        following = select(func.min(FileRecord.store)).where(in_use, FileRecord.store > first.c.url)
        stores = first.union_all(select(following.correlate(first).scalar_subquery()).where(first.c.url.is_not(None)))
        with self._database.reading() as session:
            return [str(url) for url in session.scalars(select(stores.c.url).where(stores.c.url.is_not(None)))]

    def has_archives_in(self, store: str) -> bool:
        """Whether an archive is recorded as stored in the store with this URL."""
        query = select(FileRecord.id).where(FileRecord.store == store, FileRecord.status == FileStatus.COMPLETED)
        with self._database.reading() as session:
            return session.scalars(query.limit(1)).first() is not None

    def is_archive_id(self, archive_id: str) -> bool:
        """Whether an archive with this id is, or was, recorded."""
        query = select(FileRecord.id).where(is_archive(), FileRecord.archive_id == archive_id).limit(1)
        with self._database.reading() as session:
            return session.scalar(query) is not None

    def replaced_archives(self, store: str | None = None, key: str | None = None) -> list[FileRecord]:
        """Deleted archives whose key holds another one, and whose index may still be there; of all stores or of one."""
        now = aliased(FileRecord)
        query = select(FileRecord).join(now, and_(now.store == FileRecord.store, now.path == FileRecord.path))
        query = query.where(FileRecord.status == FileStatus.DELETED, now.status == FileStatus.COMPLETED)
        query = query.where(is_archive(), FileRecord.index_key.is_not(None), FileRecord.index_key != now.index_key)
        if store is not None:
            query = query.where(FileRecord.store == store, FileRecord.path == key)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(FileRecord.id)))

    def files_called(self, name: str, paths: Collection[str], host: str | None = None) -> list[FileRecord]:
        """Files and archives with exactly this name, or one of these paths or keys; local ones of `host` only.

        The newest record comes first.
        """
        at = (named(FileRecord.path, FileRecord.path_bytes, path) for path in paths)
        query = select(FileRecord).where(or_(named(FileRecord.name, FileRecord.name_bytes, name), *at))
        if host is not None:
            query = query.where(or_(FileRecord.host == host, FileRecord.host.is_(None)))
        with self._database.reading() as session:
            return sorted(session.scalars(query), key=lambda file: -file.id)

    def unknown_keys(self, store: str, keys: Mapping[str, str]) -> list[str]:
        """Those of `keys`, a few hundred at most, of no stored archive, and of no upload, interrupted ones included.

        `keys` maps each to the key of its archive: its own, or that of the archive which an index describes.
        """
        # There is no index on `index_key`. The status is no condition here, or SQLite would read all that have it.
        archives = select(FileRecord.s3_object_key, FileRecord.index_key, FileRecord.status).where(
            FileRecord.store == store, FileRecord.s3_object_key.in_({*keys, *keys.values()})
        )
        uploads = select(UploadRecord.s3_object_key, UploadRecord.index_key).where(
            UploadRecord.store == store, UploadRecord.status.in_(LIVE)
        )
        left = select(UploadRecord.index_key).where(
            UploadRecord.store == store,
            UploadRecord.status.in_((Status.FAILED, Status.CANCELLED)),
            UploadRecord.index_key.in_(keys),
        )
        with self._database.reading() as session:
            known = {key for query in (uploads, left) for row in session.execute(query) for key in row}
            for *names, status in session.execute(archives):
                known |= set(names) if status is FileStatus.COMPLETED else set()
        return [key for key in keys if key not in known]

    def ignored(self) -> list[IgnoreRecord]:
        """Which objects are ignored, in any store: the last operation of each says so. Sorted by their URLs."""
        query = select(IgnoreRecord).where(OperationRecord.status == Status.SUCCESS).order_by(OperationRecord.seq)
        with self._database.reading() as session:
            last = {str(each.target_path): each for each in session.scalars(query)}
        return [last[url] for url in sorted(last) if last[url].details.get("ignored")]

    def ignored_keys(self, store: str) -> IgnoredKeys:
        """The objects that are ignored in `store`."""
        urls = [str(each.target_path) for each in self.ignored()]
        return IgnoredKeys(frozenset(url.removeprefix(f"{store}/") for url in urls if url.startswith(f"{store}/")))

    def latest_archive(self, target_path: str) -> FileRecord:
        """The newest archive of the original at `target_path` that is still stored. Raises NotFoundError."""
        query = select(FileRecord).join(OperationRecord, OperationRecord.operation_id == FileRecord.operation_id)
        query = query.where(is_archive(), is_target(target_path), FileRecord.status != FileStatus.DELETED)
        with self._database.reading() as session:
            found = session.scalars(query.order_by(OperationRecord.seq.desc()).limit(1)).first()
        if found is None:
            raise NotFoundError(f"there is no archive of {target_path}", next_step="mgmt ls")
        return found

    def find(
        self, name: str, host: str | None = None, *, strictly: bool = False, deleted: bool = False
    ) -> list[FileRecord]:
        """The archives that `name` can mean, the newest first; none, one, or several to choose from.

        In this order, the first that matches anything: the id of the upload, the key or the full URL, the archive's
        name with or without `.tar.gz`, the path or the name of the original, of one on `host` rather than of one
        elsewhere. Deleted ones only when nothing else fits; `strictly`, they count as others do: a word that meant an
        archive yesterday means no other one today because that one is deleted. With `deleted`, the deleted ones are
        returned along with the stored ones.
        """
        names = (name, f"{name}.tar.gz")
        # An index answers each of them: there may be a million archives.
        parts = name.split("/")
        keys = ["/".join(parts[start:]) for start in range(1, len(parts))]
        url = and_(FileRecord.s3_object_key.in_(keys), FileRecord.store + "/" + FileRecord.s3_object_key == name)
        original = or_(is_target(name), named(OperationRecord.target_name, OperationRecord.target_name_bytes, name))
        uploads = select(OperationRecord.operation_id).where(original)
        ways: Sequence[ColumnElement[bool]] = (
            FileRecord.operation_id == name,
            or_(FileRecord.s3_object_key == name, url),
            FileRecord.name.in_(names),
            *([FileRecord.operation_id.in_(uploads.where(OperationRecord.host == host))] if host is not None else []),
            FileRecord.operation_id.in_(uploads),
        )
        only_deleted: list[FileRecord] = []
        with self._database.reading() as session:
            for way in ways:
                query = select(FileRecord).where(is_archive(), way).order_by(FileRecord.id.desc())
                found = list(session.scalars(query))
                if deleted and found:
                    return found
                if stored := [file for file in found if file.status is not FileStatus.DELETED]:
                    return stored
                if strictly and found:
                    return found
                only_deleted = only_deleted or found
        return only_deleted


def is_archive() -> ColumnElement[bool]:
    """It is in a store. Unlike a condition on `location`, this keeps SQLite from scanning that location."""
    return FileRecord.store.is_not(None)


def is_target(path: str) -> ColumnElement[bool]:
    """The operation has exactly this target."""
    return named(OperationRecord.target_path, OperationRecord.target_path_bytes, path)
