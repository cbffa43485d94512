"""What to do when a key is taken: the next free key, an error that says by what, or a note if by the same contents."""

from collections.abc import Mapping

from mgmt.catalog import Catalog, FileRecord, UploadRecord
from mgmt.errors import ConflictError
from mgmt.progress import Progress
from mgmt.storage import ObjectStore
from mgmt.words import shell_word


def next_key(wanted: str, taken: str) -> str:
    """`NAME-2.tar.gz`, `NAME-3.tar.gz`, ...: the one after `taken`."""
    stem = wanted.removesuffix(".tar.gz")
    number = int(taken.removesuffix(".tar.gz").removeprefix(f"{stem}-")) + 1 if taken != wanted else 2
    return f"{stem}-{number}.tar.gz"


def taken_by(store: ObjectStore, key: str, what: str) -> ConflictError:
    """The error for a `key` that already holds `what`."""
    return ConflictError(
        f"{store.location(key)} already holds {what}",
        next_step="mgmt upload --on-conflict rename ...\n# or: --key KEY",
    )


def taken_by_other_contents(
    record: UploadRecord, store: ObjectStore, key: str, known: FileRecord | None, catalog: Catalog
) -> ConflictError:
    """The error for a `key` that holds other contents than those of `record`; `known` is what is recorded of them."""
    made_by = catalog.metadata.get_operation(known.operation_id or "") if known is not None else None
    if not isinstance(made_by, UploadRecord) or not made_by.skipped_count:
        return taken_by(store, key, "other contents")
    if (made_by.target_path, made_by.host) != (record.target_path, record.host):
        return taken_by(store, key, "other contents")
    target, url = shell_word(str(record.target_path)), shell_word(store.location(key))
    return ConflictError(
        f"{store.location(key)} already holds an incomplete archive of it: {made_by.skipped_count} left out, "
        f"at {made_by.started_at:%Y-%m-%d %H:%M:%S} UTC",
        next_step=f"mgmt upload --on-conflict rename {target} && mgmt delete --last-copy {url}",
    )


def note_new_tags(key: str, known: FileRecord | None, tags: Mapping[str, str], progress: Progress) -> None:
    """Tell the user which `tags` the record of the archive at `key` gets, as nothing is stored again."""
    new = [f"{name}={value}" for name, value in tags.items() if known is None or known.tags.get(name) != value]
    if new:
        progress.note(f"note: the record of {key} gets the tags {', '.join(new)}; the stored object keeps its own")
