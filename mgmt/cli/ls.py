"""`mgmt ls`."""

from collections.abc import Sequence

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.parameters import Command, chosen_host, host, limit
from mgmt.cli.render import Column
from mgmt.cli.retention import restore_state
from mgmt.errors import ConfigurationError

COLUMNS = (
    Column("LOCATION", "location", leaves=2),
    Column("STATUS", "status", leaves=1),
    Column("SIZE", "size", "size"),
    Column("MODIFIED", "modified_at", "time", leaves=3),
    Column("PATH", "path", "long"),
)
OF_HOSTS = (*COLUMNS[:-1], Column("HOST", "host"), COLUMNS[-1])
MEMBERS = (
    Column("TYPE", "type"),
    Column("MODE", lambda each: f"{each.mode:04o}", leaves=1),
    Column("SIZE", "size", "size"),
    Column("PATH", lambda each: f"{each.path} -> {each.link}" if each.link else each.path, "long"),
)


@click.command("ls", cls=Command)
@click.argument("prefix", default="", metavar="[PREFIX]")
@click.option(
    "--location",
    type=click.Choice(("local", "s3", "completed", "global")),
    default="global",
    help="Limit to this location.",
)
@click.option(
    "--status", type=click.Choice(("pending", "uploading", "completed", "failed", "deleted")), help="Filter by status."
)
@click.option("--members", metavar="NAME", shell_complete=complete_name, help="List the members of this archive.")
@host
@click.option("-l", "--long", is_flag=True, help="Show exact values, and whether each file is safe.")
@click.option("--sort", type=click.Choice(("name", "size", "time")), default="name", help="Sort order.")
@limit
@click.option("--live", is_flag=True, help="List the store instead of the catalog.")
@click.pass_obj
def command(
    app: App,
    prefix: str,
    location: str,
    status: str | None,
    members: str | None,
    host: str | None,
    long: bool,
    sort: str,
    limit: int,
    live: bool,
) -> None:
    """List files and archives.

    Lists the catalog, or with --live, the store. PREFIX is the beginning of a path or key; with --members, of a
    member's path.

    \b
    Example:
      mgmt ls --location s3 --sort size
      mgmt ls --members holiday
    """
    from mgmt.catalog import FileStatus, Location, Scope
    from mgmt.services.listing import Listing, list_files, list_live, list_members

    if members is not None:
        found = list_members(members, prefix, limit, app.context())
        app.render.many(found, MEMBERS, long=long, empty="no such members")
        app.note_limit(len(found), limit)
    elif live:
        if location not in ("s3", "global"):
            raise ConfigurationError("--live lists the store, which has no local files", next_step="mgmt ls --live")
        stored = list_live(prefix, sort, limit, app.store())
        app.render.many(stored, COLUMNS, long=long, empty="no archives found")
        app.note_limit(len(stored), limit)
    else:
        listing = Listing(
            prefix=prefix,
            location=Location(location) if location == Location.COMPLETED else Scope(location),
            status=FileStatus(status) if status else None,
            host=chosen_host(host),
            sort=sort,
            limit=limit,
        )
        files = list_files(listing, app.settings.local_dir, app.catalog)
        columns: tuple[Column, ...] = OF_HOSTS if host else COLUMNS
        if long:
            columns = _with_safety(columns, files, app)
        app.render.many(files, columns, long=long, empty="no files found")
        app.note_limit(len(files), limit)


def _with_safety(columns: tuple[Column, ...], files: Sequence[object], app: App) -> tuple[Column, ...]:
    """The columns with the state of frozen archives, and at their end what is to be said of the safety of each file."""
    from mgmt.services.steps.safety import safeties
    from mgmt.services.steps.thaw import states

    if cold := states(files, app.catalog):
        state = Column("RESTORE", lambda each: restore_state(cold.get(getattr(each, "id", 0))))
        columns = (*columns[:-1], state, columns[-1])
    known = safeties(files, app.catalog)

    def sentence(file: object) -> str | None:
        safety = known.get(getattr(file, "id", 0))
        return None if safety is None else safety.sentence

    return (*columns, Column("SAFETY", sentence, "sentence"))
