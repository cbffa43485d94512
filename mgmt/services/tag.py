"""Change the tags of an archive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mgmt.catalog import FileRecord, Role, TagRecord
from mgmt.errors import ConfigurationError, RefusedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.tagging import AFTER, BEFORE, SYNCED, finish
from mgmt.storage.object_tags import check_object_tags


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOptions:
    """The tags to set, and those to remove; with `sync`, the object in the store gets the same tags."""

    tags: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()
    sync: bool = False


def tag(name: str, options: TagOptions, context: Context) -> TagRecord:
    """Change the tags of the archive that `name` means; return the finished record.

    An interrupted change is finished. A tag to remove that it has not is no error. Raises ConfigurationError for tags
    that S3 refuses to store, before anything is changed.
    """
    archive, record = _found(name, context)
    asked = TagRecord(
        target_path=archive.url,
        target_name=archive.key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
    )
    _changed(archive, record, options)
    claim = archive.url if record.digest is None else content_claim(record.digest)
    with context.catalog.journal.record(asked, claim=claim) as change:
        # What an interrupted run has told the store is told again, with what is asked now.
        sync = options.sync or bool(change.details.get(SYNCED))
        journal = context.catalog.journal
        journal.link(change, record, Role.ARCHIVE)
        after = _changed(archive, record, options)
        if change is not asked:
            change.command_args = dict(context.command_args)
        change.details = {**change.details, BEFORE: dict(record.tags), AFTER: after, SYNCED: sync}
        journal.checkpoint()
        finish(change, record, archive.store if sync else None, context)
    return change


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change of tags would do."""

    type: str = "preview"
    object: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    synced: bool


def preview(name: str, options: TagOptions, context: Context) -> Preview:
    """What `tag` would do with `name`, refusals included; changes nothing."""
    archive, record = _found(name, context)
    after = _changed(archive, record, options)
    return Preview(object=archive.url, before=dict(record.tags), after=after, synced=options.sync)


def _found(name: str, context: Context) -> tuple[Archive, FileRecord]:
    archive = find_archive(name, context, strictly=True)
    if archive.record is None:
        raise RefusedError(f"{archive.url} is in no record that could have tags", next_step="mgmt db rebuild")
    return archive, archive.record


def _changed(archive: Archive, record: FileRecord, options: TagOptions) -> dict[str, str]:
    """The tags that the archive gets. Raises ConfigurationError, or RefusedError where objects have none."""
    if both := [each for each in options.remove if each in options.tags]:
        raise ConfigurationError(f"tag {both[0]!r} is to be set and removed", next_step="mgmt tag --help")
    after = {key: value for key, value in record.tags.items() if key not in options.remove} | dict(options.tags)
    if options.sync:
        if not str(record.store).startswith("s3://"):
            raise RefusedError(
                f"{archive.url} is in a directory, whose objects have no tags",
                next_step="mgmt tag NAME ...\n# without --sync-tags: in the catalog only",
            )
        check_object_tags(after)
    return after
