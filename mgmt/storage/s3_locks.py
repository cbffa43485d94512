"""Requests about object lock: the retention and the legal hold of an object, and the default of its bucket."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from mgmt.choices import LockMode
from mgmt.errors import RefusedError
from mgmt.storage.s3_errors import translated
from mgmt.storage.store import Lock

if TYPE_CHECKING:
    from mgmt.storage.s3 import Bucket

_NONE = {
    "ObjectLockConfigurationNotFoundError",
    "NotImplemented",
    "MethodNotAllowed",
    "InvalidRequest",
    "InvalidArgument",
    "NoSuchKey",
    "404",
    "405",
    "501",
}
"""What a bucket without object lock answers, or an endpoint that does not know it."""

_DENIED = {"AccessDenied", "403"}
DAYS_OF_YEAR = 365


class BucketLocks:
    """Object lock in a bucket: see `Locks`."""

    def __init__(self, bucket: "Bucket") -> None:
        self._bucket = bucket

    def default(self) -> Lock | None:
        """See `Locks.default`."""
        bucket = self._bucket
        answer: Any
        with translated(bucket.url):
            try:
                answer = bucket.client.get_object_lock_configuration(Bucket=bucket.name)
            except ClientError as error:
                code = error.response["Error"].get("Code", "")
                if code in _DENIED:
                    return None
                if code not in _NONE:
                    raise
                answer = {}
        configured = answer.get("ObjectLockConfiguration", {})
        if configured.get("ObjectLockEnabled") != "Enabled":
            raise RefusedError(
                f"{bucket.url} has no object lock, so nothing in it can be kept from being removed",
                next_step="use a bucket with object lock: aws s3api create-bucket --object-lock-enabled-for-bucket ...",
            )
        rule = configured.get("Rule", {}).get("DefaultRetention", {})
        days = rule.get("Days", 0) + DAYS_OF_YEAR * rule.get("Years", 0)
        return Lock(LockMode(rule["Mode"]), datetime.now(UTC) + timedelta(days=days)) if rule.get("Mode") else None

    def put(self, key: str, version_id: str | None, lock: Lock, *, bypass: bool = False) -> None:
        """See `Locks.put`."""
        bucket = self._bucket
        place: Any = bucket.place(key) | ({"VersionId": version_id} if version_id is not None else {})
        with translated(bucket.where(key)):
            if lock.until is not None:
                retention: Any = {"Mode": lock.mode or LockMode.GOVERNANCE, "RetainUntilDate": lock.until}
                more: Any = {"BypassGovernanceRetention": True} if bypass else {}
                bucket.client.put_object_retention(**place, Retention=retention, **more)
            if lock.legal_hold is not None:
                hold: Any = {"Status": "ON" if lock.legal_hold else "OFF"}
                bucket.client.put_object_legal_hold(**place, LegalHold=hold)


def unshown_locks(bucket: "Bucket", key: str, shown: Mapping[str, Any]) -> dict[str, Any]:
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


def _has_object_lock(bucket: "Bucket") -> bool | None:
    """None where the credentials may not see that."""
    try:
        answer: Any = bucket.client.get_object_lock_configuration(Bucket=bucket.name)
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in _DENIED:
            return None
        if code in _NONE:
            return False
        raise
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _lock_of(bucket: "Bucket", key: str, request: str, place: Mapping[str, Any]) -> Any:
    try:
        return getattr(bucket.client, request)(**place)
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code in (*_NONE, "NoSuchObjectLockConfiguration"):
            return {}
        if code in _DENIED:
            raise RefusedError(
                f"{bucket.where(key)} may be locked, and the store does not show how: its copy would have no lock",
                next_step="allow s3:GetObjectRetention and s3:GetObjectLegalHold",
            ) from error
        raise


def as_headers(lock: Lock | None) -> dict[str, Any]:
    """The parameters of a new object that is locked from its beginning."""
    if lock is None:
        return {}
    found: dict[str, Any] = {}
    if lock.until is not None:
        found |= {"ObjectLockMode": lock.mode or LockMode.GOVERNANCE, "ObjectLockRetainUntilDate": lock.until}
    if lock.legal_hold:
        found["ObjectLockLegalHoldStatus"] = "ON"
    return found
