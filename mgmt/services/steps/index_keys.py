"""The keys of indexes in a store."""

SUFFIX = ".index.jsonl.gz"

OPERATION = "mgmt-operation"
"""The metadata key under which an archive carries its id: that of the operation that began it."""


def index_key(key: str, operation_id: str) -> str:
    """The key of the index that the operation `operation_id` wrote for the archive `key`."""
    return f"{key}.{operation_id.replace('-', '')[:12]}{SUFFIX}"


def archive_key(key: str) -> str:
    """The key of the archive that the index at `key` describes."""
    return key.removesuffix(SUFFIX).rpartition(".")[0]
