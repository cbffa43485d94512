"""`mgmt db import`."""

from dataclasses import asdict
from typing import BinaryIO

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("import", cls=Command)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option("--update", is_flag=True, help="Update records of files and members that differ, from a newer export.")
@click.pass_obj
def command(app: App, file: BinaryIO, update: bool) -> None:
    """Import a history that `db export` wrote to FILE (`-`: stdin).

    The import is all or nothing. Rows that the catalog has already must be the same; operations never change.
    Requested operations arrive held, and schedules paused.

    \b
    Example:
      mgmt --catalog sqlite:////new/catalog.db db import history-2026-01-31.jsonl.gz
    """
    from mgmt.services import database

    imported = database.import_history(file, app.catalog, update=update)
    if app.render.for_people:
        updated = f", {imported.updated} are updated" if update else ""
        counts = f"{imported.operations} operations in {imported.seals} seals"
        app.render.line(f"imported {counts}, which match their seals; {imported.new} rows are new" + updated)
        if imported.jobs:
            app.progress.note("note: what waits is held, as the other catalog may run it; here: mgmt queue --release")
        if imported.schedules:
            app.progress.note("note: schedules are paused, as the other catalog may run them")
    else:
        app.render.one({**asdict(imported), "type": "import"})
