"""Verify that a store holds what was recorded, and nothing that is not recorded."""

import random
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, zip_longest

from mgmt.archive import Index
from mgmt.catalog import Catalog, FileRecord, MemberRecord, Role, Status, VerifyRecord
from mgmt.choices import Proof, StorageClass
from mgmt.errors import (
    CatalogError,
    ConfigurationError,
    IntegrityError,
    MgmtError,
    Problem,
    ProblemError,
    RefusedError,
    StoreError,
    StoreUnavailableError,
)
from mgmt.prices import Objects, Prices
from mgmt.services.steps.adoption import contradiction, prove_claimed
from mgmt.services.steps.batch import Outcome
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, SUFFIX, archive_key, archive_of, index_key, is_index_key
from mgmt.services.steps.indexes import any_index, find_index, look_up, open_index
from mgmt.services.steps.plan_cost import PlanCost, of_download
from mgmt.services.steps.proof import prove_again, refuse_frozen, still_there
from mgmt.services.steps.replacement import how_to_replace, without_another_copy
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.versions import how_to_copy_older, versions_at
from mgmt.storage import ObjectStore, StoredObject, is_key, trusted
from mgmt.words import shell_word

REQUEST = 32 << 20
"""Bytes that a store reads in one request."""

_BATCH = 500
_COMPARED = ("path", "type", "mode", "size", "mtime_ns", "header_offset", "data_offset", "sha256", "link")


def verify(name: str, context: Context, *, read_back: bool, mhl: bool = False) -> VerifyRecord:
    """Prove one archive again, and compare its record with its index.

    It is proven by the store's checksum where that can be trusted, else (or with `read_back`) by reading it. With
    `mhl`, it is also read and compared with the media hash lists in it (see `compare_lists`). Raises ProblemError when
    the store holds something else or nothing, or the record differs from the index.
    """
    catalog = context.catalog
    record = VerifyRecord(
        target_path=name,
        target_name=name,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    try:
        with catalog.journal.record(record) as record:
            archive = find_archive(name, context)
            record.target_path, record.target_name = archive.store.location(archive.key), archive.key
            record.store, record.s3_object_key, record.checked_objects = archive.store.url, archive.key, 1
            record.checked_size = (archive.record.size if archive.record is not None else None) or 0
            record.problems_found = 1  # until it is proven that there is none
            if archive.record is not None:
                catalog.journal.link(record, archive.record, Role.ARCHIVE)
            catalog.journal.checkpoint()
            try:
                record.proof = _check(archive, Proof.READ_BACK if read_back else Proof.AUTO, context)
            except ProblemError as exc:
                if exc.next_step is None and archive.record is not None:
                    is_missing = exc.problem is Problem.MISSING
                    older = None if is_missing else how_to_copy_older(archive.store, archive.record)
                    advice = older or how_to_replace(archive, context)
                    exc.next_step = advice or without_another_copy(archive.record, is_missing=is_missing)
                record.details = {"problem": exc.problem.value}
                catalog.journal.checkpoint()
                raise
            if mhl:
                from mgmt.services.steps.archived_lists import compare_lists  # only where it is asked for

                compare_lists(archive, context.progress)
            with catalog.transaction():
                record.problems_found = 0
                if archive.record is not None:
                    archive.record.proof, archive.record.proven_at = record.proof, datetime.now(UTC)
                    catalog.metadata.save_file_record(archive.record)
                catalog.journal.close(record)
    finally:
        context.progress.stop()
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a verification would do. `size` is the bytes that it would read."""

    type: str = "preview"
    object: str
    size: int
    requests: int
    cost: PlanCost


def preview(name: str, context: Context, table: Prices, *, read_back: bool) -> Preview:
    """What `verify` would read of the archive that `name` means, refusals included; changes nothing."""
    archive = find_archive(name, context)
    stored = still_there(archive.store, archive.record) if archive.record else archive.store.head(archive.key)
    reads = read_back or trusted(archive.store) is None
    if reads:
        refuse_frozen(archive.store, stored)
    where, size = archive.store.location(archive.key), stored.size if reads else 0
    requests = 3 + -(-size // REQUEST)  # HEADs, the index, and ranges of the archive
    read = Objects(storage_class=stored.storage_class or StorageClass.STANDARD, size=size)
    cost = of_download(where, read, requests=requests, table=table)
    return Preview(object=where, size=size, requests=requests, cost=cost)


def sample_of(catalog: Catalog, share: float) -> list[str]:
    """The URLs of a random `share` (0 to 1) of the archives in the catalog, at least one of them."""
    urls = catalog.metadata.archive_urls()
    return urls if share >= 1 else random.sample(urls, min(len(urls), max(1, round(len(urls) * share))))


def find_unknown(context: Context) -> Generator[Outcome[VerifyRecord], None, None]:
    """Name each object that the catalog does not know, in the configured store and all stores with known archives.

    Objects of running or interrupted uploads are not listed. Each store is an operation of its own, part of the batch
    if there is one; one that cannot be listed does not stop the others.
    """
    urls = set(context.catalog.metadata.stores())
    with suppress(ConfigurationError):  # none is configured, and none is needed
        urls.add(context.open_store(None).url)
    for url in sorted(urls):
        try:
            yield from _find_unknown_in(url, context)
        except CatalogError:
            raise
        except MgmtError as exc:
            yield Outcome(url, error=exc)


def _find_unknown_in(url: str, context: Context) -> Generator[Outcome[VerifyRecord], None, None]:
    catalog = context.catalog
    record = VerifyRecord(
        target_path=url,
        target_name=url,
        store=url,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=_earlier_search(url, context),
    )
    claim = None if context.parent is None else f"search for unknown objects in {url} for {context.parent}"
    with catalog.journal.record(record, claim=claim) as record:
        record.checked_objects = record.checked_size = record.problems_found = 0  # it may have been interrupted
        store, ignored = context.open_store(url), catalog.metadata.ignored_keys(url)
        listing = store.list()
        while batch := {each.key: each for each in islice(listing, _BATCH)}:
            record.checked_objects += len(batch)
            record.checked_size += sum(each.size for each in batch.values())
            for key in catalog.metadata.unknown_keys(store.url, {key: archive_of(key) for key in batch}):
                if key not in ignored and (error := _unknown(store, key)) is not None:
                    record.problems_found += 1
                    yield Outcome(store.location(key), error=error)
        if record.problems_found:
            record.status, record.details = Status.FAILED, {"problem": Problem.UNKNOWN.value}
            record.error_message = f"{record.problems_found} objects that the catalog does not know"


def _earlier_search(url: str, context: Context) -> str | None:
    """The last search of this store for the same batch, which was interrupted before it had fanned out."""
    if context.parent is None:
        return None
    found = context.catalog.metadata.list_operations("verify", parent=context.parent, target=url, limit=None)
    return next((each.operation_id for each in found if each.target_path == url), None)


def _unknown(store: ObjectStore, key: str) -> ProblemError | None:
    """The problem of an object that the catalog lacks; None if it was removed after it was listed."""
    where, rebuild = store.location(key), f"mgmt --store {shell_word(store.url)} db rebuild"
    ignore = f"mgmt ignore {shell_word(where)}"
    if not is_key(key):
        return _foreign(where, "mgmt stores nothing under such a key", ignore)
    if key.endswith(SUFFIX) and not is_index_key(key):
        return _foreign(where, "mgmt stores no index under such a key", ignore)
    try:
        if look_up(store, key) is None:
            return None
        if key.endswith(SUFFIX):
            stored = look_up(store, archive_key(key))
            owner = None if stored is None else stored.metadata.get(OPERATION)
            if stored is None or (owner is not None and index_key(stored.key, owner) != key):
                return ProblemError(
                    Problem.UNKNOWN,
                    f"{where} is an index without an archive, and not in the catalog",
                    next_step=f"mgmt recover\n# or, a day after it was stored: {rebuild}; mgmt recover",
                )
    except StoreUnavailableError:
        raise
    except (StoreError, ConfigurationError) as exc:
        return _foreign(where, exc.message, ignore)
    next_step = f"{rebuild}\n# if it is not an archive: {ignore}"
    return ProblemError(Problem.UNKNOWN, f"{where} is not in the catalog", next_step=next_step)


def _foreign(where: str, why: str, ignore: str) -> ProblemError:
    return ProblemError(
        Problem.UNKNOWN,
        f"{where} is foreign, and not in the catalog: {why}",
        next_step=f"{ignore}\n# or move it out of the prefix of the store",
    )


def _note_class(record: FileRecord, stored: StoredObject) -> None:
    """Record the class that a proven archive is in: a lifecycle rule may have moved it, nobody says when."""
    if record.storage_class != stored.storage_class:
        record.stored_at = None if record.storage_class is not None else record.stored_at
        record.storage_class = stored.storage_class


def _check(archive: Archive, method: Proof, context: Context) -> str:
    record, store, catalog, progress = archive.record, archive.store, context.catalog, context.progress
    if record is None:
        stored = store.head(archive.key)
        with any_index(store, stored) as index:
            return prove_claimed(store, stored, index, progress)[0]
    if record.index_key is None:
        return prove_again(store, record, method, progress)[1]
    stored = still_there(store, record)
    key = find_index(store, stored)
    if key is None:
        raise ProblemError(
            Problem.MISSING,
            f"{store.location(record.index_key)}, an index, is missing from the store",
            next_step=_how_to_mend_index(archive, context),
        )
    try:
        with open_index(store, key, stored.size) as index:
            if record.proof is None or record.size != index.end.size or contradiction(record, index):
                # The index and the record disagree, or nothing was ever proven: only the archive itself can tell.
                proof, _ = prove_claimed(store, stored, index, progress)
            else:
                _, proof = prove_again(store, record, method, progress)
            difference = _difference(record, key, index, catalog)
            if difference is not None and record.archive_id is None and record.digest == index.end.digest:
                # An older mgmt may have kept the members of a deleted archive for the next one with its key.
                catalog.members.record(record.id, index.members())
                difference = _difference(record, key, index, catalog)
            if difference is None and record.archive_id is None:
                record.archive_id = stored.metadata.get(OPERATION) or index.header.operation_id or None
                record.kept = index.end.kept if record.kept is None else record.kept
            _note_class(record, stored)
    except ProblemError:
        raise
    except IntegrityError as exc:
        raise ProblemError(Problem.CORRUPT, exc.message, next_step=exc.next_step) from exc
    if difference is not None:
        raise ProblemError(
            Problem.CHANGED,
            f"{store.location(archive.key)} is sound, but its record is not: {difference}",
            next_step=f"mgmt --store {shell_word(store.url)} db rebuild",
        )
    return proof


def _how_to_mend_index(archive: Archive, context: Context) -> str:
    """What to do about a missing index: a delete marker may hide it, or the archive can be made again."""
    record = archive.record
    if record is not None and record.index_key is not None:
        with suppress(StoreError, RefusedError):
            if (there := versions_at(archive.store, record.index_key)).hidden_by is not None and there.versions:
                return f"mgmt undelete {archive.word}\n# a delete marker hides the index"
    return how_to_replace(archive, context) or f"mgmt download --to DIRECTORY {archive.word}\n# then verify it again"


def _difference(record: FileRecord, index_key: str, index: Index, catalog: Catalog) -> str | None:
    """The first fact in which the catalog differs from the index of the archive; None when there is none."""
    end, size = index.end, 0
    checksum = end.checksum or None
    facts = {
        "path": (record.path, record.s3_object_key),
        "size": (record.size, end.size),
        "digest": (record.digest, end.digest),
        "kept": (record.kept, end.kept if end.kept is not None else record.kept),
        "checksum": (record.checksum, checksum),
        "object_checksum": (record.object_checksum, checksum),
        "member_count": (record.member_count, end.members),
        "index_key": (record.index_key, index_key),
    }
    for name, (recorded, found) in facts.items():
        if recorded != found:
            return f"{name} is {recorded}, and {found} in its index"
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
