"""Requests that move an object to another storage class: the store copies it onto itself.

A copy keeps metadata and tags unless it is told otherwise, parts keep nothing, and neither keeps locks.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from mgmt.errors import ConflictError, NotReadyError, RefusedError
from mgmt.storage.copying import copied_part, copied_parts
from mgmt.storage.etags import given_etag, same_etag, stored_etag
from mgmt.storage.refusals import one_line
from mgmt.storage.s3 import Bucket, may_be_the_condition
from mgmt.storage.s3_copy_checks import ignores_condition_of_copies, unshown_locks
from mgmt.storage.s3_errors import check_stated, translated

THREADS = 8
"""Parts that the store copies at a time. None of their bytes come here."""

_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")
_LOCKS = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
_FROZEN = ("InvalidObjectState", "ObjectNotInActiveTierError")
_NOT_OFFERED = ("InvalidRequest", "InvalidArgument", "InvalidStorageClass", "MethodNotAllowed", "NotImplemented")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMove:
    """An object that is to be copied onto itself."""

    storage_class: str
    etag: str
    """Of the object that is known: no other one is copied."""
    checksum: str | None
    """The checksums that it must have; see `Sent.checksum`."""
    algorithm: str | None
    """The checksum that the endpoint can be trusted with."""
    on_started: Callable[[str], None]
    """Called with the id of an upload that copies it in parts, before the first part."""


def move(bucket: Bucket, key: str, how: ClassMove) -> str | None:
    """Copy the object onto itself; return the id of the version that this makes, where the bucket has versions.

    What is under the key is the object as it was, or all of the copy, at any time. Raises ConflictError when another
    object is there, NotReadyError when it is frozen, and RefusedError when the store does not do it, or does not say
    how the object is locked.
    """
    where = bucket.where(key)
    with translated(where):
        try:
            there: Any = bucket.client.head_object(**bucket.place(key))
            check_stated(there, where, "ContentLength", "ETag")
            if not same_etag(stored_etag(there["ETag"]), how.etag):
                raise ConflictError(f"{where} was replaced by another object", next_step="mgmt verify")
            if not _keeps_versions(bucket) and ignores_condition_of_copies(bucket):
                raise _unconditional(bucket, key, how, "it ignores If-Match")
            there = {**there, **unshown_locks(bucket, key, there)}
            size = there["ContentLength"]
            copy = _in_parts if copied_parts(size) > 1 else _at_once
            answer = copy(bucket, key, there, how)
        except ClientError as error:
            raise _refused(error, where, how) or error from error
        _lock_again(bucket, key, answer.get("VersionId"), _kept(there))
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)


def _refused(error: ClientError, where: str, how: ClassMove) -> Exception | None:
    code, words = error.response["Error"].get("Code", ""), one_line(error.response["Error"].get("Message", ""))
    if code in _FROZEN:
        return NotReadyError(f"{where} is frozen", next_step="mgmt restore NAME\n# and then the same command")
    if code in _NOT_OFFERED:
        return RefusedError(
            f"the store does not move {where} to {how.storage_class}: {code} {words}".rstrip(),
            next_step="mgmt upload --storage-class CLASS PATH\n# another archive of the original",
        )
    return None


def _kept(there: Mapping[str, Any]) -> dict[str, Any]:
    """What neither way of copying keeps by itself: locks, and the key of an encryption."""
    kept = {name: there[name] for name in _LOCKS if there.get(name)}
    if (until := kept.get("ObjectLockRetainUntilDate")) is not None and until <= datetime.now(UTC):
        del kept["ObjectLockRetainUntilDate"], kept["ObjectLockMode"]  # it is over, and S3 refuses a date in the past
    if str(there.get("ServerSideEncryption", "")).startswith("aws:kms"):
        kept["ServerSideEncryption"] = there["ServerSideEncryption"]
        if "SSEKMSKeyId" in there:
            kept["SSEKMSKeyId"] = there["SSEKMSKeyId"]
    return kept


def _lock_again(bucket: Bucket, key: str, version: str | None, kept: Mapping[str, Any]) -> None:
    """Lock the copy as its source was, where the store has ignored that of the request."""
    wanted = {name: kept[name] for name in _LOCKS if kept.get(name) not in (None, "OFF")}
    if not wanted:
        return
    place: Any = bucket.place(key) | ({} if version is None else {"VersionId": version})
    missing = wanted.keys() - bucket.client.head_object(**place).keys()
    if "ObjectLockMode" in missing:
        until = wanted["ObjectLockRetainUntilDate"]
        retention: Any = {"Mode": wanted["ObjectLockMode"], "RetainUntilDate": until}
        bucket.client.put_object_retention(**place, Retention=retention)
    if "ObjectLockLegalHoldStatus" in missing:
        bucket.client.put_object_legal_hold(**place, LegalHold={"Status": "ON"})


def _at_once(bucket: Bucket, key: str, there: Mapping[str, Any], how: ClassMove) -> Any:
    place: Any = bucket.place(key)
    more: dict[str, Any] = {"ChecksumAlgorithm": "CRC64NVME"} if how.algorithm == "crc64nvme" else {}

    def copy(**condition: Any) -> Any:
        return bucket.client.copy_object(
            **place,
            CopySource=place,
            CopySourceIfMatch=given_etag(how.etag),
            StorageClass=how.storage_class,  # type: ignore[arg-type]
            MetadataDirective="COPY",
            TaggingDirective="COPY",
            **_kept(there),
            **more,
            **condition,
        )

    return _if_unchanged(bucket, key, how, copy)


def _in_parts(bucket: Bucket, key: str, there: Mapping[str, Any], how: ClassMove) -> Any:
    client, size = bucket.client, there["ContentLength"]
    place: Any = bucket.place(key)
    crc: dict[str, Any] = {}
    if how.algorithm == "crc64nvme":
        crc = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    attributes: dict[str, Any] = {name: there[name] for name in _HEADERS if there.get(name)}
    attributes |= {"StorageClass": how.storage_class, **_tagging(bucket, key), **_kept(there), **crc}
    upload_id = client.create_multipart_upload(**place, **attributes)["UploadId"]
    how.on_started(upload_id)
    part_size = copied_part(size)

    def copy(number: int) -> dict[str, Any]:
        start = (number - 1) * part_size
        answer: Any = client.upload_part_copy(
            **place,
            CopySource=place,
            CopySourceIfMatch=given_etag(how.etag),
            CopySourceRange=f"bytes={start}-{min(start + part_size, size) - 1}",
            UploadId=upload_id,
            PartNumber=number,
        )
        copied = answer["CopyPartResult"]
        names = ("ETag", "ChecksumCRC64NVME") if crc else ("ETag",)
        return {"PartNumber": number, **{name: copied[name] for name in names if name in copied}}

    threads = ThreadPoolExecutor(THREADS, "copy")
    try:
        parts = list(threads.map(copy, range(1, copied_parts(size) + 1)))
    finally:
        threads.shutdown(cancel_futures=True)
    if crc and (whole := _of_whole(how.checksum)) is not None:  # a copy that differs never gets the key
        crc = {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT"}
    else:
        crc = {}
    request: dict[str, Any] = {**place, "UploadId": upload_id, "MultipartUpload": {"Parts": parts}, **crc}
    _refuse_replaced(bucket, key, how)  # hours may have passed since the last part was begun
    return _if_unchanged(bucket, key, how, lambda **more: client.complete_multipart_upload(**request, **more))


def _tagging(bucket: Bucket, key: str) -> dict[str, str]:
    try:
        answer = bucket.client.get_object_tagging(**bucket.place(key))
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (405, 501):
            return {}
        raise
    tags: Iterable[Any] = answer["TagSet"]
    found = {each["Key"]: each["Value"] for each in tags}
    return {"Tagging": urlencode(found)} if found else {}


def _of_whole(checksum: str | None) -> str | None:
    values = (each.partition(":")[2] for each in (checksum or "").split() if each.startswith("crc64nvme:"))
    return next(values, None)


def _if_unchanged(bucket: Bucket, key: str, how: ClassMove, request: Callable[..., Any]) -> Any:
    """Call `request` on the condition that the object that was copied is still under the key when the copy gets it.

    An endpoint without that condition gets the request only if the bucket keeps versions: it may then hide an object
    that was stored meanwhile, and not replace it. Otherwise raises RefusedError.
    """
    try:
        return request(IfMatch=given_etag(how.etag))
    except ClientError as error:
        if not may_be_the_condition(error):
            raise
        if not _keeps_versions(bucket):
            code, words = error.response["Error"].get("Code", ""), one_line(error.response["Error"].get("Message", ""))
            raise _unconditional(bucket, key, how, f"{code} {words}".rstrip()) from error
    _refuse_replaced(bucket, key, how)
    return request()


def _unconditional(bucket: Bucket, key: str, how: ClassMove, why: str) -> RefusedError:
    return RefusedError(
        f"the store does not move {bucket.where(key)} to {how.storage_class} on the condition that no other"
        f" object replaces it meanwhile: {why}",
        next_step="mgmt upload --storage-class CLASS PATH\n# another archive of the original",
    )


def _refuse_replaced(bucket: Bucket, key: str, how: ClassMove) -> None:
    there = bucket.client.head_object(**bucket.place(key))
    if not same_etag(stored_etag(there.get("ETag")), how.etag):
        raise ConflictError(f"{bucket.where(key)} was replaced by another object", next_step="mgmt verify")


def _keeps_versions(bucket: Bucket) -> bool:
    try:
        return bucket.client.get_bucket_versioning(Bucket=bucket.name).get("Status") == "Enabled"
    except ClientError:
        return False
