"""Proof: how it is known that a store holds what was read."""

from collections.abc import Iterator

from mgmt.archive import digest_members, inflate
from mgmt.errors import IntegrityError, RefusedError
from mgmt.progress import Progress
from mgmt.storage import ObjectStore, Sent
from mgmt.storage.checksums import Crc64Nvme

READ_BACK = "read-back"
SERVER_CHECKSUM = "server-checksum"


def prove(store: ObjectStore, key: str, sent: Sent, digest: str, method: str, progress: Progress) -> str:
    """Prove that `key` holds the archive with this `digest`; says how: `server-checksum crc64nvme`, `read-back`.

    `method` is auto (the server's checksum where it can be trusted, else read back), server-checksum or read-back.
    Raises IntegrityError when the store holds something else, RefusedError when that method cannot prove it.
    """
    if method != READ_BACK:
        checksum = store.prove(key, sent)
        if checksum is not None:
            return f"{SERVER_CHECKSUM} {checksum}"
        if method == SERVER_CHECKSUM:
            raise RefusedError(
                f"{store.location(key)}: the store's checksum proves nothing here", next_step="use --proof read-back"
            )
    read_back(store, key, sent.checksum, digest, progress)
    return READ_BACK


def read_back(store: ObjectStore, key: str, checksum: str | None, digest: str, progress: Progress) -> None:
    """Read the whole archive; compare what is in it with `digest`, and its bytes with `checksum` (see `Sent`).

    A damaged byte may inflate to the same contents, so one does not stand for the other. Raises IntegrityError,
    NotReadyError.
    """
    stored = store.head(key)
    progress.start(f"read back {key}", stored.size)
    whole = Crc64Nvme()

    def counted() -> Iterator[bytes]:
        for chunk in store.stream(key, etag=stored.etag):
            progress.advance(len(chunk))
            whole.update(chunk)
            yield chunk

    found = digest_members(inflate(counted())).digest
    progress.stop()
    if found != digest:
        raise IntegrityError(
            f"{store.location(key)} does not hold what was archived: its digest is {found[:12]}, not {digest[:12]}"
        )
    if whole.contradicts(checksum):
        raise IntegrityError(
            f"{store.location(key)} holds the same members, but not the bytes that were sent: {whole}, not {checksum}"
        )
