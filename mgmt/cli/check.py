"""`mgmt check`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column
from mgmt.errors import NotFoundError, PartialError
from mgmt.shown import human_size
from mgmt.words import operand

if TYPE_CHECKING:
    from mgmt.services.check import Checked, Summary

SHOWN = 20
"""Files that are not archived, and archives, that are listed without --long."""

TOTALS = (
    Column("STATE", "state"),
    Column("FILES", "files", "count"),
    Column("SIZE", "size", "size"),
    Column("COPIES", "copies", leaves=1),
)
ARCHIVES = (
    Column("FILES", "files", "count"),
    Column("ARCHIVE", "archive", "long"),
)


@click.command("check", cls=Command)
@click.argument("folder", metavar="DIR")
@click.option("--read", is_flag=True, help="Read every file, and compare its sha256; names and times do not matter.")
@click.option("-l", "--long", is_flag=True, help="List every file.")
@click.pass_obj
def command(app: App, folder: str, read: bool, long: bool) -> None:
    """Check which files of a folder are archived.

    A file is archived if a stored, proven archive has a file with its name, size and time of modification, in any
    folder. The store is not asked: see mgmt verify.

    \b
    Example:
      mgmt check /mnt/card
      mgmt check --read /mnt/card
    """
    from mgmt.services.check import State, Summary, check

    summary, left = Summary(), list["Checked"]()

    def rows() -> "Iterator[Checked]":
        for each in check(folder, app.context(), read=read, summary=summary):
            if each.state != State.ARCHIVED and len(left) < SHOWN:
                left.append(each)
            yield each

    if not app.render.for_people:
        app.render.many(rows(), ())
    else:
        for each in rows():
            if long:
                app.render.line(_line(each))
        _show(app, summary, [] if long else left, "sha256" if read else "name, size and time")
    if not summary.files:
        raise NotFoundError(f"{folder} holds no files", next_step=f"ls -la {operand(folder)}\n# is it mounted?")
    if summary.archived < summary.files:
        problem = PartialError if summary.archived else NotFoundError
        raise problem(
            f"{summary.files - summary.archived} of {summary.files} files in {folder} are not archived",
            next_step=f"mgmt check {'' if read else '--read '}-l {operand(folder)}\n"
            f"# or: mgmt upload --keep {operand(folder)}",
        )


def _show(app: App, summary: "Summary", left: "list[Checked]", by: str) -> None:
    """The summary for people, and the first files that are not archived."""
    if not summary.files:
        return
    size = human_size(sum(each.size for each in summary.totals.values()))
    app.render.line(f"{summary.archived} of {summary.files} files ({size}) are archived, compared by {by}")
    totals = [
        {
            "state": state,
            "files": each.files,
            "size": each.size,
            "copies": f"at least {each.copies}" if each.copies else None,
        }
        for state, each in sorted(summary.totals.items())
    ]
    app.render.many(totals, TOTALS, empty=None)
    most = sorted(summary.archives.items(), key=lambda each: (-each[1], each[0]))
    if most:
        app.render.line(f"in {len(most)} {'archive' if len(most) == 1 else 'archives'}:", apart=True)
        app.render.many([{"files": files, "archive": url} for url, files in most[:SHOWN]], ARCHIVES, empty=None)
    if left:
        unarchived = summary.files - summary.archived
        rest = f", the first {len(left)} of {unarchived}; -l lists all" if unarchived > len(left) else ""
        app.render.line(f"not archived{rest}:", apart=True)
        for each in left:
            app.render.line(_line(each))


def _line(each: "Checked") -> str:
    """A line for people about one file."""
    if each.copies:
        where = f"  ({each.copies} {'copy' if each.copies == 1 else 'copies'}: {each.archives[0]})"
    else:
        where = f"  ({each.reason})" if each.reason else ""
    return f"{each.state:<8}  {each.path}{where}"
