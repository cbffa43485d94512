"""What is asked before an object is copied onto itself: its locks, and whether the store heeds conditions."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from mgmt.errors import RefusedError, StoreError
from mgmt.storage.s3 import Bucket
from mgmt.storage.s3_locks import DENIED, NO_LOCKS
from mgmt.storage.s3_probe import DATA, PROBED_OBJECT

_ANOTHER = f'"{"0" * 32}"'
"""An ETag that no object has."""


def unshown_locks(bucket: Bucket, key: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The locks of an object which the answer `shown` of HeadObject does not state, by the names that it has for them.

    HeadObject leaves out what the credentials may not see, and what there is not. Raises RefusedError where the bucket
    has object lock and does not say which of these it is.
    """
    has_lock = _has_object_lock(bucket)
    if has_lock is False or (has_lock is None and shown.get("VersionId") is None):  # object lock needs versions
        return {}
    place, found = bucket.place(key), dict[str, Any]()
    if "ObjectLockMode" not in shown:
        retention = _lock_of(bucket, key, "get_object_retention", place).get("Retention", {})
        if retention.get("Mode") and retention.get("RetainUntilDate"):
            found |= {
                "ObjectLockMode": retention["Mode"],
                "ObjectLockRetainUntilDate": retention["RetainUntilDate"],
            }
    if "ObjectLockLegalHoldStatus" not in shown:
        hold = _lock_of(bucket, key, "get_object_legal_hold", place).get("LegalHold", {})
        if hold.get("Status"):
            found["ObjectLockLegalHoldStatus"] = hold["Status"]
    return found


def _has_object_lock(bucket: Bucket) -> bool | None:
    """None where the credentials may not see that."""
    try:
        answer: Any = bucket.client.get_object_lock_configuration(Bucket=bucket.name)
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in DENIED:
            return None
        if code in NO_LOCKS:
            return False
        raise
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _lock_of(bucket: Bucket, key: str, request: str, place: Mapping[str, Any]) -> Any:
    try:
        return getattr(bucket.client, request)(**place)
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in (*NO_LOCKS, "NoSuchObjectLockConfiguration"):
            return {}
        if code in DENIED:
            raise RefusedError(
                f"{bucket.where(key)} may be locked, and the store does not show how: its copy would have no lock",
                next_step="allow s3:GetObjectRetention and s3:GetObjectLegalHold",
            ) from error
        raise


def ignores_condition_of_copies(bucket: Bucket) -> bool:
    """Whether the endpoint copies an object although it is told to replace another one only (If-Match of CopyObject).

    Asked once for each `Bucket`. False where an object may not be stored or copied for that.
    """
    if bucket.ignores_condition_of_copies is None:
        bucket.ignores_condition_of_copies = _copies_anyway(bucket)
    return bucket.ignores_condition_of_copies


def _copies_anyway(bucket: Bucket) -> bool:
    place: Any = bucket.place(PROBED_OBJECT)
    try:
        bucket.client.put_object(**place, Body=b"".join(DATA))
        try:
            bucket.client.copy_object(
                **place, CopySource=place, IfMatch=_ANOTHER, MetadataDirective="REPLACE", Metadata={"mgmt": "probe"}
            )
        finally:
            with suppress(StoreError):
                bucket.delete(PROBED_OBJECT)
    except ClientError:
        return False  # it is refused, for this reason or another
    return True
