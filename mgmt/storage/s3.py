"""The requests that mgmt makes of S3, whoever serves it. The only module that knows boto3.

Every one of them raises errors of `mgmt.errors` only, in whose messages there is nothing that boto3 was told in
confidence. What is decided between requests is in s3_store.py and multipart.py.
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
"""How long a store may be silent before it is asked again."""

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
    """A client by boto3's own chain of settings and credentials. Nothing is requested yet."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=max(32, 2 * options.threads),
        retries={"mode": "standard"},
        request_checksum_calculation="when_required",  # each request carries a checksum of our own choice
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
    """A bucket below a prefix, which no request leaves."""

    def __init__(self, client: "S3Client", name: str, prefix: str) -> None:
        self.name = name
        self.url = f"s3://{name}/{prefix}".rstrip("/")
        self.prefix = prefix + "/" if prefix else ""
        self.client = client
        self.conditional = True
        """Until the endpoint takes without If-None-Match what it did not take with it."""

    def where(self, key: str) -> str:
        """The full URL of `key`."""
        return f"{self.url}/{key}"

    def place(self, key: str) -> dict[str, Any]:
        """Bucket and key, as boto3 wants them."""
        return {"Bucket": self.name, "Key": self.prefix + key}

    def check(self) -> None:
        """Raise StoreError when there is no such bucket."""
        try:
            with translated(self.url):
                self.client.head_bucket(Bucket=self.name)
        except NotFoundError as error:
            raise refusal("NoSuchBucket", 404, "", self.url) from error

    def clock(self) -> datetime | None:
        """The time that the endpoint puts on its answer, be it a refusal."""
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
        """Raise NotFoundError when there is no such key."""
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
        """The size of an object, and what the store says of its content: checksum by algorithm.

        "md5" is the ETag, left out where encryption makes it something else (SSE-KMS, SSE-C).
        """
        answer = self._ask(key, ChecksumMode="ENABLED")
        check_stated(answer, self.where(key), "ContentLength", "ETag")
        said = {name: answer[FIELD[name]] for name in ("crc64nvme", "sha256") if FIELD[name] in answer}
        if "SSECustomerAlgorithm" not in answer and not answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            said["md5"] = answer["ETag"].strip('"')
        return answer["ContentLength"], said

    def _ask(self, key: str, **more: Any) -> Any:
        """HEAD. The answer to it has no body: why it is refused is heard from a request that has one."""
        with translated(self.where(key)):
            try:
                return self.client.head_object(**self.place(key), **more)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403):
                    self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix + key, MaxKeys=1)
                raise

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """In the order of the service; frozen by class alone."""
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
        """Bytes `start` to `end` (exclusive) in chunks, and the ETag of their object: `etag`, if one is given.

        Raises IntegrityError when there are not that many, or the object is another; the chunks raise
        StoreUnavailableError when they end early.
        """
        where = self.where(key)
        condition: dict[str, Any] = {} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            with translated(where):
                answer = self.client.get_object(**self.place(key), Range=f"bytes={start}-{end - 1}", **condition)
        except ConflictError as error:
            raise IntegrityError(f"{where} is not the object that was recorded") from error
        check_stated(answer, where, "ContentLength", "ETag")
        found, given = answer["ETag"].strip('"'), answer.get("ContentRange", "everything")
        problem = None
        if etag not in {None, found}:  # not every endpoint knows If-Match
            problem = "it is not the object that was recorded"
        elif not given.startswith(f"bytes {start}-{end - 1}/") or answer["ContentLength"] != end - start:
            problem = f"bytes {start}-{end - 1} were asked for, and the store gave {given}"
        if problem is not None:
            answer["Body"].close()
            raise IntegrityError(f"{where}: {problem}")
        return found, _chunks(where, answer["Body"])

    def delete(self, key: str) -> None:
        """Remove one object, if it is there. In a versioned bucket the older version stays."""
        try:
            with suppress(NotFoundError), translated(self.where(key)):
                self.client.delete_object(**self.place(key))
        except StoreUnavailableError:  # the answer may be lost, and the object gone
            with suppress(NotFoundError):
                self.head(key)
                raise

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """Multipart uploads that were neither completed nor aborted, each with what it occupies."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.name, Prefix=self.prefix + prefix
        )
        with translated(self.url), suppress(self.client.exceptions.NoSuchUpload):  # rclone's word for "there is none"
            for page in pages:
                for upload in page.get("Uploads", []):
                    key, upload_id = upload["Key"].removeprefix(self.prefix), upload["UploadId"]
                    try:
                        sizes = {part.number: part.size for part in self.stored_parts(key, upload_id, None)}
                    except NotFoundError:
                        continue  # it ended meanwhile
                    begun = upload["Initiated"].astimezone(UTC) if "Initiated" in upload else None
                    yield PendingUpload(key, upload_id, begun, sum(sizes.values()))

    def stored_parts(self, key: str, upload_id: str, algorithm: str | None) -> Iterator[ListedPart]:
        """The parts of a pending upload. Some servers list a part that was sent twice, twice."""
        pages = self.client.get_paginator("list_parts").paginate(**self.place(key), UploadId=upload_id)
        with translated(self.where(key)):
            for page in pages:
                for part in page.get("Parts", []):
                    listed: Any = part.get(FIELD.get(algorithm or "", ""))
                    yield ListedPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'), listed)

    def abort(self, key: str, upload_id: str) -> None:
        """Remove a pending upload, if it is there."""
        with suppress(NotFoundError), translated(self.where(key)):
            self.client.abort_multipart_upload(**self.place(key), UploadId=upload_id)

    def unless_taken(self, key: str, request: Callable[..., object]) -> None:
        """`request(IfNoneMatch="*")`, or without it on an endpoint that says it does not implement that."""
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
    """The host of a URL. ConfigurationError when there are credentials in it, ValueError when it is no URL."""
    if "@" in endpoint_url:
        raise ConfigurationError(
            "there are credentials in the endpoint URL; they belong into boto3's own files or variables",
            next_step=CREDENTIALS_STEP,
        )
    parts = urlsplit(endpoint_url)
    if parts.hostname is None or parts.port == 0:
        raise ValueError(endpoint_url)
    return parts.hostname


def check_stated(answer: Any, where: str, *fields: str) -> None:
    """Raise StoreUnavailableError when a part of the answer's head is missing: it broke off."""
    missing = [name for name in fields if name not in answer]
    if missing:
        raise _unreadable(f"it states no {missing[0]}", where)


def _unreadable(why: str, where: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"the store's answer cannot be read ({why}): {where}", next_step="run the same command again"
    )


def _chunks(where: str, body: Any) -> Iterator[bytes]:
    with translated(where), closing(body):
        while chunk := body.read(CHUNK):
            yield chunk


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what boto3 raises about `where` into an error of mgmt's, without quoting it: it may quote a secret."""
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise refusal(said.get("Code", ""), status, said.get("Message", ""), where) from error
    except _NO_CREDENTIALS as error:
        raise _credentials_error(where, error) from None
    except (ConnectionError, HTTPClientError, IncompleteReadError, HTTPError) as error:
        raise StoreUnavailableError(
            f"the store cannot be reached, or broke off ({type(error).__name__}): {where}",
            next_step="check the network and endpoint_url, then run the same command again",
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"boto3 cannot ask for {where} ({type(error).__name__})") from error
    except (ResponseParserError, ValueError) as error:  # no XML, or what is no date or number where there must be one
        raise _unreadable(type(error).__name__, where) from error


def _credentials_error(where: str, error: BotoCoreError) -> StoreError:
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return StoreError(f"there are no credentials for {where}", next_step=CREDENTIALS_STEP)
    return StoreError(f"the credentials for {where} cannot be had ({type(error).__name__})", next_step="aws sso login")
