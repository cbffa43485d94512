"""Options that limit what a command may cost, and the plan that they are held against."""

from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.parameters import options
from mgmt.cli.render import Column
from mgmt.errors import NotReadyError

if TYPE_CHECKING:
    from mgmt.cli.app import App
    from mgmt.prices import Prices

COST = Column("COST", "cost", "text", leaves=2)


class Money(click.ParamType[Decimal]):
    """An amount of money, such as `5.00`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return `value` as a Decimal."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount such as 5.00", param, ctx)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount such as 5.00", param, ctx)
        return amount


max_cost = options(
    click.option(
        "--max-cost", type=Money(), metavar="AMOUNT", help="Refuse if it would cost more, with its first month."
    ),
    click.option("--allow-unknown-price", is_flag=True, help="With --max-cost: go on if a price is unknown."),
)


def prices_of(app: "App") -> "Prices":
    """The prices that the settings choose."""
    from mgmt.prices import load

    return load(app.settings.region_of_prices(), app.settings.prices)


def refuse_above(
    targets: Iterable[str], look: Callable[[str], Any], most: Decimal | None, *, allow_unknown: bool
) -> None:
    """Raise RefusedError if the plan for all targets costs more than `most`, thaws included.

    What cannot be planned fails anyway; but if the store could not be asked, its error is raised.
    """
    if most is None:
        return
    from mgmt.services.steps import plan_cost
    from mgmt.services.steps.batch import preview_each

    costs: list[Any] = []
    for each in preview_each(list(targets), look):
        if isinstance(each.error, NotReadyError):
            costs.append(each.error.cost)
        elif each.error is not None and each.error.retryable:
            raise each.error
        elif each.record is not None:
            costs.append(each.record["cost"] if isinstance(each.record, dict) else each.record.cost)
    plan_cost.refuse_above(costs, most, allow_unknown=allow_unknown)
