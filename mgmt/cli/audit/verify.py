"""`mgmt audit verify`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column

if TYPE_CHECKING:
    from mgmt.services.history import Summary
    from mgmt.storage import ObjectStore

COLUMNS = (
    Column("PROBLEM", "problem"),
    Column("OPERATION", "operation_id"),
    Column("NUMBER", "seq", "count", leaves=2),
    Column("SEAL", "seal", "count", leaves=1),
    Column("DETAIL", "detail", "long"),
)


@click.command("verify", cls=Command)
@click.option("--no-anchors", is_flag=True, help="Do not compare with the anchors in the store.")
@click.pass_obj
def command(app: App, no_anchors: bool) -> None:
    """Check every finished operation against its seal.

    Also checks the chain of seals, and compares it with the anchors in the store.

    \b
    Example:
      mgmt audit verify
      mgmt -o jsonl audit verify --no-anchors
    """
    from mgmt.services.history import check

    checked = check(app.catalog, None if no_anchors else _store_of_anchors(app))
    match app.render.output:
        case "json":
            problems = list(checked.findings())
            app.render.one({**asdict(checked.summary), "problems": problems})
        case "jsonl":
            app.render.many(checked.findings(), COLUMNS)
            app.render.one(checked.summary)
        case _:
            app.render.many(checked.findings(), COLUMNS, empty="no operation or seal was changed")
            app.render.line(_sentence(checked.summary))
    if checked.error is not None:
        raise checked.error


def _store_of_anchors(app: App) -> "ObjectStore | None":
    if app.settings.store is None:
        app.progress.note("note: no store is configured, so there are no anchors to compare with")
        return None
    return app.store()


def _sentence(summary: "Summary") -> str:
    counts = (
        f"{summary.operations} operations in {summary.seals} seals, {summary.anchors} anchors, "
        f"{summary.unsealed} not sealed yet" + (f", {summary.pruned} pruned" if summary.pruned else "")
    )
    return f"the history is {'sound' if summary.sound else 'NOT sound'}: {counts}"
