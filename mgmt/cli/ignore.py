"""`mgmt ignore`."""

import click

from mgmt.cli.app import App
from mgmt.cli.outcomes import show_outcomes
from mgmt.cli.parameters import Command, given
from mgmt.cli.render import Column
from mgmt.errors import ConfigurationError

COLUMNS = (Column("STATUS", "status"), Column("OBJECT", "target_path", "long"))
LIST = (
    Column("IGNORED", "target_path", "long"),
    Column("SINCE", "completed_at", "time", leaves=1),
    Column("BY", "user", leaves=2),
)


@click.command("ignore", cls=Command)
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.option("--undo", is_flag=True, help="Report these objects again.")
@click.pass_context
def command(ctx: click.Context, keys: tuple[str, ...], undo: bool) -> None:
    """Ignore objects in the store that are not mgmt's.

    `verify --all` and `db rebuild` pass over them. A KEY that ends with / means all objects below it, except
    archives and indexes (*.tar.gz, *.index.jsonl.gz). Without KEY, list what is ignored.

    \b
    Example:
      mgmt ignore README.txt thumbnails/
    """
    from mgmt.services.ignore import ignore
    from mgmt.services.steps.batch import run_batch

    app: App = ctx.obj
    if not keys:
        if undo:
            raise ConfigurationError("--undo needs a KEY", next_step="mgmt ignore\n# lists what is ignored")
        app.render.many(app.catalog.metadata.ignored(), LIST, empty="nothing is ignored")
        return
    outcomes = run_batch(
        list(dict.fromkeys(keys)),
        lambda key, context: ignore(key, context, undo=undo),
        app.context(given(ctx, ("undo",))),
        name=f"{len(keys)} objects",
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(keys) > 1)
