"""`mgmt audit`: one module for each command."""

import click

from mgmt.cli.groups import LazyGroup, Sections

COMMANDS: Sections = {
    "Commands": {
        "verify": "mgmt.cli.audit.verify",
        "anchor": "mgmt.cli.audit.anchor",
    },
}


@click.group("audit", cls=LazyGroup, sections=COMMANDS)
def command() -> None:
    """Verify that the history of operations was not changed.

    Finished operations are sealed. An anchor is the digest of the last seal, kept in the store, outside the catalog.

    \b
    Example:
      mgmt audit verify
      mgmt audit anchor
    """
