"""Take old operations out of the catalog, once they are in an export that is proven to hold them."""

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from mgmt.catalog import Catalog, PruneRecord, RangeSet
from mgmt.catalog.audit.prune import PruneFilter, export, read_export, remove
from mgmt.catalog.schema.backup import PARTIAL, new_file
from mgmt.errors import ConfigurationError, IntegrityError
from mgmt.paths import absolute
from mgmt.progress import Progress
from mgmt.services.steps.context import OpenStore
from mgmt.services.steps.scratch import scratch_folder


def prune(
    which: PruneFilter,
    file: str | None,
    *,
    open_store: OpenStore,
    catalog: Catalog,
    progress: Progress,
    command_args: Mapping[str, object],
) -> PruneRecord:
    """Export `which` operations to the new `file`, or without one into the store, prove that, and remove them.

    The whole history is held against its seals before, as nobody can do that with what is gone. What is removed is
    removed together with the record of it, or not at all. Raises IntegrityError when the history is not what was
    sealed, or the export not what was written, ConflictError when `file` exists, ConfigurationError when it cannot be
    made, CatalogError when the login may not remove operations.
    """
    if file is not None and not os.access(folder := os.path.dirname(absolute(file)), os.W_OK):
        raise ConfigurationError(f"no file can be made in {folder}", next_step="name another with --export")
    catalog.audit.seal()
    record = PruneRecord(
        target_path=f"operations that had ended by {which.before:%Y-%m-%dT%H:%M:%SZ}",
        target_name="operations",
        ended_before=which.before,
        command_args=dict(command_args),
    )
    try:
        with catalog.journal.record(record):
            progress.start("prune")
            for finding in catalog.audit.verification().findings():
                raise IntegrityError(
                    f"nothing is pruned, as the history is not what was sealed: {finding.detail}",
                    next_step="mgmt audit verify",
                )
            if file is not None:
                with new_file(file) as path:
                    found = _export(path + PARTIAL, which, record, catalog)
                record.result_path = path
            else:
                store = open_store(None)
                with scratch_folder() as folder:
                    found = _export(f"{folder}/export", which, record, catalog)
                    with open(f"{folder}/export", "rb") as data:
                        kept = store.keep(f"{record.operation_id}.jsonl.gz", data, size=found.size)
                record.result_path = store.location(kept.key)
            with catalog.transaction():
                remove(catalog.database, found.numbers)
                record.removed, record.removed_count = str(found.numbers), len(found.numbers)
                record.export_size, record.export_sha256 = found.size, found.sha256
                catalog.journal.close(record)
    finally:
        progress.stop()
    return record


class _Export(NamedTuple):
    """What the disk has."""

    numbers: RangeSet
    size: int
    sha256: str


def _export(path: str, which: PruneFilter, record: PruneRecord, catalog: Catalog) -> _Export:
    """Write the export to `path`, and read it again from the disk: only what it was seen to hold may be removed."""
    with open(path, "wb") as out:
        export(catalog.database, which, record, out)
        out.flush()
        os.fsync(out.fileno())
    with open(path, "rb") as written:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        numbers = read_export(written)
        written.seek(0)
        return _Export(numbers, os.path.getsize(path), hashlib.file_digest(written, "sha256").hexdigest())
