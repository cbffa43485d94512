"""Changing the tags of an archive: in the catalog, and with its object if that is asked for.

The record of the change has the tags `before` and `after`, and whether they are `synced` with the object. It is on disk
before the store is told anything, so an interrupted change is finished from it.
"""

from mgmt.catalog import FileRecord, Role, Status, TagRecord
from mgmt.services.steps.context import Context
from mgmt.services.steps.proof import still_there
from mgmt.storage import ObjectStore

BEFORE, AFTER, SYNCED = "before", "after", "synced"


def finish(change: TagRecord, archive: FileRecord, store: ObjectStore | None, context: Context) -> None:
    """Give the archive the tags that `change` has; with `store`, its object first. May be called again.

    Raises ProblemError when the key of the archive holds another one.
    """
    after = dict(change.details[AFTER])
    if store is not None:
        store.tag(still_there(store, archive).key, after)
    with context.catalog.transaction():
        archive.tags = after
        context.catalog.metadata.save_file_record(archive)
        context.catalog.journal.close(change)


def settle(change: TagRecord, context: Context) -> str:
    """Finish an interrupted change; return what was done."""
    for archive, role in context.catalog.metadata.files_of(change):
        if role == Role.ARCHIVE and AFTER in change.details:
            store = context.open_store(archive.store) if change.details.get(SYNCED) else None
            finish(change, archive, store, context)
            return "finished: the tags are changed"
    context.catalog.journal.close(change, Status.CANCELLED, "interrupted before anything was changed")
    return "undone: no tag was changed"
