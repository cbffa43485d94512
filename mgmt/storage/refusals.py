"""Error answers of S3, translated to the errors of mgmt: one line, the next step, and never a secret."""

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
_UNSUPPORTED = {"NotImplemented", "InvalidRequest", "InvalidArgument", "MalformedXML"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}


class UnsupportedError(StoreError):
    """The endpoint does not support something in the request."""


def refusal(code: str, status: int, message: str, where: str) -> MgmtError:
    """The error for an answer with the S3 error `code`, HTTP `status` and `message`, to a request about `where`."""
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
        return IntegrityError(f"the store rejected {where}: {_one_line(message) or code}")
    if code in _EXPIRED:
        return StoreError(f"the credentials for {where} have expired", next_step="aws sso login, or renew them")
    if code in _UNKNOWN:
        return StoreError(f"the store rejected the credentials for {where}", next_step=CREDENTIALS_STEP)
    if code in _DENIED:
        return StoreError(
            f"access denied: {where}",
            next_step="allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject,"
            " s3:AbortMultipartUpload on its objects",
        )
    if code in _ELSEWHERE:
        return StoreError(f"{where} is in another region", next_step="mgmt config set region REGION")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"the clock is wrong: the store rejected {where}", next_step="set the clock of this machine")
    if code in _BUSY or status == 429 or (status >= 500 and status != 501):
        return StoreUnavailableError(f"the store is busy or failing ({code}): {where}", next_step="try again later")
    text = f"the store rejected {where}: {code} {_one_line(message)}".rstrip()
    return UnsupportedError(text) if code in _UNSUPPORTED or status == 501 else StoreError(text)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
