"""`mgmt cost`."""

import click

from mgmt.choices import StorageClass
from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.cli.render import Column


def money(name: str, title: str, leaves: int = 0) -> Column:
    """A column with an amount of money."""

    def shown(item: object) -> str | None:
        value = getattr(item, name)
        if not getattr(item, "is_billed", True):
            return "no price"
        if isinstance(value, float | int):
            return f"{round(value, 2) + 0.0:,.2f}"  # and not -0.00
        return "unknown" if value is None else str(value)

    return Column(title, shown, "count", leaves=leaves)


COLUMNS = (
    Column("GROUP", "group", "long"),
    Column("CLASS", "storage_class", leaves=2),
    Column("ARCHIVES", "archives", "count", leaves=1),
    Column("SIZE", "size", "size", leaves=5),
    money("monthly", "A MONTH"),
)
THEN = (
    *COLUMNS,
    money("monthly_then", "THEN", leaves=6),
    money("saved_monthly", "SAVED"),
    money("move", "MOVE", leaves=3),
    Column("PAYS AFTER", lambda each: _months(each.pays_after_months), leaves=4),
)


def _months(value: object) -> str | None:
    return f"{value:,.1f} months" if isinstance(value, float) else None


@click.command("cost", cls=Command)
@click.option(
    "--by",
    default="class",
    show_default=True,
    metavar="GROUP",
    help="Count by class, store, folder, year, or tag:KEY.",
)
@click.option(
    "--if",
    "other",
    type=click.Choice([each.value for each in StorageClass], case_sensitive=False),
    help="Compare with this storage class.",
)
@click.pass_obj
def command(app: App, by: str, other: str | None) -> None:
    """Estimate what the archives cost a month.

    The estimate is made of the catalog and a table of prices; nothing is requested from a store.

    \b
    Example:
      mgmt cost --by folder
      mgmt cost --if DEEP_ARCHIVE
    """
    from mgmt.prices import load
    from mgmt.services.cost import cost

    region = app.settings.region_of_prices()
    table = load(region, app.settings.prices)
    found = cost(by, StorageClass(other) if other else None, table, app.catalog)
    app.render.many(found, THEN if other else COLUMNS)
    if app.render.for_people:
        app.render.line(f"An estimate in {table.currency}, by prices of {region or 'no region'} as of {table.dated}:")
        for source in table.sources() or ["none are known: mgmt config set price_region, or prices"]:
            app.render.line(f"  {source}")
