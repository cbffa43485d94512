"""Copies that a store was asked for, and may still be making when the process that asked is gone."""

from datetime import UTC, datetime

from mgmt.catalog import ClassRecord, FileRecord
from mgmt.errors import UnsettledError
from mgmt.services.steps.context import Context
from mgmt.services.steps.orphans import OLD
from mgmt.words import shell_word

ASKED = "copy_asked_for"
"""The detail that says that the store may have been asked for the copy."""
_UNSETTLED = "unsettled_since"
"""The detail that says when recover first found the archive not moved."""


def note_asked(change: ClassRecord) -> None:
    """Note that the store is asked for a copy from now on."""
    change.details = {name: each for name, each in change.details.items() if name != _UNSETTLED} | {ASKED: True}


def refuse_unsettled(change: ClassRecord, archive: FileRecord, context: Context) -> None:
    """Raise UnsettledError for a copy that the store may still be making: no process can stop it.

    It counts from when recover first found it so: only then is it sure that nothing asks for it any more.
    """
    if not change.details.get(ASKED):
        return
    now = datetime.now(UTC)
    since = datetime.fromisoformat(str(change.details.get(_UNSETTLED, now.isoformat())))
    if now - since >= OLD:
        return
    change.details = {**change.details, _UNSETTLED: since.isoformat()}
    context.catalog.journal.checkpoint()
    where = shell_word(f"{archive.store}/{archive.s3_object_key}")
    raise UnsettledError(
        f"left as it is: the store may still be copying it to {change.to_class}, until {since + OLD:%H:%M} UTC",
        next_step=f"mgmt class {where} {change.to_class}\n# finishes it",
    )
