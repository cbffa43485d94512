"""Connect to the endpoint that boto3 finds, with the settings of its own configuration: as `aws s3 ls` does."""

import logging
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ProfileNotFound

from mgmt.errors import ConfigurationError
from mgmt.storage.keys import is_arn
from mgmt.storage.refusals import CREDENTIALS_STEP
from mgmt.storage.s3_errors import NO_CREDENTIALS, credentials_error
from mgmt.storage.store import StoreOptions

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""Seconds without an answer before a request is retried."""

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")


def client_for(bucket: str, options: StoreOptions) -> "S3Client":
    """A client with the settings and credentials that boto3 finds. Nothing is requested yet.

    What the user has set for boto3 (files, profiles, variables) counts; the rest is chosen here. Raises
    ConfigurationError when a setting cannot be used, StoreError when credentials are not available.
    """
    try:
        own = botocore.session.Session(profile=options.profile)
        session = boto3.session.Session(botocore_session=own, region_name=options.region or _region())
        chosen = own.get_config_variable("s3") or {}
        s3: dict[str, Any] = {} if "payload_signing_enabled" in chosen else {"payload_signing_enabled": False}
        client = session.client("s3", endpoint_url=options.endpoint_url, config=_config(own, options, s3))
        if not _host(client.meta.endpoint_url).endswith(_AMAZON):
            if not (chosen.get("addressing_style") or is_arn(bucket)):
                s3 = {**s3, "addressing_style": "path"}  # few services have a host name for each bucket
            region, config = session.region_name or "us-east-1", _config(own, options, s3)
            client = session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=config)
    except ProfileNotFound as error:
        raise ConfigurationError(str(error), next_step="aws configure list-profiles") from error
    except NO_CREDENTIALS as error:
        raise credentials_error(f"s3://{bucket}", error) from None
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"boto3 cannot use its settings for s3://{bucket} ({type(error).__name__})",
            next_step="check endpoint_url, region and profile: mgmt config show; aws configure list",
        ) from None
    client.meta.events.register("before-send.s3", _log)
    return client


def _region() -> str | None:
    """The region of the environment as the AWS CLI reads it; boto3 itself knows AWS_DEFAULT_REGION only."""
    return os.environ.get("AWS_REGION") or None


def _config(own: "botocore.session.Session", options: StoreOptions, s3: Any) -> Config:
    """What is set here beats the user's own configuration, so `s3` has nothing that the user has set."""
    mode: Any = os.environ.get("AWS_RETRY_MODE") or own.get_scoped_config().get("retry_mode")
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=max(32, 2 * options.threads),
        retries={"mode": mode or "standard"},
        request_checksum_calculation="when_required",  # mgmt adds a checksum to each request itself
        response_checksum_validation="when_required",
        s3=s3,
    )


def _log(request: "AWSPreparedRequest", **_: object) -> None:
    logger.debug("%s %s", request.method, request.url)  # never the headers, which are signed with the secret


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
