"""`mgmt run`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.requests import words_of


@click.command("run", cls=Command)
@click.argument("operations", nargs=-1, required=True, metavar="ID...")
@click.pass_context
def command(ctx: click.Context, operations: tuple[str, ...]) -> None:
    """Run requested operations now.

    Workers run it; nothing happens if an operation has succeeded.

    \b
    Example:
      mgmt run 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11
    """
    from mgmt.services.steps.batch import preview_each, verdict

    with ctx.obj.render.one_document():
        found = list(preview_each(operations, lambda operation: _run(ctx, operation)))
    if (error := verdict(found)) is not None:
        raise error


def _run(ctx: click.Context, operation: str) -> None:
    from mgmt.services.run import requested, running

    app: App = ctx.obj
    found = requested(operation, app.catalog)
    if found is None:
        app.progress.note(f"note: operation {operation} needs no run")
        app.render.many([], (), empty=None)
        return
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)  # noqa: S101 - it is `mgmt` itself
    chosen = root.command.get_command(root, found.job.command)
    assert chosen is not None  # noqa: S101 - the service knows which commands there are
    app.begin(found, found.job.store)
    with running(found), chosen.make_context(found.job.command, words_of(found, chosen), parent=root) as context:
        chosen.invoke(context)
