"""The table of prices: the one that comes with mgmt, and the user's own, which take its place cell by cell."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from mgmt.choices import StorageClass
from mgmt.errors import ConfigurationError

GB = 1 << 30
"""Bytes of what Amazon calls a GB."""

MINIMUM_DAYS: Mapping[str, int] = {
    StorageClass.STANDARD_IA: 30,
    StorageClass.ONEZONE_IA: 30,
    StorageClass.GLACIER_IR: 90,
    StorageClass.GLACIER: 90,
    StorageClass.DEEP_ARCHIVE: 180,
}
"""Days that are billed at least, however early an object is removed or moved (the S3 pricing page)."""

MINIMUM_SIZE = 128 << 10
"""Bytes that are billed at least for an object in a class of `AT_LEAST` (the S3 pricing page)."""

AT_LEAST = frozenset({StorageClass.STANDARD_IA, StorageClass.ONEZONE_IA, StorageClass.GLACIER_IR})

OVERHEAD: Mapping[str, tuple[int, int]] = {
    StorageClass.GLACIER: (32 << 10, 8 << 10),
    StorageClass.DEEP_ARCHIVE: (32 << 10, 8 << 10),
}
"""Bytes that an object has besides, at the price of its class and at that of STANDARD (the S3 pricing page)."""

_KINDS = frozenset(
    {
        *("storage", "put", "get", "retrieval", "monitoring", "transfer"),
        *(f"{kind}_{tier}" for kind in ("retrieval", "thaw") for tier in ("standard", "bulk", "expedited")),
    }
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A price, with its source. Some depend on the volume: each step has the GB up to which it holds."""

    steps: Sequence[tuple[Decimal, Decimal]]
    source: str

    def of(self, units: Decimal, used: Decimal = Decimal(0)) -> Decimal | None:
        """The price of `units` after `used` others; None if they exceed what the table covers."""
        total, at = Decimal(0), used
        for limit, price in self.steps:
            if at < limit:
                taken = min(limit, used + units) - at
                total, at = total + taken * price, at + taken
            if at >= used + units:
                return total
        return None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one region, by storage class and kind."""

    region: str | None
    currency: str
    dated: str
    cells: Mapping[str, Mapping[str, Cell]]

    def cell(self, storage_class: str, kind: str) -> Cell | None:
        """The price of `kind` for objects of this class; None if it is unknown."""
        return self.cells.get(storage_class, {}).get(kind)

    def sources(self) -> list[str]:
        """Where the prices come from, each source once."""
        return sorted({cell.source for kinds in self.cells.values() for cell in kinds.values()})


def load(region: str | None, own: str | None = None) -> Prices:
    """The prices of `region`; those in the user's `own` file take the place of those that come with mgmt.

    A region that no table has, and None, have no prices: all is unknown. Raises ConfigurationError for an `own` file
    that cannot be read or has another form.
    """
    shipped = _shipped()
    cells = _cells(shipped, region, "prices.toml")
    currency, dated = str(shipped["currency"]), str(shipped["dated"])
    if own is not None:
        table = _read(own)
        if (other := str(table.get("currency", currency))) != currency:
            cells, currency = {}, other  # prices in two currencies cannot be added
        for storage_class, kinds in _cells(table, region, own).items():
            cells[storage_class] = {**cells.get(storage_class, {}), **kinds}
        dated = str(table.get("dated", dated))
    return Prices(region, currency, dated, cells)


@cache
def _shipped() -> Mapping[str, Any]:
    text = resources.files("mgmt.prices").joinpath("prices.toml").read_text("utf-8")
    return tomllib.loads(text, parse_float=Decimal)


def _read(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return tomllib.loads(file.read(), parse_float=Decimal)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the prices in {path} cannot be read: {exc}", next_step="see docs/cold.md") from exc


def _cells(table: Mapping[str, Any], region: str | None, origin: str) -> dict[str, dict[str, Cell]]:
    regions = table.get("regions", {})
    sources = table.get("sources", {})
    found: dict[str, dict[str, Cell]] = {}
    try:
        for storage_class, kinds in regions.get(region, {}).items():
            found[StorageClass(storage_class)] = {
                _known(kind): Cell(_steps(each["price"]), str(sources.get(each["source"], each["source"])))
                for kind, each in kinds.items()
            }
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as exc:
        reason = exc if isinstance(exc, ValueError) else f"it has another form ({exc!r})"
        raise ConfigurationError(
            f"the prices in {origin} cannot be used: {reason}", next_step="see docs/cold.md"
        ) from exc
    return found


def _known(kind: str) -> str:
    if kind not in _KINDS:
        raise ValueError(f"there is no price called {kind!r}")
    return kind


def _steps(price: object) -> list[tuple[Decimal, Decimal]]:
    if isinstance(price, list):
        return [(Decimal(str(limit)), _positive(step)) for limit, step in price]
    return [(Decimal("Infinity"), _positive(price))]


def _positive(price: object) -> Decimal:
    found = Decimal(str(price))
    if not found.is_finite() or found < 0 or isinstance(price, bool):
        raise ValueError(f"{price!r} is no price")
    return found
