"""Adopting a complete archive that is already in a store: it is proven, then recorded.

An index is only a claim: whoever may write to the store may have written it. What this catalog has proven or sent
itself is known; anything else is read back before anything relies on it.
"""

from mgmt.archive import Digest, Index
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Place, Role, UploadRecord
from mgmt.choices import Proof
from mgmt.errors import IntegrityError, NotFoundError, ProblemError
from mgmt.progress import Progress
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import any_index, find_index
from mgmt.services.steps.proof import Expected, prove, read_back, refuse_frozen, still_there
from mgmt.services.steps.resolve import ArchiveFacts, save_archive
from mgmt.storage import ObjectStore, StoredObject, has_etag

ARCHIVE_GONE = "its archive was removed from the store before the original was moved"
"""Why an interrupted upload is not finished although its archive was proven."""


def proven_record(store: ObjectStore, stored: StoredObject, catalog: Catalog) -> FileRecord | None:
    """The record of `stored` if this catalog has proven this very archive before; None otherwise."""
    try:
        known = catalog.metadata.require_file_record(Place(Location.S3, store.url, stored.key))
    except NotFoundError:
        return None
    carried = stored.metadata.get(OPERATION)
    same = known.archive_id == carried if carried is not None else has_etag(stored, known.etag)
    return known if same and known.status is FileStatus.COMPLETED and known.proof is not None else None


def is_recorded(store: ObjectStore, stored: StoredObject, catalog: Catalog) -> bool:
    """Whether the catalog has a proven record of `stored`."""
    return proven_record(store, stored, catalog) is not None


def is_still_stored(record: UploadRecord, store: ObjectStore, catalog: Catalog) -> bool:
    """Whether the archive of the proven upload `record` is still in the store: it may have been deleted since."""
    archives = [archive for archive, _ in catalog.metadata.files_of(record, Role.ARCHIVE)]
    for archive in archives:
        if archive.s3_object_key == record.s3_object_key and archive.status is not FileStatus.DELETED:
            try:
                still_there(store, archive)
            except ProblemError:
                continue
            return True
    return False


def contradiction(known: FileRecord, index: Index) -> str | None:
    """The first fact in which `index` contradicts what was proven of its archive; None when there is none."""
    end = index.end
    facts = {
        "digest": (known.digest, end.digest),
        "what is kept": (known.kept, end.kept),
        "checksum": (known.object_checksum, end.checksum or None),
        "members": (known.member_count, end.members),
    }
    for name, (proven, listed) in facts.items():
        if None not in (proven, listed) and proven != listed:
            return f"{name}: {proven} was proven, {listed} is in its index"
    return None


def prove_claimed(store: ObjectStore, stored: StoredObject, index: Index, progress: Progress) -> tuple[str, str]:
    """Prove by reading that the archive is what `index` claims; return how, and what it keeps besides the digest.

    Raises IntegrityError when it is not, NotReadyError when it cannot be read now.
    """
    refuse_frozen(store, stored)
    found = read_back(store, stored.key, index.end.checksum or None, index.end.digest, progress)
    listed = Digest()
    for member in index.members():
        listed.add(member)
    if listed.hexdigest() != found.digest or not found.holds(index.end.kept or ""):
        raise IntegrityError(f"{store.location(stored.key)} is not what its index lists")
    return Proof.READ_BACK.value, found.kept if index.end.kept is None else index.end.kept


def adopt_left(made_by: UploadRecord, stored: StoredObject, store: ObjectStore, context: Context) -> FileRecord:
    """Record the complete archive that the upload `made_by` left in the store without recording it.

    It is proven by what that upload recorded before the object appeared, or else by reading it. Raises IntegrityError
    when it is not what was sent, or not what its index lists; NotReadyError when it cannot be read now.
    """
    progress = context.progress
    with any_index(store, stored) as index:
        if made_by.digest is not None and made_by.checksum_compressed is not None:
            size = made_by.compressed_size or stored.size
            expected = Expected.recorded(size, made_by.checksum_compressed, made_by.digest)
            if index.end.digest != made_by.digest:
                raise IntegrityError(f"{store.location(stored.key)}: its index is of something else than was sent")
            proof, kept = prove(store, stored.key, expected, Proof.AUTO, progress), made_by.kept
        else:
            proof, kept = prove_claimed(store, stored, index, progress)
        facts = ArchiveFacts(
            store=store,
            stored=stored,
            index=index,
            index_key=find_index(store, stored),
            original_size=sum(member.size for member in index.members()),
            operation_id=made_by.operation_id,
            proof=proof,
            tags=made_by.command_args.get("tags") or {},
        )
        archive = save_archive(facts, context.catalog)
        archive.kept = kept
        return archive
