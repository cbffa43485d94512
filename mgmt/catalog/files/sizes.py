"""How much was archived, and how much that takes in the stores."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, case, cast, func, select

from mgmt.catalog.db.database import Database
from mgmt.catalog.files.stored import SIZE, STORED, grouped
from mgmt.catalog.records.files import FileRecord


class Sizes(NamedTuple):
    """The stored archives of one group. Sizes are in bytes."""

    group: str | None
    archives: int
    original_size: int
    """Of what was archived; archives of which that is unknown count as nothing."""
    size: int
    compared: int
    """The size of those archives whose original size is known."""


class SizesOf:
    """Sums over the archives that are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sizes_by(self, group: str) -> Sequence[Sizes]:
        """The archives by class, store, folder or `tag:KEY`; the order is that of the database."""
        value, original = grouped(group, is_sqlite=self._database.is_sqlite), FileRecord.original_size
        compared = case((original.is_not(None), SIZE), else_=0)
        sums = [cast(func.sum(each), BigInteger) for each in (func.coalesce(original, 0), SIZE, compared)]
        query = select(value, func.count(), *sums).where(*STORED).group_by(value)
        with self._database.reading() as session:
            return [Sizes(None if first is None else str(first), *rest) for first, *rest in session.execute(query)]
