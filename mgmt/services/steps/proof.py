"""Proof that a store holds what was read: by the server's checksum, or by reading the archive back."""

from collections.abc import Iterator
from typing import NamedTuple

from mgmt.archive import Contents, digest_members, inflate
from mgmt.catalog import FileRecord
from mgmt.choices import Proof
from mgmt.errors import IntegrityError, NotFoundError, NotReadyError, Problem, ProblemError, RefusedError
from mgmt.progress import Progress
from mgmt.services.steps.index_keys import OPERATION
from mgmt.services.steps.indexes import any_index
from mgmt.services.steps.versions import how_to_bring_back
from mgmt.storage import ObjectStore, Sent, StoredObject, trusted
from mgmt.storage.checksums import Crc64Nvme
from mgmt.words import shell_word


class Expected(NamedTuple):
    """What an object has to be: the bytes that were sent, and the digest of what they hold."""

    sent: Sent
    digest: str

    @classmethod
    def recorded(cls, size: int, checksum: str | None, digest: str) -> "Expected":
        """As recorded of an archive that is stored already: an object of `size` bytes with this `checksum`."""
        return cls(Sent(size=size, checksum=checksum, parts=0, part_size=0), digest)


def prove(store: ObjectStore, key: str, expected: Expected, method: Proof, progress: Progress) -> str:
    """Prove that `key` holds what is `expected`; return how: `server-checksum crc64nvme` or `read-back`.

    `method` is auto (the server's checksum where it can be trusted, else read back), server-checksum or read-back.
    Raises IntegrityError when the store holds something else, RefusedError when that method cannot prove it.
    """
    if method != Proof.READ_BACK:
        checksum = store.prove(key, expected.sent)
        if checksum is not None:
            return f"{Proof.SERVER_CHECKSUM} {checksum}"
        if method == Proof.SERVER_CHECKSUM:
            raise RefusedError(
                f"{store.location(key)}: the store's checksum proves nothing here", next_step="use --proof read-back"
            )
    read_back(store, key, expected.sent.checksum, expected.digest, progress)
    return Proof.READ_BACK.value


def prove_again(store: ObjectStore, record: FileRecord, method: Proof, progress: Progress) -> tuple[StoredObject, str]:
    """Prove that `store` still holds the archive of `record`; return the object as it is now, and how it was proven.

    An archive without a recorded proof is read back, because its checksum was never compared with its contents.
    Raises ProblemError (missing, corrupt) or NotReadyError.
    """
    stored = still_there(store, record)
    size, checksum, digest = record.size or stored.size, record.object_checksum, record.digest
    if digest is None:
        with any_index(store, stored) as index:
            size, checksum, digest = index.end.size, index.end.checksum or None, index.end.digest
    if record.proof is None:
        method = Proof.READ_BACK
    return stored, prove_stored(store, stored, Expected.recorded(size, checksum, digest), method, progress)


def still_there(store: ObjectStore, record: FileRecord) -> StoredObject:
    """Return the object of `record`. Raises ProblemError when its key holds no object, or another archive."""
    key = str(record.s3_object_key)
    try:
        stored = store.head(key)
    except NotFoundError as exc:
        raise ProblemError(
            Problem.MISSING,
            f"{store.location(key)} is missing from the store",
            next_step=how_to_bring_back(store, record),
        ) from exc
    carried = stored.metadata.get(OPERATION)
    if carried is not None and record.archive_id is not None and carried != record.archive_id:
        raise ProblemError(
            Problem.MISSING,
            f"{store.location(key)} is missing from the store: its key holds another archive",
            next_step=f"mgmt --store {shell_word(store.url)} db rebuild",
        )
    return stored


def prove_stored(
    store: ObjectStore, stored: StoredObject, expected: Expected, method: Proof, progress: Progress
) -> str:
    """`prove` for an object that was looked up: what is wrong with it is raised as a ProblemError.

    Raises NotReadyError when only reading could prove it and it is frozen.
    """
    where = store.location(stored.key)
    if stored.size != (size := expected.sent.size):
        raise ProblemError(Problem.CORRUPT, f"{where} has {stored.size} bytes, not {size} as recorded")
    if method == Proof.READ_BACK or trusted(store) is None:
        refuse_frozen(store, stored)
    try:
        return prove(store, stored.key, expected, method, progress)
    except IntegrityError as exc:
        raise ProblemError(Problem.CORRUPT, exc.message, next_step=exc.next_step) from exc


def read_back(store: ObjectStore, key: str, checksum: str | None, digest: str | None, progress: Progress) -> Contents:
    """Read the whole archive; compare what it holds with `digest`, and its bytes with `checksum` (see `Sent`).

    Both are compared because a damaged byte may inflate to the same contents. Returns what the archive holds. Raises
    IntegrityError or NotReadyError.
    """
    stored = store.head(key)
    progress.start(f"read back {key}", stored.size)
    whole = Crc64Nvme()

    def counted() -> Iterator[bytes]:
        for chunk in store.stream(key, etag=stored.etag):
            progress.advance(len(chunk))
            whole.update(chunk)
            yield chunk

    found = digest_members(inflate(counted(), store.location(key)))
    progress.stop()
    if digest not in (None, found.digest):
        raise IntegrityError(
            f"{store.location(key)} does not hold what was archived: its digest is {found.digest[:12]}, "
            f"not {str(digest)[:12]}"
        )
    if whole.contradicts(checksum):
        raise IntegrityError(
            f"{store.location(key)} holds the same members, but not the bytes that were sent: {whole}, not {checksum}"
        )
    return found


def can_be_read(store: ObjectStore, stored: StoredObject) -> bool:
    """Whether `stored` can be read now. Some stores keep the class of an object as a label, and freeze nothing."""
    if not stored.frozen:
        return True
    if stored.thawing or not stored.size:
        return False
    try:
        store.read(stored.key, 0, 1, etag=stored.etag or None)
    except NotReadyError:
        return False
    return True


def refuse_frozen(store: ObjectStore, stored: StoredObject) -> None:
    """Raise NotReadyError when `stored` cannot be read now."""
    if can_be_read(store, stored):
        return
    where = store.location(stored.key)
    if stored.thawing:
        raise NotReadyError(
            f"{where} is frozen ({stored.storage_class}); a restore is under way", next_step="mgmt restore --ready"
        )
    raise NotReadyError(
        f"{where} is frozen ({stored.storage_class}) and must be restored before it can be read",
        next_step=f"mgmt restore {shell_word(where)}",
    )
