"""The requests that put one object into a bucket."""

import string
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from mgmt.errors import NotFoundError, StoreError
from mgmt.storage.checksums import Data, encoded
from mgmt.storage.etags import given_etag, stored_etag
from mgmt.storage.multipart import ListedPart, Part
from mgmt.storage.part_data import InFile, InMemory, PartData
from mgmt.storage.s3 import FIELD, Bucket
from mgmt.storage.s3_errors import check_stated, translated
from mgmt.storage.s3_locks import as_headers
from mgmt.storage.store import Attributes, Sent, StoredObject

CONTENT_TYPE = "application/gzip"
PLAIN = string.punctuation.replace("%", "")
"""Characters besides letters and digits that metadata holds unescaped."""

_AT_CREATION: dict[str | None, dict[str, Any]] = {
    "crc64nvme": {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"},
    "sha256": {"ChecksumAlgorithm": "SHA256", "ChecksumType": "COMPOSITE"},
}


class NewObject:
    """The requests that put one object into a bucket (`multipart.Requests`)."""

    def __init__(self, bucket: Bucket, key: str, algorithm: str | None, attributes: Attributes) -> None:
        self.where = bucket.where(key)
        self._bucket = bucket
        self._key = key
        self._algorithm = algorithm
        self._attributes: dict[str, Any] = {
            "ContentType": CONTENT_TYPE,
            # S3 accepts ASCII only
            "Metadata": {
                name: quote(text, PLAIN, errors="surrogateescape") for name, text in attributes.metadata.items()
            },
        }
        if attributes.storage_class is not None:
            self._attributes["StorageClass"] = attributes.storage_class
        if attributes.tags:
            self._attributes["Tagging"] = urlencode(attributes.tags)
        self._attributes |= as_headers(attributes.lock)

    def begin(self) -> str:
        """Create a multipart upload and return its id."""
        with translated(self.where):
            answer = self._bucket.client.create_multipart_upload(
                **self._bucket.place(self._key), **self._attributes, **_AT_CREATION.get(self._algorithm, {})
            )
        check_stated(answer, self.where, "UploadId")
        upload_id = answer["UploadId"]
        if answer["ResponseMetadata"].get("RetryAttempts"):
            self._abort_orphan(upload_id)
        return upload_id

    def _abort_orphan(self, upload_id: str) -> None:
        """Remove the orphaned upload of an attempt whose answer was lost. It has no parts.

        It costs nothing, so a store that does not permit listing uploads is no reason to fail.
        """
        with suppress(StoreError):
            for each in self._bucket.pending(self._key):
                if each.key == self._key and each.upload_id != upload_id and each.size == 0:
                    self.abort(each.upload_id)

    def stored_parts(self, upload_id: str) -> Iterator[ListedPart]:
        """List the parts in the store. Raises NotFoundError when the upload is gone."""
        return self._bucket.stored_parts(self._key, upload_id, self._algorithm)

    def send(self, upload_id: str, number: int, data: PartData, checksum: bytes) -> str:
        """Store one part and return its ETag."""
        body: Any = Body(data)  # boto3 needs only these methods of a file
        with translated(self.where):
            answer = self._bucket.client.upload_part(
                **self._bucket.place(self._key),
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                **self._stated(checksum),
            )
        check_stated(answer, self.where, "ETag")
        return stored_etag(answer["ETag"])

    def complete(self, upload_id: str, parts: Sequence[Part], sent: Sent) -> None:
        """Complete the upload, if the key is free. The server compares the parts with their checksums again."""
        listed = [{"PartNumber": part.number, "ETag": given_etag(part.etag)} for part in parts]
        whole: dict[str, Any] = {}
        if self._algorithm in _AT_CREATION:  # Content-MD5 is of a request, not of a part
            listed = [{**entry, **self._stated(part.checksum)} for entry, part in zip(listed, parts, strict=True)]
        if self._algorithm == "crc64nvme" and sent.checksum is not None:
            whole = {"ChecksumCRC64NVME": sent.checksum.partition(":")[2], "ChecksumType": "FULL_OBJECT"}
        self._bucket.if_absent(
            self._key,
            lambda **condition: self._bucket.client.complete_multipart_upload(
                **self._bucket.place(self._key),
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},  # type: ignore[typeddict-item]
                **whole,
                **condition,
            ),
        )

    def put(self, data: PartData | BinaryIO, checksum: bytes) -> None:
        """Store the object in one request, if its key is free."""
        body: Any = Body(data) if isinstance(data, InMemory | InFile) else data

        def request(**condition: Any) -> None:
            body.seek(0)
            self._bucket.client.put_object(
                **self._bucket.place(self._key), Body=body, **self._attributes, **self._stated(checksum), **condition
            )

        self._bucket.if_absent(self._key, request)

    def head(self) -> StoredObject | None:
        """The object under the key, or None."""
        try:
            return self._bucket.head(self._key)
        except NotFoundError:
            return None

    def abort(self, upload_id: str) -> None:
        """Remove the upload and its parts, if it exists."""
        self._bucket.abort(self._key, upload_id)

    def _stated(self, checksum: bytes) -> dict[str, Any]:
        return {FIELD[self._algorithm]: encoded(checksum)} if self._algorithm else {}


class Body:
    """The body of a request, which boto3 reads piece by piece instead of in the 16 KiB of urllib3."""

    def __init__(self, data: PartData) -> None:
        self._data = data
        self.seek(0)

    def __len__(self) -> int:
        return self._data.size

    def read(self, _: int | None = None) -> Data:
        """The next piece, whatever its size; empty at the end."""
        piece = next(self._pieces, b"")
        self._position += len(piece)
        return piece

    def tell(self) -> int:
        """The number of bytes read so far."""
        return self._position

    def seek(self, position: int) -> None:
        """Rewind for another attempt; no other position is supported."""
        if position != 0:
            raise ValueError(position)
        self._pieces, self._position = iter(self._data), 0
