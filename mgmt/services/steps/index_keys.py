"""The keys of indexes in a store."""

import re

from mgmt.storage import OPERATION

__all__ = ["OPERATION", "SUFFIX", "archive_key", "archive_of", "index_key", "is_index_key"]

SUFFIX = ".index.jsonl.gz"
_INDEX = re.compile(rf".+\.[0-9a-f]{{12}}{re.escape(SUFFIX)}", re.DOTALL)


def index_key(key: str, operation_id: str) -> str:
    """The key of the index that the operation `operation_id` wrote for the archive `key`."""
    return f"{key}.{operation_id.replace('-', '')[:12]}{SUFFIX}"


def is_index_key(key: str) -> bool:
    """Whether mgmt may have stored an index under `key`: the suffix alone can be that of somebody else's object."""
    return _INDEX.fullmatch(key) is not None


def archive_of(key: str) -> str:
    """The key of the archive that the object at `key` is, or describes."""
    return archive_key(key) if is_index_key(key) else key


def archive_key(key: str) -> str:
    """The key of the archive that the index at `key` describes."""
    return key.removesuffix(SUFFIX).rpartition(".")[0]
