"""Where archives live: `s3://bucket/prefix` on any S3-compatible endpoint, or `file:///directory`."""

import re
from collections.abc import Callable

from mgmt.errors import ConfigurationError
from mgmt.storage.etags import has_etag
from mgmt.storage.keys import ARN, OWN, check_key, is_key, key_for
from mgmt.storage.store import (
    OPERATION,
    PROBE,
    Attributes,
    Capabilities,
    KeyVersions,
    Lock,
    ObjectStore,
    PendingUpload,
    Sent,
    StoredObject,
    StoreOptions,
    Transfer,
    Upload,
    trusted,
)
from mgmt.words import shell_word

__all__ = [
    "OPERATION",
    "OWN",
    "PROBE",
    "Attributes",
    "Capabilities",
    "KeyVersions",
    "Lock",
    "ObjectStore",
    "PendingUpload",
    "Sent",
    "StoreOptions",
    "StoredObject",
    "Transfer",
    "Upload",
    "check_key",
    "has_etag",
    "is_key",
    "key_for",
    "open_store",
    "trusted",
]


def open_store(
    url: str,
    options: StoreOptions | None = None,
    *,
    recall: Callable[[str], Capabilities | None] = lambda _: None,
    on_probed: Callable[[str, Capabilities], None] | None = None,
    before_removal: Callable[[], None] = lambda: None,
) -> ObjectStore:
    """Open the store that `url` names: `s3://bucket[/prefix]` or `file:///directory`. Nothing is requested yet.

    The path after `file://` is taken literally, without percent-decoding. `recall` returns what an earlier run has
    found out about an endpoint, which saves the probe; `on_probed` is called with an endpoint and what was found out
    about it, to remember it. Both get the URL of the endpoint that is really used, wherever it was set.
    `before_removal` is called just before anything is removed from the store, and may raise to prevent it.

    Raises ConfigurationError when the URL, the profile or the endpoint cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file":
        return _open_directory(url, rest, before_removal)
    if separator and scheme == "s3":
        bucket, prefix = _split(url, rest.rstrip("/"))

        from mgmt.storage.s3 import connect  # boto3 takes half a second to import
        from mgmt.storage.s3_store import S3Store

        options = options or StoreOptions()
        connected = connect(bucket, prefix, options)
        return S3Store(
            connected,
            options,
            capabilities=recall(connected.endpoint),
            on_probed=on_probed,
            before_removal=before_removal,
        )
    raise _unusable(url, "it must begin with s3:// or file:///")


def _split(url: str, path: str) -> tuple[str, str]:
    """The bucket, or the ARN that stands for one, and the prefix."""
    access_point = ARN.match(path)
    bucket = access_point[0] if access_point else path.partition("/")[0]
    prefix = path.removeprefix(bucket)
    if not (access_point or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket)):
        raise _unusable(url, f"{bucket!r} is not a bucket name")
    if not re.fullmatch(r"(/[^/]+)*", prefix):
        proper = "/".join(filter(None, [bucket, *prefix.split("/")]))
        raise _unusable(
            url, "its prefix has an empty part (//)", next_step=f"write it as {shell_word(f's3://{proper}')}"
        )
    if prefix:
        check_key(prefix[1:])
    return bucket, prefix[1:]


def _open_directory(url: str, path: str, before_removal: Callable[[], None]) -> ObjectStore:
    from mgmt.storage.directory import DirectoryStore

    if not path.startswith("/"):
        raise _unusable(url, "a directory store requires an absolute path: file:///directory")
    if "\0" in path or not path.strip("/"):
        raise _unusable(url, "not a usable directory")
    return DirectoryStore(path, before_removal)


def _unusable(url: str, why: str, next_step: str = "mgmt config set store s3://bucket/prefix") -> ConfigurationError:
    return ConfigurationError(f"cannot use {url!r} as a store: {why}", next_step=next_step)
