"""What an S3 service says when it will not, in mgmt's words: one line, with what to do next, and never a secret."""

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
    """The endpoint does not know, or does not take, what the request carries."""


def refusal(code: str, status: int, said: str, where: str) -> MgmtError:
    """The error for an answer with S3's error `code`, HTTP `status` and text, to a request about `where`."""
    if code == "NoSuchBucket":
        return StoreError(
            f"there is no such bucket: {where}", next_step="create it, or: mgmt config set store s3://BUCKET"
        )
    if code in _ABSENT:
        return NotFoundError(f"the store has no {where}" + (" under way" if code == "NoSuchUpload" else ""))
    if code in _TAKEN:
        return ConflictError(f"{where} exists already, or is being written by another")
    if code == "InvalidObjectState":
        return NotReadyError(f"{where} is frozen", next_step="ask for it to be thawed, and try again when it is")
    if code in _DAMAGED:
        return IntegrityError(f"the store refused {where}: {_one_line(said) or code}")
    if code in _EXPIRED:
        return StoreError(f"the credentials for {where} have expired", next_step="aws sso login, or renew them")
    if code in _UNKNOWN:
        return StoreError(f"the store does not accept the credentials for {where}", next_step=CREDENTIALS_STEP)
    if code in _DENIED:
        return StoreError(
            f"the credentials do not allow this on {where}",
            next_step="allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject,"
            " s3:AbortMultipartUpload on its objects",
        )
    if code in _ELSEWHERE:
        return StoreError(f"{where} is in another region", next_step="mgmt config set region REGION")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"the clock is wrong: the store refused {where}", next_step="set the clock of this machine")
    if code in _BUSY or status == 429 or (status >= 500 and status != 501):
        return StoreUnavailableError(f"the store is busy or in trouble ({code}): {where}", next_step="try again later")
    message = f"the store refused {where}: {code} {_one_line(said)}".rstrip()
    return UnsupportedError(message) if code in _UNSUPPORTED or status == 501 else StoreError(message)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
