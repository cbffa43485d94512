"""`mgmt du`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column

COLUMNS = (
    Column("GROUP", lambda each: "(none)" if each.group is None else each.group, "long"),
    Column("ARCHIVES", "archives", "count", leaves=1),
    Column("ORIGINAL", "original_size", "size", leaves=2),
    Column("STORED", "size", "size"),
    Column("RATIO", lambda each: _ratio(each.compression_ratio), "count", leaves=3),
)


@click.command("du", cls=Command)
@click.option(
    "--by", default="folder", show_default=True, metavar="GROUP", help="Count by folder, class, store, or tag:KEY."
)
@click.option("-l", "--long", is_flag=True, help="Show exact values.")
@click.pass_obj
def command(app: App, by: str, long: bool) -> None:
    """Show how much is stored, the largest first.

    Counts the archives in the catalog; nothing is requested from a store. A folder is the first part of a key.

    \b
    Example:
      mgmt du
      mgmt du --by tag:project
    """
    from mgmt.services.du import disk_usage

    app.render.many(disk_usage(by, app.catalog), COLUMNS, long=long)


def _ratio(ratio: float | None) -> str | None:
    return None if ratio is None else f"{ratio:.2f}"
