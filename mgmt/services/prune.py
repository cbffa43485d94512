"""Remove old operations from the catalog, after exporting them and verifying the export."""

import hashlib
import os
from typing import NamedTuple

from mgmt.catalog import Catalog, PruneRecord, RangeSet
from mgmt.catalog.audit.prune import Prunable, PruneFilter, export, read_export, remove
from mgmt.catalog.audit.prune import prunable as count_prunable
from mgmt.catalog.schema.backup import PARTIAL, new_file
from mgmt.errors import ConfigurationError, IntegrityError
from mgmt.paths import absolute
from mgmt.services.steps.context import Context
from mgmt.services.steps.scratch import scratch_folder


def prunable(which: PruneFilter, catalog: Catalog) -> list[Prunable]:
    """Count the operations that `prune` would remove, by type. Raises ConfigurationError for an unknown type."""
    return count_prunable(catalog.database, which)


def prune(which: PruneFilter, file: str | None, context: Context) -> PruneRecord:
    """Export the operations `which` to the new `file`, by default to the store, verify the export, and remove them.

    The whole history is checked against its seals first: pruned operations cannot be checked any more. The removal and
    the record of it are one transaction. Raises IntegrityError when the history does not match its seals or the export
    differs from what was written, ConflictError when `file` exists, ConfigurationError when it cannot be created,
    CatalogError when the login may not remove operations.
    """
    if file is not None and not os.access(folder := os.path.dirname(absolute(file)), os.W_OK):
        raise ConfigurationError(f"cannot create a file in {folder}", next_step="choose another file with --export")
    catalog = context.catalog
    catalog.audit.seal()
    record = PruneRecord(
        target_path=f"operations that finished before {which.before:%Y-%m-%dT%H:%M:%SZ}",
        target_name="operations",
        ended_before=which.before,
        command_args=dict(context.command_args),
    )
    try:
        with catalog.journal.record(record):
            context.progress.start("prune")
            for finding in catalog.audit.verification().findings():
                raise IntegrityError(
                    f"nothing was pruned: the history does not match its seals: {finding.detail}",
                    next_step="mgmt audit verify",
                )
            if file is not None:
                with new_file(file) as path:
                    found = _export(path + PARTIAL, which, record, catalog)
                record.result_path = path
            else:
                store = context.open_store(None)
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
        context.progress.stop()
    return record


class _Export(NamedTuple):
    """The export as re-read from disk."""

    numbers: RangeSet
    size: int
    sha256: str


def _export(path: str, which: PruneFilter, record: PruneRecord, catalog: Catalog) -> _Export:
    """Write the export to `path` and re-read it from disk: only operations that it then holds may be removed."""
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
