"""`mgmt diff`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.parameters import Command
from mgmt.errors import PartialError
from mgmt.words import shell_word

if TYPE_CHECKING:
    from mgmt.services.diff import Difference


@click.command("diff", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("folder", required=False, metavar="[DIR]")
@click.option("--read", is_flag=True, help="Read every file, and compare its sha256 instead of its time.")
@click.pass_obj
def command(app: App, name: str, folder: str | None, read: bool) -> None:
    """Compare an archive with a folder on disk.

    DIR is by default the place of the original, or else its copy in completed/. Files are compared by size and time.

    \b
    Example:
      mgmt diff holiday
      mgmt diff --read holiday /mnt/backup/holiday
    """
    from mgmt.services.diff import diff

    found = 0

    def rows() -> "Iterator[Difference]":
        nonlocal found
        for each in diff(name, folder, app.context(), read=read):
            found += 1
            yield each

    if app.render.for_people:
        for each in rows():
            app.render.line(_line(each))
    else:
        app.render.many(rows(), ())
    if found:
        what = f"{found} {'difference' if found == 1 else 'differences'}"
        raise PartialError(
            f"{name} and {folder or 'its original'} are not the same: {what}",
            next_step=None if read else " ".join(["mgmt diff --read", *map(shell_word, filter(None, (name, folder)))]),
        )


def _line(each: "Difference") -> str:
    """A line for people."""
    why = each.reason or ", ".join(each.fields)
    return f"{each.kind:<8}  {each.path}{f'  ({why})' if why else ''}"
