"""`mgmt search`."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command, asking, chosen_host, given, host, limit, period, tag
from mgmt.cli.render import Column
from mgmt.errors import RefusedError
from mgmt.shown import safe

if TYPE_CHECKING:
    from mgmt.catalog import SearchRecord
    from mgmt.services.steps.match import Match

RECORDED = ("location", "status", "host", "tags", "since", "until", "limit", "live", "interactive")
COLUMNS = (
    Column("TYPE", "type"),
    Column("LOCATION", "location", leaves=3),
    Column("STATUS", "status", leaves=2),
    Column("SIZE", "size", "size", leaves=1),
    Column("MODIFIED", "modified_at", "time", leaves=4),
    Column("PATH", "path", "long"),
    Column("ARCHIVE", lambda each: each.archive if each.type == "member" else None, "long"),
)
OF_HOSTS = (*COLUMNS[:-2], Column("HOST", "host"), *COLUMNS[-2:])


@click.command("search", cls=Command)
@click.argument("keyword")
@click.option(
    "--location", type=click.Choice(("local", "s3", "global")), default="global", help="Limit to this location."
)
@click.option(
    "--status", type=click.Choice(("pending", "uploading", "completed", "failed", "deleted")), help="Filter by status."
)
@host
@tag("Filter by tag; may be repeated.")
@period
@limit
@click.option("--live", is_flag=True, help="Search for archives in the store instead of the catalog.")
@click.option("-i", "--interactive", is_flag=True, help="Pick a result to download, show or delete.")
@click.pass_context
def command(
    ctx: click.Context,
    keyword: str,
    location: str,
    status: str | None,
    host: str | None,
    tags: dict[str, str],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    live: bool,
    interactive: bool,
) -> None:
    """Find files, archives, and members inside archives.

    KEYWORD is a part of a name, or of a path if it contains a slash. Case is ignored.

    \b
    Example:
      mgmt search beach
      mgmt search .mov --location s3 --since 2026-01-01 -i
    """
    from mgmt.catalog import FileStatus, Scope
    from mgmt.services.search import Query, search

    app: App = ctx.obj
    if interactive and not sys.stdin.isatty():
        raise RefusedError("search -i asks questions, but there is no terminal", next_step="mgmt search KEYWORD")
    query = Query(
        keyword=keyword,
        location=Scope(location),
        host=chosen_host(host),
        status=FileStatus(status) if status else None,
        tags=tags,
        since=since,
        until=until,
        limit=limit,
    )
    context = app.context(given(ctx, RECORDED))
    with search(query, context, local_dir=app.settings.local_dir, live=live) as (record, matches):
        app.render.many(matches, OF_HOSTS if host else COLUMNS, empty=f"nothing matches {safe(keyword)!r}")
        app.note_limit(len(matches), limit)
        action = _pick(record, matches) if interactive and matches else None
    if action is not None:
        _invoke(ctx, *action)


def _pick(record: "SearchRecord", matches: "list[Match]") -> tuple[click.Command, list[str]] | None:
    """Let the user pick a result and an action, and record the choice with the search; return what to run then."""
    from mgmt.cli import delete, download, status

    for number, match in enumerate(matches, 1):
        click.echo(f"{number:>4}  {safe(match.path)}", err=True)
    with asking():
        number = click.prompt("Result (0 for none)", type=click.IntRange(0, len(matches)), default=0, err=True)
        if number == 0:
            return None
        match = matches[number - 1]
        name = match.archive or match.path
        actions = ["status"] if match.archive is None else ["download", "status", "delete"]
        action = click.prompt("Action", type=click.Choice(actions), default=actions[0], err=True)
    match action:
        case "download":
            record.download_selected, record.details = name, {"picked": match.path}
            members = ["--member", match.path] if match.type == "member" else []
            return download.command, [name, *members]
        case "status":
            record.status_checked, record.details = name, {"picked": match.path}
            return status.command, [name]
        case _:
            return delete.command, [name]


def _invoke(ctx: click.Context, command: click.Command, arguments: list[str]) -> None:
    with command.make_context(command.name or "", arguments, parent=ctx) as inner:
        command.invoke(inner)
