"""The keys of indexes in a store."""

from mgmt.storage import OPERATION

__all__ = ["OPERATION", "SUFFIX", "archive_key", "index_key"]

SUFFIX = ".index.jsonl.gz"


def index_key(key: str, operation_id: str) -> str:
    """The key of the index that the operation `operation_id` wrote for the archive `key`."""
    return f"{key}.{operation_id.replace('-', '')[:12]}{SUFFIX}"


def archive_key(key: str) -> str:
    """The key of the archive that the index at `key` describes."""
    return key.removesuffix(SUFFIX).rpartition(".")[0]
