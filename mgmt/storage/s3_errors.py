"""What boto3 raises, translated to the errors of mgmt."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from mgmt.errors import StoreError, StoreUnavailableError
from mgmt.storage.refusals import CREDENTIALS_STEP, one_line, refusal

NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    SSOError,
)
_FOR_CREDENTIALS = ("AssumeRole", "GetRoleCredentials", "GetSessionToken", "GetFederationToken", "CreateToken")
"""The requests by which boto3 gets credentials, before the one that it was asked for."""

_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|certificate|hostname", re.IGNORECASE)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what boto3 raises about `where` into an error of mgmt, without its text, which may contain a secret."""
    try:
        yield
    except ClientError as error:
        raise _refused(error, where) from error
    except NO_CREDENTIALS as error:
        raise credentials_error(where, error) from None
    except SSLError as error:
        raise _insecure(error, where) from error
    except (ConnectionError, HTTPClientError, IncompleteReadError, HTTPError) as error:
        raise StoreUnavailableError(
            f"the store cannot be reached, or the connection was lost ({type(error).__name__}): {where}",
            next_step="check the network and endpoint_url, then run the same command again",
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"boto3 cannot make the request for {where} ({type(error).__name__})") from error
    except (ResponseParserError, ValueError, KeyError) as error:  # not XML, or no valid date or number, or no key
        raise unreadable(type(error).__name__, where) from error


def _refused(error: ClientError, where: str) -> Exception:
    details, answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode", 0)
    code, words = details.get("Code") or str(status), details.get("Message") or ""
    if error.operation_name.startswith(_FOR_CREDENTIALS):
        return StoreError(
            f"the credentials for {where} are not available: {error.operation_name} was refused:"
            f" {code} {one_line(words)}".rstrip(),
            next_step="check role_arn and source_profile of the profile: aws sts get-caller-identity",
        )
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if region is not None and status // 100 == 3:
        words = f"it is in {region}"
    return refusal(code, status, words, where)


def _insecure(error: SSLError, where: str) -> StoreError:
    """A certificate that is not trusted today is not trusted tomorrow; any other failure may be of the moment."""
    reason = one_line(str(error.kwargs.get("error", "")))
    if not _UNTRUSTED.search(reason):
        return StoreUnavailableError(
            f"the encrypted connection was lost: {where}: {reason}", next_step="run the same command again"
        )
    return StoreError(
        f"the certificate of the endpoint is not trusted: {where}: {reason}",
        next_step="set AWS_CA_BUNDLE to the file of its authority, or correct endpoint_url",
    )


def credentials_error(where: str, error: BotoCoreError) -> StoreError:
    """The error for credentials that boto3 did not find or could not get, without its text."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return StoreError(f"no credentials for {where}", next_step=CREDENTIALS_STEP)
    return StoreError(
        f"the credentials for {where} are not available ({type(error).__name__})", next_step="aws sso login"
    )


def check_stated(answer: Any, where: str, *fields: str) -> None:
    """Raise StoreUnavailableError when the headers of an answer are incomplete."""
    missing = [name for name in fields if name not in answer]
    if missing:
        raise unreadable(f"{missing[0]} is missing", where)


def unreadable(why: str, where: str) -> StoreUnavailableError:
    """The error for an answer that cannot be understood."""
    return StoreUnavailableError(
        f"invalid answer from the store ({why}): {where}", next_step="run the same command again"
    )
