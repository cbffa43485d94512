"""`mgmt status`."""

import click

from mgmt.cli.app import App


@click.command("status")
@click.argument("name")
@click.option("-l", "--long", is_flag=True, help="Empty fields, too.")
@click.pass_obj
def command(app: App, name: str, long: bool) -> None:
    """One file or operation, whole: its record, the store's own answer, its members, its history.

    \b
    Example:
      mgmt status holiday
    """
    from mgmt.services.status import status

    app.render.one(status(name, open_store=app.store, catalog=app.catalog, progress=app.progress), long=long)
