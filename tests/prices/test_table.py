"""The table of prices, and the user's own."""

from decimal import Decimal
from pathlib import Path

import pytest

from mgmt.choices import StorageClass
from mgmt.errors import ConfigurationError
from mgmt.prices import load
from mgmt.prices.table import _shipped

OWN = """
currency = "USD"
dated = 2026-11-01
[sources]
bill = "our bill of October"
[regions.us-east-1.STANDARD]
transfer = { price = 0.09, source = "bill" }
[regions.us-east-1.DEEP_ARCHIVE]
storage = { price = 0.001, source = "bill" }
[regions.garage.STANDARD]
storage = { price = 0.005, source = "our own disks" }
"""


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return str(path)


def test_each_cell_has_a_source_that_is_explained() -> None:
    shipped = _shipped()
    cells = [cell for region in shipped["regions"].values() for kinds in region.values() for cell in kinds.values()]
    assert {cell["source"] for cell in cells} == set(shipped["sources"]) - {"f"}
    assert len(cells) > 30


def test_each_region_has_only_classes_of_s3() -> None:
    for region in _shipped()["regions"]:
        assert set(load(region).cells) <= set(StorageClass)


def test_own_prices_take_the_place_of_cells(tmp_path: Path) -> None:
    path = own(tmp_path, OWN)
    found = load("us-east-1", path)
    deep, transfer, put = (
        found.cell(storage_class, kind)
        for storage_class, kind in (("DEEP_ARCHIVE", "storage"), ("STANDARD", "transfer"), ("DEEP_ARCHIVE", "put"))
    )
    assert deep is not None
    assert transfer is not None
    assert put is not None
    assert (deep.of(Decimal(1)), deep.source) == (Decimal("0.001"), "our bill of October")
    assert (found.dated, found.currency) == ("2026-11-01", "USD")
    garage = load("garage", path).cell("STANDARD", "storage")
    assert garage is not None
    assert garage.source == "our own disks"


def test_prices_in_another_currency_are_not_mixed_with_dollars(tmp_path: Path) -> None:
    found = load("us-east-1", own(tmp_path, OWN.replace("USD", "EUR")))
    assert found.currency == "EUR"
    assert found.cell("STANDARD", "storage") is None
    assert found.cell("DEEP_ARCHIVE", "storage") is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.001", "-1"),
        ("0.001", '"cheap"'),
        ("0.001", "nan"),
        ("0.001", "true"),
        ("transfer =", "transport ="),
        ("us-east-1.STANDARD", "us-east-1.GLACIAL"),
        ('price = 0.001, source = "bill"', "price = 0.001"),
        ("currency", "[["),
    ],
)
def test_a_file_of_another_form_is_refused(before: str, after: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load("us-east-1", own(tmp_path, OWN.replace(before, after)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load("us-east-1", str(tmp_path / "none.toml"))
