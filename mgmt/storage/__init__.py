"""Where archives live: `s3://bucket/prefix` on any S3-compatible endpoint, or `file:///directory`."""

import re
from collections.abc import Callable

from mgmt.errors import ConfigurationError
from mgmt.storage.keys import check_key, key_for
from mgmt.storage.store import (
    OPERATION,
    PROBE,
    Attributes,
    Capabilities,
    ObjectStore,
    PendingUpload,
    Sent,
    StoredObject,
    StoreOptions,
    Transfer,
    Upload,
)

__all__ = [
    "OPERATION",
    "PROBE",
    "Attributes",
    "Capabilities",
    "ObjectStore",
    "PendingUpload",
    "Sent",
    "StoreOptions",
    "StoredObject",
    "Transfer",
    "Upload",
    "check_key",
    "key_for",
    "open_store",
]


def open_store(
    url: str,
    options: StoreOptions | None = None,
    *,
    capabilities: Capabilities | None = None,
    on_probed: Callable[[Capabilities], None] | None = None,
    before_removal: Callable[[], None] = lambda: None,
) -> ObjectStore:
    """Open the store that `url` names: `s3://bucket[/prefix]` or `file:///directory`. Nothing is requested yet.

    The path after `file://` is taken literally, without percent-decoding. `capabilities`, when remembered from an
    earlier run, saves the probe; `on_probed` is called with what a probe has found, to remember it. `before_removal` is
    called just before anything is removed from the store, and may raise to prevent it.

    Raises ConfigurationError when the URL, the profile or the endpoint cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file":
        return _open_directory(url, rest, before_removal)
    if separator and scheme == "s3":
        bucket, _, prefix = rest.rstrip("/").partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket):
            raise _unusable(url, f"{bucket!r} is not a bucket name")
        if prefix:
            check_key(prefix)

        from mgmt.storage.s3 import connect  # boto3 takes half a second to import
        from mgmt.storage.s3_store import S3Store

        options = options or StoreOptions()
        return S3Store(
            connect(bucket, prefix, options),
            options,
            capabilities=capabilities,
            on_probed=on_probed,
            before_removal=before_removal,
        )
    raise _unusable(url, "it must begin with s3:// or file:///")


def _open_directory(url: str, path: str, before_removal: Callable[[], None]) -> ObjectStore:
    from mgmt.storage.directory import DirectoryStore

    if not path.startswith("/"):
        raise _unusable(url, "a directory store requires an absolute path: file:///directory")
    if "\0" in path or not path.strip("/"):
        raise _unusable(url, "not a usable directory")
    return DirectoryStore(path, before_removal)


def _unusable(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot use {url!r} as a store: {why}", next_step="mgmt config set store s3://bucket/prefix"
    )
