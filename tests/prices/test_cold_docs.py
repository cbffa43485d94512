"""The figures in docs/cold.md are what the estimates say."""

from decimal import Decimal
from pathlib import Path

import pytest

from mgmt import prices
from mgmt.choices import DEFAULT_PART_SIZE, Tier
from mgmt.prices import GB, Objects, load
from mgmt.storage.multipart import plan_part_size

PAGE = (Path(__file__).parents[2] / "docs/cold.md").read_text("utf-8")
US = load("us-east-1")
SIZE, COUNT = 500 * GB, 101
PARTS = -(-400 * GB // plan_part_size(400 * GB, 10_000)) + 100 * (GB // DEFAULT_PART_SIZE)
"""Of an archive of 400 GB, and of a hundred of 1 GB."""


def project(storage_class: str, **more: Decimal) -> Objects:
    return Objects(storage_class=storage_class, size=SIZE, count=COUNT, small=0, **more)


def row(begin: str) -> list[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {begin}")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


@pytest.mark.parametrize(("at", "storage_class"), [(0, "STANDARD"), (1, "DEEP_ARCHIVE")])
def test_a_year(at: int, storage_class: str) -> None:
    year = 12 * prices.storage_month(US, project(storage_class)).known_monthly
    assert row("storing it: a year")[at] == f"{year:.2f} USD"
    sent = prices.upload(US, project(storage_class), PARTS).known
    assert row("requests of the uploads")[at] == f"{sent:.2f} USD"


def test_a_thaw_and_an_early_removal() -> None:
    requests, retrieval, copy = (
        each.money or Decimal(0) for each in prices.thaw(US, project("DEEP_ARCHIVE"), Tier.BULK, 7).once
    )
    assert row("bringing all of it back")[1] == f"{requests + retrieval:.2f} USD and {copy:.2f} USD for the copy"
    early = prices.deletion(US, project("DEEP_ARCHIVE", days_stored=Decimal(30))).known
    assert row("removing it after 30 days")[1] == f"{early:.2f} USD"
