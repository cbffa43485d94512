"""Remove an archive from its store; the records stay."""

from collections.abc import Mapping, Sequence

from mgmt.archive import digest_members, inflate
from mgmt.catalog import DeleteRecord, FileStatus, Role
from mgmt.errors import ConflictError, IntegrityError, MgmtError, ProblemError, RefusedError, StoreError
from mgmt.prices import Prices
from mgmt.services.steps.altered import note_altered, note_faulty
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, OtherCopy, content_claim
from mgmt.services.steps.indexes import find_index, look_up
from mgmt.services.steps.locked import explained
from mgmt.services.steps.plan_cost import of_deletion
from mgmt.services.steps.proof import refuse_frozen, still_there
from mgmt.services.steps.purge import PURGE, refuse_unpurgeable, remaining, remove_all_versions
from mgmt.services.steps.removal import remove_archive, remove_remains
from mgmt.services.steps.removals import identity
from mgmt.services.steps.request_arguments import ARCHIVES
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.versions import find_kept, how_to_bring_back
from mgmt.signals import finish_first
from mgmt.storage import StoredObject, has_etag
from mgmt.words import shell_word


def delete(name: str, context: Context, *, last_copy: bool, purge: bool = False) -> DeleteRecord:
    """Remove one archive and its index. Without `last_copy`, another copy is proven first.

    A versioned bucket keeps them as older versions; with `purge`, those are removed too, also of an archive that was
    deleted before. Raises RefusedError when the archive is the last proven copy, when its key holds another archive by
    now, or when the store is to keep it.
    """
    archive, journal = _find(name, context, purge=purge), context.catalog.journal
    _refuse_another(name, archive, context)
    where = archive.store.location(archive.key)
    record = DeleteRecord(
        target_path=where,
        target_name=archive.key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    digest = archive.record.digest if archive.record is not None else None
    try:
        with journal.record(record, claim=where if digest is None else content_claim(digest)) as record:
            if purge:
                refuse_unpurgeable(archive)
            copies = Copies(context)
            try:
                copy = None if last_copy else _other_copy(archive, copies)
                stored = _stored(archive)
                if stored is not None and not last_copy:
                    _refuse_other_contents(archive, stored, copies)
            finally:
                note_altered(record, copies.altered, context.catalog)
                note_faulty(record, copies.faulty, context.catalog)
            if archive.record is not None:
                journal.link(record, archive.record, Role.ARCHIVE)
                archive.record.version_id = archive.record.version_id if stored is None else stored.version_id
            record.details = {
                **(record.details or {}),
                "other_copy": copy and copy.where,
                "last_copy": last_copy,
                PURGE: purge,
            }
            journal.checkpoint()
            finish_first()
            if copy is not None:
                _look_again(copy)
            if stored is not None:
                _remove(archive, stored)
            elif archive.record is not None and not _is_deleted(archive):
                remove_remains(archive.store, archive.record)
            left = remove_all_versions(archive, stored) if purge else remaining(archive, stored)
            record.details = {**record.details, **left}
            if archive.record is not None:
                archive.record.status = FileStatus.DELETED
                if purge or stored is not None:
                    archive.record.version_id = None if purge or not left else str(left["version_id"])
    finally:
        context.progress.stop()
    return record


def _find(name: str, context: Context, *, purge: bool) -> Archive:
    return find_kept(name, context) if purge else find_archive(name, context, strictly=True)


def identities(names: Sequence[str], context: Context, *, purge: bool = False) -> dict[str, str]:
    """The archives that these names mean now: by the URL of each, what tells it from any other.

    Raises NotFoundError, or AmbiguousNameError.
    """
    found = [_find(each, context, purge=purge) for each in names]
    return {each.url: _identity(each) for each in found}


def _identity(archive: Archive) -> str:
    if (record := archive.record) is not None:
        return identity(record)
    stored = look_up(archive.store, archive.key)
    return "nothing" if stored is None else f"object {stored.etag} of {stored.size} bytes"


def _refuse_another(name: str, archive: Archive, context: Context) -> None:
    """Raise RefusedError if the deletion was requested when `name` meant another archive."""
    requested = context.command_args.get(ARCHIVES)
    meant = requested.get(name) if isinstance(requested, Mapping) else None
    if meant is not None and meant != _identity(archive):
        raise RefusedError(
            f"{archive.url} is not the archive that it was when its deletion was requested",
            next_step=f"mgmt status {archive.word}",
        )


def _other_copy(archive: Archive, copies: Copies) -> OtherCopy:
    """Raises RefusedError when there is none."""
    try:
        return copies.other_copy(archive)
    except RefusedError as exc:
        if _is_deleted(archive):
            raise RefusedError(
                f"{archive.url} is deleted, and its older version is the last proven copy of what it holds",
                next_step=f"mgmt undelete {archive.word}\n# or: mgmt delete --purge --last-copy {archive.word}",
            ) from exc
        if look_up(archive.store, archive.key) is None:
            url = archive.store.location(archive.key)
            back = how_to_bring_back(archive.store, archive.record) if archive.record is not None else None
            raise RefusedError(
                f"{url} is missing from the store, and no other copy of what it held was found",
                next_step=back or f"mgmt delete --last-copy {shell_word(url)}\n# records that it is lost",
            ) from exc
        raise


def _refuse_other_contents(archive: Archive, stored: StoredObject, copies: Copies) -> None:
    """Raise RefusedError when the object is not the recorded one and holds other contents: no copy of those is proven.

    An archive that cannot be read holds nothing that would be lost. The catalog may be older than the object, and
    whoever can write to the store may have replaced it.
    """
    record, store = archive.record, archive.store
    if record is None or (has_etag(stored, record.etag) and stored.size == record.size):
        return
    refuse_frozen(store, stored)
    copies.context.progress.start(f"read {archive.key}", stored.size)
    try:
        found = digest_members(inflate(store.stream(archive.key, etag=stored.etag)))
    except IntegrityError:
        return
    if found.digest != record.digest:
        where, word = store.location(archive.key), shell_word(store.location(archive.key))
        copies.faulty[record] = f"{where} holds other contents than were archived"
        raise RefusedError(
            f"{copies.faulty[record]}: they may be nowhere else",
            next_step=f"mgmt download --archive {word}\n# or: mgmt delete --last-copy {word}",
        )


def _look_again(copy: OtherCopy) -> None:
    try:
        copy.look_again()
    except MgmtError as exc:
        raise RefusedError(f"the archive stays: {exc.message}", next_step=exc.next_step) from exc


def _is_deleted(archive: Archive) -> bool:
    return archive.record is not None and archive.record.status is FileStatus.DELETED


def _remove(archive: Archive, stored: StoredObject) -> None:
    try:
        remove_archive(archive.store, stored)
    except StoreError as exc:
        raise explained(exc, archive.store, stored) from exc
    except ConflictError as exc:
        raise RefusedError(exc.message, next_step=f"mgmt verify {archive.word}") from exc
    _confirm_deleted(archive)


def _confirm_deleted(archive: Archive) -> None:
    if look_up(archive.store, archive.key) is not None:
        raise MgmtError(f"{archive.store.location(archive.key)} was deleted, but the store still has it")


def _stored(archive: Archive) -> StoredObject | None:
    """The object to remove; None when it is already gone. Raises RefusedError when its key holds another archive."""
    if archive.record is None:
        return look_up(archive.store, archive.key)
    if _is_deleted(archive):  # its key may hold another one
        return None
    try:
        return still_there(archive.store, archive.record)
    except ProblemError as exc:
        if look_up(archive.store, archive.key) is None:
            return None
        raise RefusedError(exc.message, next_step=exc.next_step) from exc


def preview(
    name: str, context: Context, *, last_copy: bool, purge: bool = False, table: Prices | None = None
) -> dict[str, object]:
    """What `delete` would remove, with what that costs, refusals included; changes nothing."""
    archive = _find(name, context, purge=purge)
    if purge:
        refuse_unpurgeable(archive)
    copies = Copies(context)
    copy = None if last_copy else _other_copy(archive, copies)
    stored = _stored(archive)
    if stored is not None and not last_copy:
        _refuse_other_contents(archive, stored, copies)
    where, size = archive.store.location(archive.key), 0 if stored is None else stored.size
    if stored is None and purge and archive.record is not None:
        size = archive.record.size or 0
    # "null" is what a bucket calls the version of an object that it may not keep.
    remains = None if purge or stored is None or stored.version_id == "null" else stored.version_id
    return {
        "type": "preview",
        "object": where,
        "size": size,  # 0 if it is gone already: only its record is updated
        "index": None if stored is None else find_index(archive.store, stored),
        "other_copy": copy and copy.where,
        "last_copy": last_copy,
        "purge": purge,
        "remains": remains,
        "cost": None if table is None else of_deletion(where, 0 if remains else size, archive.record, table),
    }
