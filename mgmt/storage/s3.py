"""The requests to S3-compatible services. With the modules s3_*.py, the only one that uses boto3.

Every request raises errors of `mgmt.errors` only, and their messages contain no secret. The decisions between requests
are made in s3_store.py and multipart.py.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from mgmt.errors import ConflictError, IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from mgmt.storage import s3_cold, s3_listing
from mgmt.storage.etags import given_etag, same_etag, stored_etag
from mgmt.storage.multipart import ListedPart
from mgmt.storage.publish import CHUNK
from mgmt.storage.refusals import UNSUPPORTED, refusal
from mgmt.storage.s3_connect import client_for
from mgmt.storage.s3_errors import check_stated, translated, unreadable
from mgmt.storage.store import PendingUpload, StoredObject, StoreOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STANDARD = "STANDARD"
FROZEN_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_HOLDS = {"ON": True, "OFF": False}
FIELD = {"crc64nvme": "ChecksumCRC64NVME", "sha256": "ChecksumSHA256", "md5": "ContentMD5"}


def connect(bucket: str, prefix: str, options: StoreOptions) -> "Bucket":
    """Connect with the settings and credentials that boto3 finds. Nothing is requested yet."""
    return Bucket(client_for(bucket, options), bucket, prefix)


class Bucket:
    """A bucket below a prefix. No request leaves the prefix."""

    def __init__(self, client: "S3Client", name: str, prefix: str) -> None:
        self.name = name
        self.url = f"s3://{name}/{prefix}".rstrip("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = client
        self.endpoint: str = client.meta.endpoint_url
        """The URL that boto3 really uses, wherever it was set."""
        self.conditional = True
        """Whether the endpoint supports If-None-Match, as far as is known."""
        self.ignores_condition_of_copies: bool | None = None
        """None until that was probed: see s3_copy_checks.py."""

    def where(self, key: str) -> str:
        """The full URL of `key`."""
        return f"{self.url}/{key}"

    def place(self, key: str) -> dict[str, Any]:
        """Bucket and key, as parameters of boto3."""
        return {"Bucket": self.name, "Key": self.prefix + key}

    def check(self) -> None:
        """Raise StoreError when the bucket does not exist."""
        try:
            with translated(self.url):
                self.client.head_bucket(Bucket=self.name)
        except NotFoundError as error:
            raise refusal("NoSuchBucket", 404, "", self.url) from error

    def clock(self) -> datetime | None:
        """The Date header of an answer, even of an error."""
        with translated(self.url):
            try:
                headers = self.client.head_bucket(Bucket=self.name)["ResponseMetadata"]["HTTPHeaders"]
            except ClientError as error:
                headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        try:
            return parsedate_to_datetime(headers["date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return None

    def head(self, key: str, version_id: str | None = None) -> StoredObject:
        """Raise NotFoundError when the key, or that version of it, does not exist. ETag and time are optional."""
        answer = self._ask(key, **({} if version_id is None else {"VersionId": version_id}))
        storage_class = str(answer.get("StorageClass", STANDARD))
        restore = str(answer.get("Restore", ""))
        thawed_until = s3_cold.expiry_of(restore)
        return StoredObject(
            key=key,
            size=answer["ContentLength"],
            etag=stored_etag(answer.get("ETag")),
            storage_class=storage_class,
            last_modified=_in_utc(answer.get("LastModified")),
            metadata={
                # Some gateways turn `-` into `_`, as web servers do that pass headers on as variables.
                name.lower().replace("_", "-"): unquote(value, errors="surrogateescape")
                for name, value in answer.get("Metadata", {}).items()
            },
            frozen=(storage_class in FROZEN_CLASSES or "ArchiveStatus" in answer) and thawed_until is None,
            thawing='ongoing-request="true"' in restore,
            thawed_until=thawed_until,
            version_id=answer.get("VersionId"),
            lock_mode=answer.get("ObjectLockMode"),
            locked_until=_in_utc(answer.get("ObjectLockRetainUntilDate")),
            legal_hold=_HOLDS.get(answer.get("ObjectLockLegalHoldStatus", "")),
        )

    def checksums(self, key: str) -> tuple[int, dict[str, str]]:
        """The size of an object, and the checksums that the store states, by algorithm.

        "md5" is the ETag, omitted where encryption changes it (SSE-KMS, SSE-C).
        """
        answer = self._ask(key, ChecksumMode="ENABLED")
        stated = {name: answer[FIELD[name]] for name in ("crc64nvme", "sha256") if FIELD[name] in answer}
        if "SSECustomerAlgorithm" not in answer and not answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            stated["md5"] = stored_etag(answer.get("ETag")).removeprefix("W/").strip('"')
        return answer["ContentLength"], stated

    def _ask(self, key: str, **more: Any) -> Any:
        """HEAD. Its answer has no body, so the reason for an error comes from a GET of the first byte.

        That GET also shows whether an ETag or a time is really missing, or whether the answer was cut off.
        """
        with translated(self.where(key)):
            try:
                answer = self.client.head_object(**self.place(key), **more)
            except ClientError as error:
                if _status(error) in (400, 403):
                    self._raise_reason(key, **more)
                raise
            check_stated(answer, self.where(key), "ContentLength")
            if absent := [name for name in ("ETag", "LastModified") if name not in answer]:
                version = {name: more[name] for name in ("VersionId",) if name in more}
                known = self._first_byte(key, **version) if answer["ContentLength"] else answer
                if any(name in known for name in absent):
                    raise unreadable(f"{absent[0]} is missing", self.where(key))
            return answer

    def _raise_reason(self, key: str, **more: Any) -> None:
        """Raise what refuses a GET, unless that is something else than what refused the HEAD."""
        try:
            self._first_byte(key, **more)
        except ClientError as error:
            if error.response["Error"].get("Code") != "InvalidObjectState" and _status(error) in (400, 403):
                raise

    def _first_byte(self, key: str, **more: Any) -> Any:
        answer = self.client.get_object(**self.place(key), Range="bytes=0-0", **more)
        answer["Body"].close()
        return answer

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """In the order of the service. `frozen` depends on the storage class only."""
        with translated(self.url):
            for entry in s3_listing.objects(self.client, self.name, self.prefix + prefix):
                key = entry["Key"].removeprefix(self.prefix)
                if "Size" not in entry:
                    with suppress(NotFoundError):  # it was removed just now
                        yield self.head(key)
                    continue
                storage_class = str(entry.get("StorageClass", STANDARD))
                yield StoredObject(
                    key=key,
                    size=entry["Size"],
                    etag=stored_etag(entry.get("ETag")),
                    storage_class=storage_class,
                    last_modified=_in_utc(entry.get("LastModified")),
                    frozen=storage_class in FROZEN_CLASSES,
                )

    def get(self, key: str, start: int, end: int, etag: str | None) -> tuple[str, Iterator[bytes]]:
        """Bytes `start` to `end` (exclusive) in chunks, and the ETag of the object, which must be `etag` if given.

        Raises IntegrityError when there are fewer bytes, or the object was replaced; the chunks raise
        StoreUnavailableError when they end early.
        """
        where = self.where(key)
        try:
            answer = self._part_of(key, start, end, etag)
        except ConflictError as error:
            # Not every endpoint accepts an ETag in another form than it gives it now; the answer's is compared below.
            if not same_etag(self.head(key).etag, etag):
                raise IntegrityError(f"{where} is not the recorded object") from error
            answer = self._part_of(key, start, end, None)
        check_stated(answer, where, "ContentLength")
        found, given = stored_etag(answer.get("ETag")), answer.get("ContentRange", "everything")
        problem = None
        if etag and not same_etag(found, etag):  # not every endpoint supports If-Match
            problem = "it is not the recorded object"
        elif not given.startswith(f"bytes {start}-{end - 1}/") or answer["ContentLength"] != end - start:
            problem = f"requested bytes {start}-{end - 1}, received {given}"
        if problem is not None:
            answer["Body"].close()
            raise IntegrityError(f"{where}: {problem}")
        return found, _chunks(where, answer["Body"])

    def _part_of(self, key: str, start: int, end: int, etag: str | None) -> Any:
        condition: dict[str, Any] = {"IfMatch": given_etag(etag)} if etag else {}
        with translated(self.where(key)):
            return self.client.get_object(**self.place(key), Range=f"bytes={start}-{end - 1}", **condition)

    def delete(self, key: str, version_id: str | None = None) -> None:
        """Remove one object, if it exists. A versioned bucket keeps it, behind a delete marker.

        With `version_id`, remove that version or delete marker for good.
        """
        which: Any = {} if version_id is None else {"VersionId": version_id}
        try:
            with suppress(NotFoundError), translated(self.where(key)):
                self.client.delete_object(**self.place(key), **which)
        except StoreUnavailableError:  # the answer may be lost although the object is gone
            if version_id is not None:
                raise
            with suppress(NotFoundError):
                self.head(key)
                raise

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """Multipart uploads that were neither completed nor aborted; the size only where the parts can be listed."""
        with (
            translated(self.url),
            suppress(self.client.exceptions.NoSuchUpload),  # rclone reports this when there are none
        ):
            for upload in s3_listing.uploads(self.client, self.name, self.prefix + prefix):
                key, upload_id = upload["Key"].removeprefix(self.prefix), upload["UploadId"]
                try:
                    size = self._size_of_parts(key, upload_id)
                except NotFoundError:
                    continue  # it ended concurrently
                yield PendingUpload(key, upload_id, _in_utc(upload.get("Initiated")), size)

    def _size_of_parts(self, key: str, upload_id: str) -> int | None:
        try:
            sizes = {part.number: part.size for part in self.stored_parts(key, upload_id, None)}
        except StoreUnavailableError:
            raise
        except StoreError:
            return None  # perhaps somebody else's, whose parts may not be listed
        return None if -1 in sizes.values() else sum(sizes.values())

    def stored_parts(self, key: str, upload_id: str, algorithm: str | None) -> Iterator[ListedPart]:
        """The parts of a pending upload. Some servers list a part twice if it was sent twice.

        Parts without a stated size or ETag are listed with -1 and an empty ETag: they are no use for resuming.
        """
        with translated(self.where(key)):
            for part in s3_listing.parts(self.client, {**self.place(key), "UploadId": upload_id}):
                listed: Any = part.get(FIELD.get(algorithm or "", ""))
                yield ListedPart(part["PartNumber"], part.get("Size", -1), stored_etag(part.get("ETag")), listed)

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload, if it exists."""
        with suppress(NotFoundError), translated(self.where(key)):
            self.client.abort_multipart_upload(**self.place(key), UploadId=upload_id)

    def if_absent(self, key: str, request: Callable[..., object]) -> None:
        """Call `request(IfNoneMatch="*")`, or without it on an endpoint that does not implement the condition."""
        with translated(self.where(key)):
            if self.conditional:
                try:
                    request(IfNoneMatch="*")
                    return
                except ClientError as error:
                    if _status(error) == 409:  # whatever its code: something is being done with the key
                        raise ConflictError(f"{self.where(key)} is being written") from error
                    if not may_be_the_condition(error):
                        raise
                with suppress(NotFoundError):
                    self.head(key)
                    raise ConflictError(f"{self.where(key)} already exists")
            request()
            self.conditional = False


def may_be_the_condition(error: ClientError) -> bool:
    """Whether the endpoint may have refused `If-None-Match` itself: services differ in how they do that."""
    status = _status(error)
    return status == 501 or (status == 400 and error.response["Error"].get("Code") in UNSUPPORTED)


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC)


def _chunks(where: str, body: Any) -> Iterator[bytes]:
    with translated(where), closing(body):
        while chunk := body.read(CHUNK):
            yield chunk
