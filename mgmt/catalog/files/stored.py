"""Which archives are stored, and what they are counted by."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, case, extract, func, literal_column

from mgmt.catalog.db.conditions import tag_value
from mgmt.catalog.db.times import month_of
from mgmt.catalog.files.filters import WHEN
from mgmt.catalog.records.enums import FileStatus
from mgmt.catalog.records.files import FileRecord

STORED = (func.length(FileRecord.store) > 0, FileRecord.status != FileStatus.DELETED)
"""In words for which SQLite has no index: to read all of the table takes half the time of a million rows in the order
of one."""

AS_INDEXED = (FileRecord.store.is_not(None), FileRecord.status != literal_column(f"'{FileStatus.DELETED.value}'"))
"""The same as the index of costs says it: SQLite does not look into bound values."""

BILLED: ColumnElement[bool] = func.substr(FileRecord.store, 1, 7) != "file://"
"""Nobody bills what is stored in a directory."""

SIZE = func.coalesce(FileRecord.size, 0)

SINCE: ColumnElement[Any] = func.coalesce(FileRecord.stored_at, FileRecord.recorded_at)
"""When an archive came into its class."""


def grouped(by: str, *, is_sqlite: bool) -> ColumnElement[Any]:
    """What an archive is counted by: its class, store, folder, year or month, or its value of `tag:KEY`."""
    if by.startswith("tag:"):
        return tag_value(FileRecord.tags, by.removeprefix("tag:"))
    slash = (func.instr if is_sqlite else func.strpos)(FileRecord.path, "/")
    columns: Mapping[str, Any] = {
        "class": FileRecord.storage_class,
        "store": FileRecord.store,
        "folder": case((slash > 0, func.substr(FileRecord.path, 1, slash - 1)), else_=None),
        "year": extract("year", SINCE),
        "month": month_of(WHEN),
    }
    chosen: ColumnElement[Any] = columns[by]
    return chosen
