"""`mgmt db`: one module for each command."""

import click

from mgmt.cli.groups import LazyGroup, Sections

COMMANDS: Sections = {
    "Schema": {
        "current": "mgmt.cli.db.current",
        "check": "mgmt.cli.db.check",
        "history": "mgmt.cli.db.history",
        "upgrade": "mgmt.cli.db.upgrade",
        "downgrade": "mgmt.cli.db.downgrade",
        "sql": "mgmt.cli.db.sql",
        "roles": "mgmt.cli.db.roles",
    },
    "Records": {
        "backup": "mgmt.cli.db.backup",
        "rebuild": "mgmt.cli.db.rebuild",
        "export": "mgmt.cli.db.export_history",
        "import": "mgmt.cli.db.import_history",
        "prune": "mgmt.cli.db.prune",
    },
}


@click.group("db", cls=LazyGroup, sections=COMMANDS)
def command() -> None:
    """Administer the catalog's database.

    Manage its schema, back it up, export and import its history, or rebuild its records from the store.

    \b
    Example:
      mgmt db current
      mgmt db backup catalog-2026-01-31.db
    """
