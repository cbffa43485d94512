"""Estimates, each with the rule that it follows. The prices are those of us-east-1."""

from decimal import Decimal

import pytest

from mgmt import prices
from mgmt.choices import StorageClass, Tier
from mgmt.prices import GB, Objects, load

US = load("us-east-1")
TB = 1024 * GB


def cents(money: Decimal) -> str:
    return f"{money:.2f}"


def test_the_worked_example_to_the_cent() -> None:
    """15 million objects, together 100 TB, out of GLACIER, Standard: AWS re:Post, "manage data retrieval"."""
    frozen = Objects(storage_class="GLACIER", size=100 * TB, count=15_000_000)
    requests, retrieval, _copy = prices.thaw(US, frozen, Tier.STANDARD, 1).once
    assert (requests.money, retrieval.money) == (Decimal("750.00"), Decimal("1024.00"))
    assert cents(Decimal(sum(each.money or 0 for each in (requests, retrieval)))) == "1774.00"


def test_storage_in_standard_gets_cheaper_with_the_volume() -> None:
    def month(tb: int) -> Decimal:
        return prices.storage_month(US, Objects(storage_class="STANDARD", size=tb * TB)).known_monthly

    assert month(1) == Decimal("23.552")
    assert month(50) == Decimal("1177.60")
    assert month(500) == 51200 * Decimal("0.023") + (500 * 1024 - 51200) * Decimal("0.022")
    assert month(600) > month(500)


def test_what_is_stored_besides_counts_for_the_volume() -> None:
    one = Objects(storage_class="STANDARD", size=TB)
    assert prices.storage_month(US, one, used=Decimal(51200)).known_monthly == 1024 * Decimal("0.022")


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_frozen_object_has_32_kb_in_its_class_and_8_kb_in_standard(storage_class: str) -> None:
    own, standard = prices.storage_month(US, Objects(storage_class=storage_class, size=0, count=1024)).monthly
    cell = US.cell(storage_class, "storage")
    assert cell is not None
    assert own.money == cell.of(Decimal(32 * 1024 * 1024) / GB)
    assert standard.money == Decimal(8 * 1024 * 1024) / GB * Decimal("0.023")


@pytest.mark.parametrize(
    ("storage_class", "billed"),
    [("STANDARD_IA", 128), ("ONEZONE_IA", 128), ("GLACIER_IR", 128), ("STANDARD", 1), ("INTELLIGENT_TIERING", 1)],
)
def test_small_objects_are_billed_as_128_kb_in_some_classes(storage_class: str, billed: int) -> None:
    assert Objects(storage_class=storage_class, size=1 << 10).billed == billed << 10


def test_many_objects_say_by_how_much_they_fall_short() -> None:
    assert Objects(storage_class="STANDARD_IA", size=300 << 10, count=3, small=84 << 10).billed == 384 << 10


@pytest.mark.parametrize(
    ("storage_class", "days"),
    [("STANDARD_IA", 30), ("ONEZONE_IA", 30), ("GLACIER_IR", 90), ("GLACIER", 90), ("DEEP_ARCHIVE", 180)],
)
def test_early_deletion_costs_the_rest_of_the_minimum_duration(storage_class: str, days: int) -> None:
    def early(stored: int | None) -> prices.Estimate:
        days_stored = None if stored is None else Decimal(stored)
        return prices.deletion(US, Objects(storage_class=storage_class, size=GB, days_stored=days_stored))

    month = US.cell(storage_class, "storage")
    assert month is not None
    billed = Decimal(Objects(storage_class=storage_class, size=GB).billed) / GB
    assert early(days).known == 0
    assert early(days - 15).known == (month.of(billed) or 0) / 2
    assert early(0).known == (month.of(billed) or 0) * days / 30
    assert early(None).unknown == ["early deletion"]


def test_other_classes_have_no_minimum_duration() -> None:
    removed = Objects(storage_class="STANDARD", size=GB, days_stored=None)
    assert prices.deletion(US, removed) == prices.no_cost(US)


def test_tiers_have_prices_of_their_own_and_the_copy_is_billed_as_standard() -> None:
    def thaw(tier: Tier) -> list[Decimal | None]:
        frozen = Objects(storage_class="DEEP_ARCHIVE", size=GB, count=1000)
        return [each.money for each in prices.thaw(US, frozen, tier, 15).once]

    copy = Decimal("0.0115")
    assert thaw(Tier.STANDARD) == [Decimal("0.1"), Decimal("0.02"), copy]
    assert thaw(Tier.BULK) == [Decimal("0.025"), Decimal("0.0025"), copy]
    assert thaw(Tier.EXPEDITED) == [None, None, copy]


def test_parts_are_billed_as_standard_and_their_completion_at_the_price_of_the_class() -> None:
    once = prices.upload(US, Objects(storage_class="DEEP_ARCHIVE", size=GB), parts=128).once
    assert [each.money for each in once] == [Decimal("0.00005"), Decimal(129) * Decimal("0.000005")]
    single = prices.upload(US, Objects(storage_class="STANDARD", size=1), parts=1).once
    assert [each.money for each in single] == [Decimal("0.000005")]


def test_intelligent_tiering_is_monitored() -> None:
    found = prices.storage_month(US, Objects(storage_class="INTELLIGENT_TIERING", size=0, count=2000))
    assert found.known_monthly == Decimal("0.0050")


def test_reading_from_a_cold_class_costs_by_the_gb_and_transfer_is_unknown() -> None:
    found = prices.download(US, Objects(storage_class="STANDARD_IA", size=GB), requests=10)
    assert [(each.what, each.money) for each in found.once] == [
        ("STANDARD_IA get requests", Decimal("0.00001")),
        ("transfer", None),
        ("STANDARD_IA retrieval", Decimal("0.01")),
    ]
    assert found.micros is None
    assert str(found) == "about 0.01001 USD, and what is unknown: transfer"


def test_a_transition_pays_for_reading_storing_and_the_rest_of_the_duration() -> None:
    before = Objects(storage_class="STANDARD_IA", size=GB, days_stored=Decimal(15))
    found = prices.transition(US, before, StorageClass.DEEP_ARCHIVE, 1)
    assert found.known == Decimal("0.01") + Decimal("0.00005") + Decimal("0.0125") / 2


def test_what_has_no_price_is_unknown_and_never_nothing() -> None:
    nowhere = load(None)
    found = prices.storage_month(nowhere, Objects(storage_class="STANDARD", size=GB))
    assert found.unknown == ["STANDARD storage"]
    assert "unknown" in str(found)
    assert prices.upload(load("eu-west-1"), Objects(storage_class="DEEP_ARCHIVE", size=GB), 1).micros is None
    beyond = prices.storage_month(load("eu-west-1"), Objects(storage_class="STANDARD", size=600 * TB))
    assert beyond.unknown == ["STANDARD storage"]
