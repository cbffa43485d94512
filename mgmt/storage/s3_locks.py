"""Requests about object lock: the retention and the legal hold of an object, and the default of its bucket."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from mgmt.choices import LockMode
from mgmt.errors import RefusedError
from mgmt.storage.s3_errors import translated
from mgmt.storage.store import Lock

if TYPE_CHECKING:
    from mgmt.storage.s3 import Bucket

NO_LOCKS = {
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

DENIED = {"AccessDenied", "403"}
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
                if code in DENIED:
                    return None
                if code not in NO_LOCKS:
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
