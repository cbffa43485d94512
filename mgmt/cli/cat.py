"""`mgmt cat`."""

import sys
from dataclasses import replace

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.parameters import Command
from mgmt.progress import NoProgress


@click.command("cat", cls=Command)
@click.argument("name", shell_complete=complete_name)
@click.argument("member")
@click.pass_obj
def command(app: App, name: str, member: str) -> None:
    """Print a file from an archive to stdout.

    Only the blocks that hold it are read. MEMBER may omit the archive's own folder.

    \b
    Example:
      mgmt cat holiday notes/day1.txt
      mgmt cat holiday beach/IMG_0001.jpg | exiftool -
    """
    from mgmt.services.cat import cat

    out, context = sys.stdout.buffer, app.context()
    if sys.stdout.isatty():
        context = replace(context, progress=NoProgress())  # a bar would be drawn into the text
    for piece in cat(name, member, context, threads=app.settings.threads):
        out.write(piece)
    out.flush()
