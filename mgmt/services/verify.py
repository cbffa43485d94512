"""Prove again that what is stored is what was recorded, and that all that is stored is known."""

import random
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice, zip_longest

from mgmt.archive import Index
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, MemberRecord, Role, Status, VerifyRecord
from mgmt.errors import ConfigurationError, IntegrityError, NotFoundError, Problem, ProblemError
from mgmt.progress import Progress
from mgmt.services.archives import Archive, OpenStore, find_archive
from mgmt.services.batch import Outcome
from mgmt.services.download import refuse_frozen
from mgmt.services.indexes import any_index, find_index, look_up, open_index
from mgmt.services.proof import prove
from mgmt.storage import ObjectStore, Sent, StoredObject

_BATCH = 500
_COMPARED = ("path", "type", "mode", "size", "mtime_ns", "header_offset", "data_offset", "sha256", "link")


def verify(
    name: str,
    *,
    read_back: bool,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
    parent: str | None = None,
) -> VerifyRecord:
    """Prove one archive again, and compare what the catalog says of it with its index.

    It is proven by the store's checksum where that can be trusted, else (or if asked) by reading it. Raises
    ProblemError when the store holds something else, or nothing, or the catalog says something else.
    """
    record = VerifyRecord(target_path=name, target_name=name, command_args=dict(command_args), parent_id=parent)
    try:
        with catalog.journal.record(record) as record:
            archive = find_archive(name, open_store, catalog)
            record.target_path, record.target_name = archive.store.location(archive.key), archive.key
            record.store, record.s3_object_key, record.checked_objects = archive.store.url, archive.key, 1
            record.checked_size = (archive.record.size if archive.record is not None else None) or 0
            record.problems_found = 1  # until the opposite is proven
            catalog.journal.checkpoint()
            try:
                record.proof = _check(archive, "read-back" if read_back else "auto", catalog, progress)
            except ProblemError as exc:
                record.details = {"problem": exc.problem.value}
                catalog.journal.checkpoint()
                raise
            record.problems_found = 0
            if archive.record is not None:
                archive.record.proof, archive.record.proven_at = record.proof, datetime.now(UTC)
                catalog.journal.link(record, catalog.metadata.save_file_record(archive.record), Role.ARCHIVE)
    finally:
        progress.stop()
    return record


def prove_again(archive: Archive, method: str, progress: Progress) -> str:
    """Prove `archive` against what was recorded of it; returns how it was proven.

    Raises ProblemError when the store holds something else, or nothing; NotReadyError when it must be read but is
    frozen.
    """
    stored, known = _stored(archive), archive.record
    if known is not None and known.digest is not None:
        size, checksum, digest = known.size or stored.size, known.object_checksum, known.digest
    else:
        with any_index(archive.store, stored) as index:
            size, checksum, digest = index.end.size, index.end.checksum or None, index.end.digest
    return _prove(archive, stored, Sent(size=size, checksum=checksum, parts=0, part_size=0), digest, method, progress)


def sample_of(catalog: Catalog, share: float) -> list[str]:
    """The ids of a random `share` (0 to 1) of the archives in the catalog, at least one of them."""
    archives = catalog.metadata.list_files(None, Location.S3, FileStatus.COMPLETED, limit=None)
    ids = [f"{each.store}/{each.s3_object_key}" for each in archives]
    return ids if share >= 1 else random.sample(ids, min(len(ids), max(1, round(len(ids) * share))))


def find_unknown(
    *, open_store: OpenStore, catalog: Catalog, command_args: Mapping[str, object]
) -> Generator[Outcome[VerifyRecord], None, None]:
    """Name each object that the catalog does not know, in the configured store and in all that it knows archives in.

    What belongs to an upload that is under way, or was interrupted, is not among them. One operation for each store.
    """
    for store in _stores(open_store, catalog):
        record = VerifyRecord(
            target_path=store.url, target_name=store.url, store=store.url, command_args=dict(command_args)
        )
        with catalog.journal.record(record) as record:
            listing = store.list()
            while batch := {each.key: each for each in islice(listing, _BATCH)}:
                record.checked_objects += len(batch)
                record.checked_size += sum(each.size for each in batch.values())
                for key in catalog.metadata.unknown_keys(store.url, list(batch)):
                    if look_up(store, key) is not None:  # else it was removed since it was listed
                        record.problems_found += 1
                        yield Outcome(store.location(key), error=_unknown(store, key))
            if record.problems_found:
                record.status, record.details = Status.FAILED, {"problem": Problem.UNKNOWN.value}
                record.error_message = f"{record.problems_found} objects that the catalog does not know"


def _stores(open_store: OpenStore, catalog: Catalog) -> Iterator[ObjectStore]:
    urls = set(catalog.metadata.stores())
    with suppress(ConfigurationError):  # none is configured, and none is needed
        urls.add(open_store(None).url)
    yield from (open_store(url) for url in sorted(urls))


def _unknown(store: ObjectStore, key: str) -> ProblemError:
    return ProblemError(
        Problem.UNKNOWN,
        f"{store.location(key)} is not in the catalog",
        next_step=f"mgmt --store {store.url} db rebuild",
    )


def _check(archive: Archive, method: str, catalog: Catalog, progress: Progress) -> str:
    stored = _stored(archive)
    if archive.record is None or archive.record.index_key is None:
        return prove_again(archive, method, progress)
    key = find_index(archive.store, stored)
    if key is None:
        raise ProblemError(
            Problem.MISSING,
            f"{archive.store.location(archive.record.index_key)}, an index, is missing from the store",
            next_step=f"mgmt status {archive.key}",
        )
    try:
        with open_index(archive.store, key) as index:
            sent = Sent(size=index.end.size, checksum=index.end.checksum or None, parts=0, part_size=0)
            proof = _prove(archive, stored, sent, index.end.digest, method, progress)
            difference = _difference(archive.record, key, index, catalog)
    except ProblemError:
        raise
    except IntegrityError as exc:
        raise ProblemError(Problem.CORRUPT, f"{archive.store.location(key)}: {exc.message}") from exc
    if difference is not None:
        raise ProblemError(
            Problem.CHANGED,
            f"{archive.store.location(archive.key)} is sound, but its record is not: {difference}",
            next_step=f"mgmt --store {archive.store.url} db rebuild",
        )
    return proof


def _stored(archive: Archive) -> StoredObject:
    try:
        return archive.store.head(archive.key)
    except NotFoundError as exc:
        raise ProblemError(
            Problem.MISSING,
            f"{archive.store.location(archive.key)} is missing from the store",
            next_step=f"mgmt status {archive.key}",
        ) from exc


def _prove(archive: Archive, stored: StoredObject, sent: Sent, digest: str, method: str, progress: Progress) -> str:
    where = archive.store.location(archive.key)
    if stored.size != sent.size:
        raise ProblemError(Problem.CORRUPT, f"{where} has {stored.size} bytes, not {sent.size} as recorded")
    if method == "read-back" or archive.store.capabilities().checksum is None:
        refuse_frozen(archive.store, stored)
    try:
        return prove(archive.store, archive.key, sent, digest, method, progress)
    except IntegrityError as exc:
        raise ProblemError(Problem.CORRUPT, exc.message, next_step=exc.next_step) from exc


def _difference(record: FileRecord, index_key: str, index: Index, catalog: Catalog) -> str | None:
    """The first thing that the catalog says otherwise than the index of the archive; None when there is none."""
    end, size = index.end, 0
    checksum = end.checksum or None
    facts = {
        "path": (record.path, record.s3_object_key),
        "size": (record.size, end.size),
        "digest": (record.digest, end.digest),
        "checksum": (record.checksum, checksum),
        "object_checksum": (record.object_checksum, checksum),
        "member_count": (record.member_count, end.members),
        "index_key": (record.index_key, index_key),
    }
    for name, (said, found) in facts.items():
        if said != found:
            return f"{name} is {said}, and {found} in its index"
    for row, member in zip_longest(_members(record, catalog), index.members()):
        if row is None or member is None:
            return f"{(row or member).path} is only in the {'index' if row is None else 'catalog'}"
        for name in _COMPARED:
            if getattr(row, name) != getattr(member, name):
                return f"{name} of {row.path} is {getattr(row, name)}, and {getattr(member, name)} in its index"
        size += member.size
    if record.original_size != size:
        return f"original_size is {record.original_size}, and {size} in its index"
    return None


def _members(record: FileRecord, catalog: Catalog) -> Iterator[MemberRecord]:
    after = None
    while page := catalog.members.list(record.id, limit=10_000, after=after):
        yield from page
        after = page[-1].id
