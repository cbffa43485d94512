"""`mgmt db`."""

import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from typing import BinaryIO, cast

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Group, Moment, confirm, dry_run, given, yes
from mgmt.cli.render import Column
from mgmt.errors import CatalogError

HISTORY = (
    Column("REVISION", "revision"),
    Column("AFTER", "previous"),
    Column("HEAD", lambda each: "head" if each.is_head else None),
    Column("SUMMARY", "summary"),
)
PRUNABLE = (Column("REMOVE", "operation_type"), Column("OPERATIONS", "count", "count"))


@click.group("db", cls=Group)
def command() -> None:
    """The catalog's database: its schema, its backup, its history as a file, and rebuilding it from the store.

    \b
    Example:
      mgmt db current
      mgmt db backup catalog-2026-01-31.db
    """


@command.command()
@click.argument("revision", default="head", metavar="[REV]")
@click.pass_obj
def upgrade(app: App, revision: str) -> None:
    """Bring the schema forward, after a backup, in one transaction.

    \b
    Example:
      mgmt db upgrade
    """
    from mgmt.catalog import HEAD
    from mgmt.catalog.schema import migrate as schema

    backup = schema.upgrade(app.catalog.database, revision)
    if app.catalog.database.revision() == HEAD:
        app.catalog.members.index_names()
    _show_current(app, backup=backup)


@command.command()
@click.argument("revision", metavar="REV")
@click.pass_obj
def downgrade(app: App, revision: str) -> None:
    """Take the schema back to REV, after a backup, in one transaction; `base` leaves nothing.

    \b
    Example:
      mgmt db downgrade 0001
    """
    from mgmt.catalog.schema import migrate as schema

    _show_current(app, backup=schema.downgrade(app.catalog.database, revision))


@command.command()
@click.pass_obj
def current(app: App) -> None:
    """The revision of the schema that is there, and the one that this mgmt needs.

    \b
    Example:
      mgmt db current
    """
    _show_current(app)


def _show_current(app: App, **done: str | None) -> None:
    database = app.catalog.database
    from mgmt.catalog import HEAD

    found = database.revision()
    facts = {"catalog": database.name, "current": found, "head": HEAD, "is_current": found == HEAD, **done}
    if app.render.for_people:
        app.render.line(f"{found or 'base'}{' (head)' if found == HEAD else f', the head is {HEAD}'}  {database.name}")
        if path := done.get("backup"):
            app.render.line(f"before that it was copied to {path}")
    else:
        app.render.one(facts)


@command.command()
@click.pass_obj
def history(app: App) -> None:
    """Every revision that this mgmt knows, the newest first.

    \b
    Example:
      mgmt db history
    """
    from mgmt.catalog.schema import migrate as schema

    app.render.many(schema.history(), HISTORY)


@command.command()
@click.pass_obj
def check(app: App) -> None:
    """Whether the schema is as it should be and the database is sound.

    \b
    Example:
      mgmt db check
    """
    from mgmt.catalog.schema import migrate as schema

    problems = schema.check(app.catalog.database)
    if not app.render.for_people:
        app.render.one({"catalog": app.catalog.database.name, "sound": not problems, "problems": problems})
    else:
        for problem in problems or ["the catalog is sound"]:
            app.render.line(problem)
    if problems:
        raise CatalogError(
            f"the catalog {app.catalog.database.name} has {len(problems)} problems", next_step="mgmt db upgrade"
        )


@command.command()
@click.argument("revisions", default="base:head", metavar="[OLD:NEW]")
@click.option("--dialect", type=click.Choice(("sqlite", "postgresql")), help="By default that of the catalog.")
@click.pass_obj
def sql(app: App, revisions: str, dialect: str | None) -> None:
    """Print the statements that change the schema, for an administrator to review; nothing is run.

    \b
    Example:
      mgmt db sql base:head --dialect postgresql
    """
    from mgmt.catalog.schema import migrate as schema

    chosen = dialect or ("sqlite" if app.catalog.database.is_sqlite else "postgresql")
    text = schema.sql(chosen, revisions)
    if app.render.for_people:
        app.render.text(text)
    else:
        app.render.one({"dialect": chosen, "revisions": revisions, "sql": text})


@command.command()
@click.option("--apply", is_flag=True, help="Run the statements, instead of printing them.")
@click.option("--prefix", default="mgmt", show_default=True, help="What the names of the roles begin with.")
@click.pass_obj
def roles(app: App, apply: bool, prefix: str) -> None:
    """The roles of a PostgreSQL catalog: an owner that migrates, a writer that works, a reader that reports.

    \b
    Example:
      mgmt db roles
      mgmt db roles --apply
    """
    from mgmt.catalog.schema import roles as catalog_roles

    database, names = app.catalog.database, catalog_roles.Roles.named(prefix)
    statements = catalog_roles.sql(database, names)
    if apply:
        catalog_roles.apply(database, names)
    if not app.render.for_people:
        app.render.one({"catalog": database.name, **asdict(names), "applied": apply, "sql": statements})
    elif apply:
        app.render.line(f"{names.owner}, {names.writer} and {names.reader} have their rights on {database.name}")
    else:
        app.render.text(statements)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.pass_obj
def backup(app: App, file: str) -> None:
    """Copy the catalog to FILE, also while it is in use; FILE is checked, and never overwritten.

    \b
    Example:
      mgmt db backup ~/catalog-2026-01-31.db
    """
    from mgmt.catalog.schema.backup import backup as copy

    path = copy(app.catalog.database, file)
    if app.render.for_people:
        app.render.line(f"the catalog is copied to {path}")
    else:
        app.render.one({"catalog": app.catalog.database.name, "backup": path})


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE|-")
@click.option("--no-members", is_flag=True, help="Leave out what archives hold: `mgmt db rebuild` gives it back.")
@click.pass_obj
def export(app: App, file: str, no_members: bool) -> None:
    """Write the whole history to FILE as JSON Lines, compressed when it ends with .gz; nothing is overwritten.

    \b
    Example:
      mgmt db export history-2026-01-31.jsonl.gz
      mgmt db export - | mgmt --catalog postgresql://localhost/mgmt db import -
    """
    from mgmt.catalog.audit.export import compressed, export
    from mgmt.catalog.schema.backup import PARTIAL, new_file

    database = app.catalog.database
    app.catalog.audit.try_seal()
    if file == "-":
        export(database, sys.stdout.buffer, members=not no_members)
        return
    with new_file(file) as path, open(path + PARTIAL, "wb") as plain, ExitStack() as stack:
        out = stack.enter_context(compressed(plain)) if file.endswith(".gz") else plain
        exported = export(database, cast("BinaryIO", out), members=not no_members)
    if app.render.for_people:
        app.render.line(f"{exported.operations} operations in {exported.seals} seals are exported to {path}")
    else:
        app.render.one({"file": path, **asdict(exported), "type": "export"})


@command.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.pass_obj
def import_(app: App, file: BinaryIO) -> None:
    """Add the history in FILE to the catalog, all of it or nothing; what is there already must be the same.

    \b
    Example:
      mgmt --catalog sqlite:////new/catalog.db db import history-2026-01-31.jsonl.gz
    """
    from mgmt.catalog.audit.import_history import import_history

    imported = import_history(app.catalog.database, file)
    app.catalog.members.index_names()
    if app.render.for_people:
        counted = f"{imported.operations} operations in {imported.seals} seals"
        app.render.line(f"{counted} are as they were sealed; {imported.new} rows are new")
    else:
        app.render.one({**asdict(imported), "type": "import"})


@command.command()
@click.option("--before", type=Moment(), required=True, metavar="TIME", help="What had ended by then: a date, or 2y.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type: search, download, ...")
@click.option("--export", "file", type=click.Path(dir_okay=False), help="Export to this file, and not into the store.")
@yes
@dry_run
@click.pass_context
def prune(
    ctx: click.Context, before: datetime, types: tuple[str, ...], file: str | None, yes: bool, dry_run: bool
) -> None:
    """Export old operations, prove the export, and remove them from the catalog; what explains what there is stays.

    \b
    Example:
      mgmt db prune --before 2y --type search --type status -n
      mgmt db prune --before 2024-01-01 --export operations-2023.jsonl.gz
    """
    from mgmt.catalog.audit.prune import PruneFilter, prunable
    from mgmt.services.prune import prune

    app: App = ctx.obj
    which = PruneFilter(before, types)
    found = prunable(app.catalog.database, which)
    if dry_run or not found:
        app.render.many(found, PRUNABLE, empty="there is nothing to prune")
        return
    confirm(f"Export {sum(each.count for each in found)} operations, and remove them from the catalog?", yes=yes)
    record = prune(
        which,
        file,
        open_store=app.store,
        catalog=app.catalog,
        progress=app.progress,
        command_args=given(ctx, ("before", "types", "file")),
    )
    if app.render.for_people:
        app.render.line(f"{record.removed_count} operations are exported to {record.result_path}, and removed")
    else:
        app.render.one(record)


@command.command()
@click.pass_obj
def rebuild(app: App) -> None:
    """Give back archives and members from the indexes in the store, without reading an archive.

    \b
    Example:
      mgmt db rebuild
    """
    from mgmt.services.rebuild import rebuild

    record = rebuild(app.context())
    if app.render.for_people:
        app.render.line(f"{record.details['archives']} archives with {record.details['members']} members are recorded")
    else:
        app.render.one(record)
