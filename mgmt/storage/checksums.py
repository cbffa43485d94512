"""Checksums of parts and whole objects as S3 defines them: computing them, and comparing them with the store's."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from awscrt.checksums import combine_crc64nvme, crc64nvme

from mgmt.errors import IntegrityError
from mgmt.storage.publish import CHUNK
from mgmt.storage.store import Sent

Data = bytes | memoryview


def checksum(algorithm: str, pieces: Iterable[Data]) -> bytes:
    """The raw checksum of all `pieces`: 8 bytes big-endian for "crc64nvme", else the digest."""
    if algorithm == "crc64nvme":
        crc = 0
        for piece in pieces:
            crc = crc64nvme(piece, crc)
        return crc.to_bytes(8, "big")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


class Crc64Nvme:
    """The crc64nvme of an object, computed locally from its bytes, whether or not the store computes one."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: Data) -> None:
        """Append `data`."""
        self._crc = crc64nvme(data, self._crc)

    def __str__(self) -> str:
        """In the form of `Sent.checksum`."""
        return of_whole("crc64nvme", self._crc.to_bytes(8, "big"))

    def contradicts(self, stated: str | None) -> bool:
        """Whether `stated`, a `Sent.checksum`, has another crc64nvme; one without a crc64nvme contradicts nothing."""
        return any(name == "crc64nvme" and f"{name}:{value}" != str(self) for name, value in _alternatives(stated))


def checksum_of_file(algorithm: str, data: BinaryIO) -> bytes:
    """The raw checksum of the whole of `data`."""
    data.seek(0)
    return checksum(algorithm, iter(lambda: data.read(CHUNK), b""))


def encoded(raw: bytes) -> str:
    """Base64, as in the checksum headers and Content-MD5."""
    return base64.b64encode(raw).decode()


def of_whole(algorithm: str, raw: bytes) -> str:
    """`Sent.checksum` of an object sent in one request."""
    return f"{algorithm}:{raw.hex() if algorithm == 'md5' else encoded(raw)}"


def of_parts(algorithm: str, parts: Sequence[tuple[bytes, int]], whole_md5: str) -> str:
    """`Sent.checksum` of an object sent in `parts`: (raw checksum, size in bytes) of each, in order.

    `whole_md5` is the hex md5 of the object: some endpoints use it as the ETag of a multipart object.
    """
    if algorithm == "crc64nvme":
        crc = 0
        for raw, size in parts:
            crc = combine_crc64nvme(crc, int.from_bytes(raw, "big"), size)
        return of_whole(algorithm, crc.to_bytes(8, "big"))
    composite = checksum(algorithm, [raw for raw, _ in parts])
    if algorithm == "md5":
        return f"md5:{composite.hex()}-{len(parts)} md5:{whole_md5}"
    return f"{of_whole(algorithm, composite)}-{len(parts)}"


def proven_by(key: str, sent: Sent, size: int, stated: Mapping[str, str], trusted: str | None) -> str | None:
    """The algorithm whose checksum proves that the store holds what was sent; None when none does.

    `size` and `stated` (checksum by algorithm; "md5" is an ETag that may be one) are what the store states about `key`;
    `trusted` is the one algorithm for which the endpoint was seen to reject a mismatch. Values are comparable only when
    both are of the whole, or both of the same number of parts ("-N"). A different ETag proves nothing, since not every
    server computes it as an md5; a different checksum, like a different size, raises IntegrityError.
    """
    if size != sent.size:
        raise IntegrityError(f"the store holds {size} bytes of {key}, but {sent.size} were sent")
    for algorithm, expected in _alternatives(sent.checksum):
        value = stated.get(algorithm)
        if algorithm != trusted or value is None or value.partition("-")[2] != expected.partition("-")[2]:
            continue
        if value == expected:
            return algorithm
        if algorithm != "md5":
            raise IntegrityError(
                f"{key}: checksum mismatch: the store has {algorithm} {value}, but {expected} was sent"
            )
    return None


def _alternatives(sent: str | None) -> Iterable[tuple[str, str]]:
    for alternative in (sent or "").split():
        algorithm, _, value = alternative.partition(":")
        yield algorithm, value
