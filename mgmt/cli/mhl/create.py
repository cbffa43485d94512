"""`mgmt mhl create`."""

from dataclasses import asdict

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.parameters import Command, given
from mgmt.cli.render import Column
from mgmt.errors import ConfigurationError

COLUMNS = (
    Column("LIST", "path", "long"),
    Column("FILES", "files", "count"),
    Column("SIZE", "size", "size", leaves=1),
    Column("HASHES", lambda each: ", ".join(each.formats), leaves=2),
)


def _formats(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    from mgmt.mhl.hashes import FORMATS

    formats = tuple(dict.fromkeys(each.strip() for each in value.split(",")))
    for each in formats:
        if each not in FORMATS:
            raise ConfigurationError(
                f"{each!r} is not a format of ASC MHL: {', '.join(FORMATS)}",
                next_step="mgmt mhl create NAME --format xxh64",
            )
    return formats


@click.command("create", cls=Command)
@click.argument("name", metavar="NAME", shell_complete=complete_name)
@click.option(
    "--format",
    "formats",
    metavar="FORMAT[,FORMAT...]",
    default="xxh64",
    show_default=True,
    callback=_formats,
    help="Hashes of each file: c4, md5, sha1, xxh128, xxh3 or xxh64.",
)
@click.option("--to", metavar="FILE", help="Write the list to this new file instead of stdout.")
@click.pass_context
def command(ctx: click.Context, name: str, formats: tuple[str, ...], to: str | None) -> None:
    """Make a media hash list of an archive.

    Reads the whole archive, and writes the list when what it read is proven to be what was archived.

    \b
    Example:
      mgmt mhl create A001 > A001.mhl
      mgmt mhl create A001 --format xxh64,md5 --to A001.mhl
    """
    from mgmt.services.mhl.create import create

    app: App = ctx.obj
    created, text = create(name, formats, to, app.context(given(ctx, ("formats", "to"))))
    if not app.render.for_people:
        app.render.one({**asdict(created), "manifest": text.decode() if to is None else None})
    elif to is None:
        app.render.text(text.decode().removesuffix("\n"))
    else:
        app.render.many([created], COLUMNS)
