"""The requests to S3-compatible services. With s3_object.py, the only module that uses boto3.

Every request raises errors of `mgmt.errors` only, and their messages contain no secret. The decisions between requests
are made in s3_store.py and multipart.py.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
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
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from mgmt.errors import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
)
from mgmt.storage.multipart import ListedPart
from mgmt.storage.publish import CHUNK
from mgmt.storage.refusals import CREDENTIALS_STEP, refusal
from mgmt.storage.store import PendingUpload, StoredObject, StoreOptions

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""Seconds without an answer before a request is retried."""

STANDARD = "STANDARD"
FROZEN_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    SSOError,
)
FIELD = {"crc64nvme": "ChecksumCRC64NVME", "sha256": "ChecksumSHA256", "md5": "ContentMD5"}


def connect(bucket: str, prefix: str, options: StoreOptions) -> "Bucket":
    """Connect with the settings and credentials that boto3 finds. Nothing is requested yet."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=max(32, 2 * options.threads),
        retries={"mode": "standard"},
        request_checksum_calculation="when_required",  # mgmt adds a checksum to each request itself
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False},
    )
    try:
        session = boto3.session.Session(profile_name=options.profile, region_name=options.region)
        client = session.client("s3", endpoint_url=options.endpoint_url, config=config)
        if not _host(client.meta.endpoint_url).endswith((".amazonaws.com", ".amazonaws.com.cn")):
            config = config.merge(Config(s3={"payload_signing_enabled": False, "addressing_style": "path"}))
            region = session.region_name or "us-east-1"
            client = session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=config)
    except ProfileNotFound as error:
        raise ConfigurationError(str(error), next_step="aws configure list-profiles") from error
    except _NO_CREDENTIALS as error:
        raise _credentials_error(f"s3://{bucket}", error) from None
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"boto3 cannot use its settings for s3://{bucket} ({type(error).__name__})",
            next_step="check endpoint_url, region and profile: mgmt config show; aws configure list",
        ) from None
    client.meta.events.register("before-send.s3", _log)
    return Bucket(client, bucket, prefix)


def _log(request: "AWSPreparedRequest", **_: object) -> None:
    logger.debug("%s %s", request.method, request.url)  # never the headers, which are signed with the secret


class Bucket:
    """A bucket below a prefix. No request leaves the prefix."""

    def __init__(self, client: "S3Client", name: str, prefix: str) -> None:
        self.name = name
        self.url = f"s3://{name}/{prefix}".rstrip("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = client
        self.conditional = True
        """Whether the endpoint supports If-None-Match, as far as is known."""

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

    def head(self, key: str) -> StoredObject:
        """Raise NotFoundError when the key does not exist."""
        answer = self._ask(key)
        storage_class = str(answer.get("StorageClass", STANDARD))
        restore = answer.get("Restore", "")
        thawed = 'ongoing-request="false"' in restore
        check_stated(answer, self.where(key), "ContentLength", "ETag", "LastModified")
        return StoredObject(
            key=key,
            size=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            storage_class=storage_class,
            last_modified=answer["LastModified"].astimezone(UTC),
            metadata={
                name.lower(): unquote(value, errors="surrogateescape") for name, value in answer["Metadata"].items()
            },
            frozen=(storage_class in FROZEN_CLASSES or "ArchiveStatus" in answer) and not thawed,
            thawing='ongoing-request="true"' in restore,
            locked_until=answer.get("ObjectLockRetainUntilDate"),
        )

    def checksums(self, key: str) -> tuple[int, dict[str, str]]:
        """The size of an object, and the checksums that the store states, by algorithm.

        "md5" is the ETag, omitted where encryption changes it (SSE-KMS, SSE-C).
        """
        answer = self._ask(key, ChecksumMode="ENABLED")
        check_stated(answer, self.where(key), "ContentLength", "ETag")
        stated = {name: answer[FIELD[name]] for name in ("crc64nvme", "sha256") if FIELD[name] in answer}
        if "SSECustomerAlgorithm" not in answer and not answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            stated["md5"] = answer["ETag"].strip('"')
        return answer["ContentLength"], stated

    def _ask(self, key: str, **more: Any) -> Any:
        """HEAD. Its answer has no body, so the reason for an error comes from another request."""
        with translated(self.where(key)):
            try:
                return self.client.head_object(**self.place(key), **more)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403):
                    self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix + key, MaxKeys=1)
                raise

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """In the order of the service. `frozen` depends on the storage class only."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + prefix)
        with translated(self.url):
            for page in pages:
                for entry in page.get("Contents", []):
                    storage_class = str(entry.get("StorageClass", STANDARD))
                    yield StoredObject(
                        key=entry["Key"].removeprefix(self.prefix),
                        size=entry["Size"],
                        etag=entry["ETag"].strip('"'),
                        storage_class=storage_class,
                        last_modified=entry["LastModified"].astimezone(UTC),
                        frozen=storage_class in FROZEN_CLASSES,
                    )

    def get(self, key: str, start: int, end: int, etag: str | None) -> tuple[str, Iterator[bytes]]:
        """Bytes `start` to `end` (exclusive) in chunks, and the ETag of the object, which must be `etag` if given.

        Raises IntegrityError when there are fewer bytes, or the object was replaced; the chunks raise
        StoreUnavailableError when they end early.
        """
        where = self.where(key)
        condition: dict[str, Any] = {} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            with translated(where):
                answer = self.client.get_object(**self.place(key), Range=f"bytes={start}-{end - 1}", **condition)
        except ConflictError as error:
            raise IntegrityError(f"{where} is not the recorded object") from error
        check_stated(answer, where, "ContentLength", "ETag")
        found, given = answer["ETag"].strip('"'), answer.get("ContentRange", "everything")
        problem = None
        if etag not in {None, found}:  # not every endpoint supports If-Match
            problem = "it is not the recorded object"
        elif not given.startswith(f"bytes {start}-{end - 1}/") or answer["ContentLength"] != end - start:
            problem = f"requested bytes {start}-{end - 1}, received {given}"
        if problem is not None:
            answer["Body"].close()
            raise IntegrityError(f"{where}: {problem}")
        return found, _chunks(where, answer["Body"])

    def delete(self, key: str) -> None:
        """Remove one object, if it exists. In a versioned bucket the older version remains."""
        try:
            with suppress(NotFoundError), translated(self.where(key)):
                self.client.delete_object(**self.place(key))
        except StoreUnavailableError:  # the answer may be lost although the object is gone
            with suppress(NotFoundError):
                self.head(key)
                raise

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """Multipart uploads that were neither completed nor aborted, with the size of each."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.name, Prefix=self.prefix + prefix
        )
        with (
            translated(self.url),
            suppress(self.client.exceptions.NoSuchUpload),
        ):  # rclone reports this when there are none
            for page in pages:
                for upload in page.get("Uploads", []):
                    key, upload_id = upload["Key"].removeprefix(self.prefix), upload["UploadId"]
                    try:
                        sizes = {part.number: part.size for part in self.stored_parts(key, upload_id, None)}
                    except NotFoundError:
                        continue  # it ended concurrently
                    begun = upload["Initiated"].astimezone(UTC) if "Initiated" in upload else None
                    yield PendingUpload(key, upload_id, begun, sum(sizes.values()))

    def stored_parts(self, key: str, upload_id: str, algorithm: str | None) -> Iterator[ListedPart]:
        """The parts of a pending upload. Some servers list a part twice if it was sent twice."""
        pages = self.client.get_paginator("list_parts").paginate(**self.place(key), UploadId=upload_id)
        with translated(self.where(key)):
            for page in pages:
                for part in page.get("Parts", []):
                    listed: Any = part.get(FIELD.get(algorithm or "", ""))
                    yield ListedPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'), listed)

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
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] != 501:
                        raise
            request()
            self.conditional = False


def _host(endpoint_url: str) -> str:
    """The host of a URL. Raises ConfigurationError if it contains credentials, ValueError if it is not a URL."""
    if "@" in endpoint_url:
        raise ConfigurationError(
            "the endpoint URL contains credentials; they belong in the files or variables of boto3",
            next_step=CREDENTIALS_STEP,
        )
    parts = urlsplit(endpoint_url)
    if parts.hostname is None or parts.port == 0:
        raise ValueError(endpoint_url)
    return parts.hostname


def check_stated(answer: Any, where: str, *fields: str) -> None:
    """Raise StoreUnavailableError when the headers of an answer are incomplete."""
    missing = [name for name in fields if name not in answer]
    if missing:
        raise _unreadable(f"{missing[0]} is missing", where)


def _unreadable(why: str, where: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"invalid answer from the store ({why}): {where}", next_step="run the same command again"
    )


def _chunks(where: str, body: Any) -> Iterator[bytes]:
    with translated(where), closing(body):
        while chunk := body.read(CHUNK):
            yield chunk


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what boto3 raises about `where` into an error of mgmt, without its text, which may contain a secret."""
    try:
        yield
    except ClientError as error:
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise refusal(details.get("Code", ""), status, details.get("Message", ""), where) from error
    except _NO_CREDENTIALS as error:
        raise _credentials_error(where, error) from None
    except (ConnectionError, HTTPClientError, IncompleteReadError, HTTPError) as error:
        raise StoreUnavailableError(
            f"the store cannot be reached, or the connection was lost ({type(error).__name__}): {where}",
            next_step="check the network and endpoint_url, then run the same command again",
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"boto3 cannot make the request for {where} ({type(error).__name__})") from error
    except (ResponseParserError, ValueError) as error:  # not XML, or an invalid date or number
        raise _unreadable(type(error).__name__, where) from error


def _credentials_error(where: str, error: BotoCoreError) -> StoreError:
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return StoreError(f"no credentials for {where}", next_step=CREDENTIALS_STEP)
    return StoreError(
        f"the credentials for {where} are not available ({type(error).__name__})", next_step="aws sso login"
    )
