"""`mgmt mhl`: one module for each command."""

import click

from mgmt.cli.groups import LazyGroup, Sections

COMMANDS: Sections = {
    "Commands": {
        "verify": "mgmt.cli.mhl.verify",
        "create": "mgmt.cli.mhl.create",
    },
}


@click.group("mhl", cls=LazyGroup, sections=COMMANDS)
def command() -> None:
    """Verify and make media hash lists (MHL).

    ASC MHL 2.0 is read and written, MHL 1.1 is read.

    \b
    Example:
      mgmt mhl verify /Volumes/A001
      mgmt mhl create A001 --to A001.mhl
    """
