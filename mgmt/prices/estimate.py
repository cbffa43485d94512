"""Estimates: what storing, reading, thawing, moving and removing objects costs.

Prices of requests are for 1,000, those of bytes for a GB. The rules are those of the S3 pricing page and of the user
guide ("Multipart upload and pricing"); docs/cold.md says them in words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal

from mgmt.choices import FROZEN_CLASSES, StorageClass, Tier
from mgmt.prices.table import AT_LEAST, GB, MINIMUM_DAYS, MINIMUM_SIZE, OVERHEAD, Prices

DAYS_OF_MONTH = 30
STANDARD = StorageClass.STANDARD.value


@dataclass(frozen=True, slots=True)
class Amount:
    """What one thing costs; `money` is None if its price is unknown."""

    what: str
    money: Decimal | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What something costs once, and each month from then on."""

    currency: str
    once: tuple[Amount, ...] = ()
    monthly: tuple[Amount, ...] = ()

    @property
    def known(self) -> Decimal:
        """What is known of the cost that arises once."""
        return sum((each.money for each in self.once if each.money is not None), Decimal(0))

    @property
    def known_monthly(self) -> Decimal:
        """What is known of the cost of a month."""
        return sum((each.money for each in self.monthly if each.money is not None), Decimal(0))

    @property
    def unknown(self) -> list[str]:
        """What has no known price, each once."""
        return list(dict.fromkeys(each.what for each in (*self.once, *self.monthly) if each.money is None))

    @property
    def micros(self) -> int | None:
        """The cost that arises once, in millionths of the currency; None if a price of it is unknown."""
        if any(each.money is None for each in self.once):
            return None
        return int((self.known * 1_000_000).to_integral_value(ROUND_HALF_EVEN))

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.currency, self.once + other.once, self.monthly + other.monthly)

    def __str__(self) -> str:
        parts = []
        if self.once or not self.monthly:
            parts.append(_text(self.known, self.currency))
        if self.monthly:
            parts.append(f"{_text(self.known_monthly, self.currency)} a month")
        missing = f", and what is unknown: {', '.join(self.unknown)}" if self.unknown else ""
        return f"about {' and '.join(parts)}{missing}"


def _text(money: Decimal, currency: str) -> str:
    """With cents; with what is needed to see something of less."""
    cents = money.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    if money and cents < Decimal("0.10"):
        return f"{money.quantize(Decimal('0.000001'), ROUND_HALF_EVEN).normalize():f} {currency}"
    return f"{cents:,} {currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Objects of one class: how many, and their bytes together."""

    storage_class: str
    size: int
    count: int = 1
    small: int | None = None
    """By how many bytes those that are smaller than the minimum size fall short of it; of one it is computed."""
    days_stored: Decimal | None = None
    """How long they have been in their class; None if that is unknown."""

    @property
    def billed(self) -> int:
        """The bytes that are billed at the price of their class."""
        small = max(0, MINIMUM_SIZE - self.size) if self.small is None else self.small
        own = OVERHEAD.get(self.storage_class, (0, 0))[0]
        return self.size + (small if self.storage_class in AT_LEAST else 0) + own * self.count


def no_cost(prices: Prices) -> Estimate:
    """Nothing."""
    return Estimate(prices.currency)


def storage_month(prices: Prices, stored: Objects, used: Decimal = Decimal(0)) -> Estimate:
    """What a month costs. `used` is the GB that are stored in this class besides."""
    amounts = [_gb(prices, stored.storage_class, "storage", stored.billed, used)]
    if standard := OVERHEAD.get(stored.storage_class, (0, 0))[1]:
        amounts.append(_gb(prices, STANDARD, "storage", standard * stored.count))
    if stored.storage_class == StorageClass.INTELLIGENT_TIERING:
        amounts.append(_thousands(prices, stored.storage_class, "monitoring", stored.count))
    return Estimate(prices.currency, monthly=tuple(amounts))


def upload(prices: Prices, new: Objects, parts: int) -> Estimate:
    """What storing objects in `parts` requests costs; and their storage each month.

    Parts are billed as STANDARD until the upload is completed by one request at the price of the class.
    """
    once = [_thousands(prices, new.storage_class, "put", new.count)]
    if parts > new.count:
        once.append(_thousands(prices, STANDARD, "put", parts + new.count))
    return Estimate(prices.currency, tuple(once), storage_month(prices, new).monthly)


def thaw(prices: Prices, frozen: Objects, tier: Tier, days: int) -> Estimate:
    """What thawing objects costs, and keeping the copies for `days`."""
    kind = tier.value.lower()
    copies = _gb(prices, STANDARD, "storage", frozen.size)
    return Estimate(
        prices.currency,
        (
            _thousands(prices, frozen.storage_class, f"thaw_{kind}", frozen.count),
            _gb(prices, frozen.storage_class, f"retrieval_{kind}", frozen.size),
            _scaled(copies, Decimal(days) / DAYS_OF_MONTH, "restored copy"),
        ),
    )


def download(prices: Prices, read: Objects, requests: int) -> Estimate:
    """What reading objects in `requests` requests costs. What was frozen is read from its copy, as STANDARD."""
    read_as = STANDARD if read.storage_class in FROZEN_CLASSES else read.storage_class
    amounts = [_thousands(prices, read_as, "get", requests), _gb(prices, STANDARD, "transfer", read.size)]
    if read_as not in (STANDARD, StorageClass.INTELLIGENT_TIERING):
        amounts.append(_gb(prices, read_as, "retrieval", read.size))
    return Estimate(prices.currency, tuple(amounts))


def deletion(prices: Prices, removed: Objects) -> Estimate:
    """What removing objects costs: the rest of the minimum duration of their class."""
    minimum = MINIMUM_DAYS.get(removed.storage_class, 0)
    if not minimum:
        return no_cost(prices)
    if removed.days_stored is None:
        return Estimate(prices.currency, (Amount("early deletion", None),))
    left = Decimal(minimum) - max(removed.days_stored, Decimal(0))
    if left <= 0:
        return no_cost(prices)
    month = _gb(prices, removed.storage_class, "storage", removed.billed)
    return Estimate(prices.currency, (_scaled(month, left / DAYS_OF_MONTH, "early deletion"),))


def transition(prices: Prices, before: Objects, after: str, parts: int) -> Estimate:
    """What moving objects to another class costs: reading them, storing them, and what is left of their duration."""
    reading: tuple[Amount, ...] = ()
    if before.storage_class not in (STANDARD, StorageClass.INTELLIGENT_TIERING, *FROZEN_CLASSES):
        reading = (_gb(prices, before.storage_class, "retrieval", before.size),)
    stored = upload(prices, replace(before, storage_class=after, days_stored=None), parts)
    return Estimate(prices.currency, (*reading, *stored.once, *deletion(prices, before).once), stored.monthly)


def total(estimates: Iterable[Estimate], prices: Prices) -> Estimate:
    """All of them together."""
    return sum(estimates, no_cost(prices))


def _gb(prices: Prices, storage_class: str, kind: str, size: int, used: Decimal = Decimal(0)) -> Amount:
    what = kind if kind == "transfer" else f"{storage_class} {kind.replace('_', ' ')}"
    if not size:
        return Amount(what, Decimal(0))
    cell = prices.cell(storage_class, kind)
    return Amount(what, None if cell is None else cell.of(Decimal(size) / GB, used))


def _thousands(prices: Prices, storage_class: str, kind: str, count: int) -> Amount:
    what = f"{storage_class} {kind.replace('_', ' ')} requests" if kind != "monitoring" else "monitoring"
    cell = prices.cell(storage_class, kind)
    return Amount(what, None if cell is None else cell.of(Decimal(count) / 1000))


def _scaled(amount: Amount, by: Decimal, what: str) -> Amount:
    return Amount(
        what if amount.money is not None else f"{what} ({amount.what})",
        None if amount.money is None else amount.money * by,
    )
