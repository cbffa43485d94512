"""`mgmt mhl verify`."""

from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column
from mgmt.shown import human_size

if TYPE_CHECKING:
    from mgmt.services.mhl.verify import Verified

COLUMNS = (
    Column("VERDICT", "verdict"),
    Column("FILE", "path", "long"),
    Column("REASON", "reason", "sentence", leaves=1),
    Column("LIST", "listed_in", "long", leaves=2),
)


@click.command("verify", cls=Command)
@click.argument("folder", metavar="DIR")
@click.pass_obj
def command(app: App, folder: str) -> None:
    """Verify a folder against the media hash lists in it.

    Reads each file once, and changes nothing. Lists the files that differ, are missing, or are in no list.

    \b
    Example:
      mgmt mhl verify /Volumes/A001
    """
    from mgmt.services.mhl.verify import verify

    verified, findings = verify(folder, app.progress)
    problems = (each for each in findings if each.verdict != "ok")
    if app.render.output == "json":
        found = list(problems)
        app.render.one({**verified.summary(), "problems": found})
    else:
        app.render.many(problems, COLUMNS, empty=None)
    if app.render.output == "jsonl":
        app.render.one(verified.summary())
    app.render.line(_sentence(verified))
    if verified.unlisted:
        app.progress.note(f"note: {verified.unlisted} files are in folders without a media hash list; not compared")
    if verified.error is not None:
        raise verified.error


def _sentence(verified: "Verified") -> str:
    read = f"{verified.files} files ({human_size(verified.size)}) read, {verified.verdicts['ok']} as listed"
    return f"{read}; {verified.lists} lists, {', '.join(verified.formats) or 'no hashes'}"
