"""What storage costs: a dated table of prices, and estimates made of it. Knows numbers only: no store, no catalog.

Everything here is an estimate. A price that is not in the table is unknown, and so is what it is part of.
"""

from mgmt.prices.estimate import (
    Amount,
    Estimate,
    Objects,
    deletion,
    download,
    no_cost,
    storage_month,
    thaw,
    total,
    transition,
    upload,
)
from mgmt.prices.table import GB, MINIMUM_DAYS, MINIMUM_SIZE, Prices, load

__all__ = [
    "GB",
    "MINIMUM_DAYS",
    "MINIMUM_SIZE",
    "Amount",
    "Estimate",
    "Objects",
    "Prices",
    "deletion",
    "download",
    "load",
    "no_cost",
    "storage_month",
    "thaw",
    "total",
    "transition",
    "upload",
]
