"""How to replace an archive that is lost or damaged, from what else holds its content."""

from mgmt.catalog import FileRecord
from mgmt.errors import IntegrityError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies
from mgmt.services.steps.local_files import host
from mgmt.services.steps.resolve import Archive
from mgmt.words import shell_word


def how_to_replace(archive: Archive, context: Context) -> str | None:
    """The commands that replace `archive`, which is missing or damaged, with one of the same content.

    They remove it only after another copy is proven, and store the copy as an archive of its own under the same key.
    The copy is compared now, so that they name one that holds the content. Returns None when there is none here.
    """
    record = archive.record
    if record is None or record.digest is None:
        return None
    key, store = shell_word(archive.key), shell_word(archive.store.url)
    url = shell_word(archive.store.location(archive.key))
    kept = "".join(f" --{each}" for each in ("owners", "xattrs") if f"{each}:" in (record.kept or ""))
    try:
        copy = next(Copies(context).others(archive), None)
    except IntegrityError:  # nothing says what it kept, so nothing can be compared with it
        return None
    if copy is not None:
        if copy.holds_original:
            again = f"mgmt --store {store} upload --keep --key {key}{kept} {shell_word(copy.where)}"
            return f"mgmt delete {url} && {again}"
        if copy.is_archive:
            return f"mgmt download {shell_word(copy.where)}\n# then: mgmt verify {url}"
        return f"tar -xzf {shell_word(copy.where)}\n# then: mgmt delete {url}, and upload it with --keep --key {key}"
    for elsewhere in context.catalog.metadata.copies_of(record.digest):
        if elsewhere.host != host():
            path = shell_word(elsewhere.path)
            return f"mgmt verify {url}\n# on {shell_word(str(elsewhere.host))}, which may still have {path}"
    return None


def without_another_copy(archive: FileRecord, *, is_missing: bool) -> str:
    """What to do about an archive of which no other copy is recorded."""
    url = shell_word(f"{archive.store}/{archive.s3_object_key}")
    if is_missing:
        return f"mgmt delete --last-copy {url}\n# if it is lost for good: no other copy is recorded"
    return (
        f"mgmt verify {url}\n# after you have restored the object from a backup of the store: no other copy is recorded"
        f"\n# or, if it is lost for good: mgmt delete --last-copy {url}"
    )
