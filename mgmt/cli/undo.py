"""`mgmt undo`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.money import prices_of
from mgmt.cli.parameters import Command, confirm, dry_run, yes
from mgmt.cli.render import Column
from mgmt.errors import PartialError

if TYPE_CHECKING:
    from mgmt.catalog import UndoRecord
    from mgmt.services.undo import Part, Verbs

PLAN = (
    Column("ACTION", "action"),
    Column("TARGET", "target", "long"),
    Column("TO", "to", "long", leaves=1),
    Column("WHY", "why", "long"),
)
COLUMNS = (
    Column("STATUS", "status"),
    Column("TARGET", "target_path", "long"),
    Column("UNDONE", "undo_of", leaves=1),
    Column("ID", "operation_id", leaves=2),
)


@click.command("undo", cls=Command)
@click.argument("operation", metavar="ID")
@yes
@dry_run
@click.pass_obj
def command(app: App, operation: str, yes: bool, dry_run: bool) -> None:
    """Undo an operation.

    An uploaded original is moved back and its archive deleted, a deleted archive is brought back from the
    versions of its bucket or uploaded again from a copy, a freed copy is downloaded, a restored file is removed, a
    setting is set back. Nothing is overwritten, and no last copy is
    removed. What cannot be undone is refused with the reason.

    \b
    Example:
      mgmt undo 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11 -n
      mgmt undo 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11
    """
    from mgmt.services.undo import plan, undo

    context, verbs = app.context(), _verbs(app)
    earlier = app.catalog.metadata.undone_by(operation)
    if earlier is not None:
        app.progress.note(f"note: operation {operation} is undone already, by undo {earlier.operation_id}")
    if dry_run or not yes:
        parts = plan(operation, context, verbs)
        if dry_run:
            app.render.many(parts, PLAN, empty="nothing is left to undo")
            return
        if parts:
            confirm(f"Undo it: {'; '.join(map(_sentence, parts[:20]))}?", yes=yes)
    record = undo(operation, context, verbs)
    _show(app, record, () if earlier is not None else record.details.get("parts", ()))
    if record.status == "partial":
        raise PartialError(str(record.error_message), next_step=f"mgmt undo {operation} -n\n# what is left")


def _show(app: App, record: "UndoRecord", parts: "Sequence[Mapping[str, str]]") -> None:
    """Print what was done, and the record of that."""
    if app.render.for_people:
        for each in parts[:20]:
            why = f": {each['why']}" if "why" in each else ""
            app.render.line(f"{each['action']}  {each['target']}{_to(each.get('to'))}{why}")
    app.render.many([record], COLUMNS)


def _sentence(part: "Part") -> str:
    why = f" ({part.why})" if part.why is not None else ""
    return f"{part.action} {part.target}{_to(part.to)}{why}"


def _to(place: str | None) -> str:
    return f" -> {place}" if place is not None else ""


def _verbs(app: App) -> "Verbs":
    """The verbs that do the work of an undo."""
    from mgmt.services.delete import delete, preview
    from mgmt.services.download import download
    from mgmt.services.free import remove_copy
    from mgmt.services.ignore import ignore
    from mgmt.services.steps.plan import UploadOptions
    from mgmt.services.steps.thaw import ThawOptions
    from mgmt.services.undelete import undelete
    from mgmt.services.undo import Verbs
    from mgmt.services.upload import upload

    return Verbs(
        upload=upload,
        download=download,
        undelete=undelete,
        delete_archive=lambda name, context: delete(name, context, last_copy=False),
        foresee_deletion=lambda name, context, is_copied: preview(name, context, last_copy=is_copied),
        remove_copy=lambda copy, context, digest, compare: remove_copy(copy, context, digest=digest, compare=compare),
        ignore=lambda key, context, undo: ignore(key, context, undo=undo),
        options=lambda: UploadOptions.from_settings(app.settings),
        thaw=lambda: ThawOptions(table=prices_of(app)),
    )
