"""The names of archives in a store (docs/format.md, "Keys")."""

import re
from urllib.parse import quote_from_bytes

from mgmt.errors import ConfigurationError

MAX_KEY_BYTES = 900
OWN = ".mgmt"
"""The first part of the keys that mgmt uses itself, which hold no archives."""

ANCHORS = f"{OWN}/anchors/"
HISTORY = f"{OWN}/history/"
SUFFIX = ".tar.gz"

ARN = re.compile(r"arn:aws[a-z-]*:s3:[a-z0-9-]*:[0-9]{12}:accesspoint[/:][A-Za-z0-9.-]+")
"""The Amazon resource name of an access point, which can stand for a bucket."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ENCODED = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")


def check_key(key: str) -> str:
    """Return `key` if every store can hold it under exactly that name; otherwise raise ConfigurationError."""
    problem = _problem(key)
    if problem:
        raise ConfigurationError(f"cannot use {key!r} as a key: {problem}", next_step="choose another with --key")
    return key


def is_key(key: str) -> bool:
    """Whether `check_key` accepts it."""
    return _problem(key) is None


def is_arn(bucket: str) -> bool:
    """Whether `bucket` is an access point of Amazon."""
    return ARN.fullmatch(bucket) is not None


def key_for(name: str) -> str:
    """The key of the archive of an original called `name` (one path component, as `os.fsdecode` gives it).

    Bytes that are not allowed in a key are percent-encoded, and so is a `%` that looks like such an encoding: different
    names have different keys. Raises ConfigurationError when the key would be too long.
    """
    return check_key(
        _ENCODED.sub(lambda match: quote_from_bytes(match[0].encode("utf-8", "surrogateescape"), ""), name) + SUFFIX
    )


def _problem(key: str) -> str | None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if length > MAX_KEY_BYTES:
        return f"it has {length} bytes, and the limit is {MAX_KEY_BYTES}"
    if any(part in {"", ".", ".."} for part in key.split("/")):
        return "it has an empty part, or one that is . or .."
    if key.split("/")[0].casefold() == OWN:
        return f"{OWN} is reserved for mgmt"
    if "\\" in key:
        return "it has a backslash"
    if _CONTROL.search(key):
        return "it has a control character"
    return None
