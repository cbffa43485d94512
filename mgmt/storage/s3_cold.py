"""Requests about frozen objects: their restores (RestoreObject, and the header x-amz-restore of S3)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from mgmt.errors import RefusedError, StoreError, StoreUnavailableError
from mgmt.storage.refusals import one_line
from mgmt.storage.s3_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READABLE = re.compile(r'ongoing-request="false"')
_EXPIRY = re.compile(r'expiry-date="([^"]*)"')
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""Until when an object can be read whose store states no end of that."""


def expiry_of(header: str) -> datetime | None:
    """Until when a restored object can be read, according to x-amz-restore; None if it cannot be read."""
    if not _READABLE.search(header):
        return None
    stated = _EXPIRY.search(header)
    try:
        return parsedate_to_datetime(stated[1]).astimezone(UTC) if stated else FOREVER
    except ValueError:
        return FOREVER


def restore(client: "S3Client", place: Any, where: str, days: int, tier: str) -> bool:
    """See `ObjectStore.restore`; `place` is the bucket and the key, `where` its URL."""
    request: Any = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
    with translated(where):
        try:
            client.restore_object(**place, RestoreRequest=request)
        except ClientError as error:
            code, words = error.response["Error"].get("Code", ""), one_line(error.response["Error"].get("Message", ""))
            if code == "RestoreAlreadyInProgress":
                return False
            if code == "GlacierExpeditedRetrievalNotAvailable":
                next_step = "mgmt restore --tier Standard NAME"
                raise StoreUnavailableError(f"{where}: no capacity for {tier} now", next_step=next_step) from error
            if code in ("InvalidObjectState", "InvalidArgument", "MethodNotAllowed", "NotImplemented"):
                raise RefusedError(f"the store does not restore {where} ({tier}): {code} {words}".rstrip()) from error
            if code == "AccessDenied":
                next_step = "allow s3:RestoreObject on its objects"
                raise StoreError(f"access denied: the restore of {where}", next_step=next_step) from error
            raise
    return True
