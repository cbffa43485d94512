"""How much was archived, and how much that takes in the stores."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, case, cast, func, select

from mgmt.catalog.files.usage import Usage
from mgmt.catalog.records.enums import FileStatus
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


class SizesOf(Usage):
    """Sums over the archives that are stored."""

    def sizes_by(self, group: str) -> Sequence[Sizes]:
        """The archives by `group`, as in `by`; the order is that of the database."""
        value, size, original = self._group(group), func.coalesce(FileRecord.size, 0), FileRecord.original_size
        compared = case((original.is_not(None), size), else_=0)
        sums = [cast(func.sum(each), BigInteger) for each in (func.coalesce(original, 0), size, compared)]
        query = select(value, func.count(), *sums).group_by(value)
        query = query.where(FileRecord.store.is_not(None), FileRecord.status != FileStatus.DELETED)
        with self._database.reading() as session:
            return [Sizes(None if first is None else str(first), *rest) for first, *rest in session.execute(query)]
