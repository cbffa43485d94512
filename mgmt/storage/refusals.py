"""Error answers of S3, translated to the errors of mgmt: one line with the store's own words, and the next step.

An error is `StoreUnavailableError`, and so `retryable`, only where the same request may succeed later.
"""

import re

from mgmt.errors import (
    ConflictError,
    IntegrityError,
    MgmtError,
    NotFoundError,
    NotReadyError,
    StoreError,
    StoreUnavailableError,
)

CREDENTIALS_STEP = "aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
PERMISSIONS_STEP = (
    "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on"
    " its objects"
)
_KEY_STEP = "allow kms:GenerateDataKey and kms:Decrypt on the encryption key, and check that the key is enabled"
_SPACE_STEP = "free space in the store, or raise the cap or quota of the account"
_LATER = "try again later"

_ABSENT = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_DAMAGED = {
    "BadDigest",
    "InvalidDigest",
    "InvalidPart",
    "InvalidRange",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_BUSY = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "OperationAborted"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
_UNKNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"}
UNSUPPORTED = {"NotImplemented", "InvalidRequest", "InvalidArgument", "MalformedXML"}
"""Codes by which endpoints refuse a header or parameter that they do not know."""

_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "308"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
_NOT_BUSY = (501, 505, 507)
"""Statuses above 500 that another attempt does not change."""

_ROUTINE = re.compile(
    r"(access denied|forbidden|not found|bad request|moved permanently|permanent redirect|temporary redirect|"
    r"internal server error|service unavailable|insufficient storage|unknown)\W*",
    re.IGNORECASE,
)
"""Words that say no more than the code."""


class UnsupportedError(StoreError):
    """The endpoint does not support something in the request."""


def refusal(code: str, status: int, message: str, where: str) -> MgmtError:
    """The error for an answer with the S3 error `code`, HTTP `status` and `message`, to a request about `where`."""
    words = one_line(message)
    why = f": {words}" if words and not _ROUTINE.fullmatch(words) else ""
    if code == "NoSuchBucket":
        return StoreError(
            f"bucket does not exist: {where}", next_step="create it, or: mgmt config set store s3://BUCKET"
        )
    if code in _ABSENT:
        what = "no upload of " if code == "NoSuchUpload" else "no "
        return NotFoundError(f"the store has {what}{where}")
    if code in _TAKEN:
        return ConflictError(f"{where} already exists, or is being written concurrently")
    if code == "InvalidObjectState":
        return NotReadyError(f"{where} is frozen", next_step="request a restore, and try again when it is complete")
    if code in _DAMAGED:
        return IntegrityError(f"the store rejected {where}: {words or code}")
    if code in _EXPIRED:
        return StoreError(f"the credentials for {where} have expired", next_step="aws sso login, or renew them")
    if code in _UNKNOWN:
        return StoreError(f"the store rejected the credentials for {where}", next_step=CREDENTIALS_STEP)
    if code in _FULL or status == 507:
        return StoreError(f"the store is full: {where}{why or f' ({code})'}", next_step=_SPACE_STEP)
    if code.startswith("KMS."):
        return StoreError(f"the store cannot use the encryption key of {where}: {words or code}", next_step=_KEY_STEP)
    if code in _DENIED:
        return StoreError(f"access denied: {where}{why}", next_step=_denied_step(words))
    if code in _ELSEWHERE:
        return StoreError(f"{where} is in another region{why}", next_step="mgmt config set region REGION")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"the clock is wrong: the store rejected {where}", next_step="set the clock of this machine")
    if status == 307:
        return StoreUnavailableError(f"the store redirects requests for the moment: {where}{why}", next_step=_LATER)
    if code in _BUSY or status == 429 or (status >= 500 and status not in _NOT_BUSY):
        return StoreUnavailableError(f"the store is busy or failing ({code}): {where}{why}", next_step=_LATER)
    text = f"the store rejected {where}: {code} {words}".rstrip()
    return UnsupportedError(text) if code in UNSUPPORTED or status == 501 else StoreError(text)


def _denied_step(words: str) -> str:
    if re.search(r"\bkms\b", words, re.IGNORECASE):
        return _KEY_STEP
    return _SPACE_STEP if re.search(r"\b(cap|quota)\b", words, re.IGNORECASE) else PERMISSIONS_STEP


def one_line(text: str) -> str:
    """`text` of the store for a message: printable, without line breaks, at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
