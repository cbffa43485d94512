"""Lists of files: searched, sorted, in pages. Only files are mapped for it, which is most of the start of `mgmt ls`."""

from collections.abc import Mapping
from typing import Any, Unpack

from sqlalchemy import ColumnElement, func, literal_column, or_, select, tuple_

from mgmt.catalog.db.conditions import containing, starting
from mgmt.catalog.db.database import Database
from mgmt.catalog.files.arguments import (
    require,
    require_known,
    require_limit,
    require_moments,
    require_tags,
    require_text,
)
from mgmt.catalog.files.filters import WHEN, FileFilter, Narrowing, PageNarrowing
from mgmt.catalog.records.enums import FileStatus, Location, one_of
from mgmt.catalog.records.files import FileRecord
from mgmt.errors import ConfigurationError, NotFoundError

SORTS: Mapping[str, ColumnElement[Any]] = {
    "path": FileRecord.path.expression,
    "name": FileRecord.name.expression,
    "size": func.coalesce(FileRecord.size, literal_column("-1")),  # not bound: PostgreSQL has an index on it
    "modified": WHEN,
    "recorded": FileRecord.id.expression,
}
"""Sort orders of files."""


class FileLists:
    """Lists of recorded files, paged by key: `after` is the id of the last file of the page before.

    Records that come out are live, as those of `MetadataManager`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def search_files(
        self,
        keyword: str | None = None,
        location: Location | str | None = None,
        status: FileStatus | str | None = None,
        *,
        limit: int | None = 100,
        after: int | None = None,
        **narrowing: Unpack[Narrowing],
    ) -> list[FileRecord]:
        """Files whose name or path contains `keyword`, in any case, the newest record first; without one, all files.

        Further keywords narrow them (`FileFilter` has the details): `host` excludes files of other hosts, `tags` are
        exact, `since` is included and `until` is not; `deleted=False` excludes deleted files.
        """
        require_text(keyword=keyword)
        require_limit(limit)
        only = _filter(location, status, narrowing)
        query = select(FileRecord).where(*only.of_files()).order_by(FileRecord.id.desc()).limit(limit)
        if keyword:
            query = query.where(or_(containing(FileRecord.name, keyword), containing(FileRecord.path, keyword)))
        if after is not None:
            query = query.where(FileRecord.id < after)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def list_files(
        self,
        prefix: str | None = None,
        location: Location | str | None = None,
        status: FileStatus | str | None = None,
        *,
        sort: str = "path",
        limit: int | None = 50,
        **narrowing: Unpack[PageNarrowing],
    ) -> list[FileRecord]:
        """Files whose path begins with `prefix`, in exactly this case. `sort` is one of `SORTS`; `-` reverses it.

        Further keywords narrow them, as in `search_files`.
        """
        require("sort", sort, str, "text")
        require_text(prefix=prefix)
        require_limit(limit)
        by, descending, after = sort.removeprefix("-"), sort.startswith("-"), narrowing.pop("after", None)
        if by not in SORTS:
            raise ConfigurationError(f"files cannot be sorted by {by!r}", next_step=f"sort by {', '.join(SORTS)}")
        column = SORTS[by]
        order = [c.desc() if descending else c.asc() for c in (column, FileRecord.id)]
        only = _filter(location, status, narrowing)
        query = select(FileRecord).where(*only.of_files()).order_by(*order).limit(limit)
        if prefix:
            query = query.where(starting(FileRecord.path, prefix))
        with self._database.reading() as session:
            if after is not None:
                last = session.execute(select(column, FileRecord.id).where(FileRecord.id == after)).first()
                if last is None:
                    raise NotFoundError(f"there is no record of file {after}", next_step="mgmt ls")
                at = tuple_(column, FileRecord.id)
                query = query.where(at < last if descending else at > last)
            return list(session.scalars(query))


def _filter(location: Location | str | None, status: FileStatus | str | None, more: Narrowing) -> FileFilter:
    require_known(more, Narrowing.__annotations__)
    require_text(location=location, status=status, host=more.get("host"))
    require_moments(since=more.get("since"), until=more.get("until"))
    require_tags(more.get("tags", {}))
    return FileFilter(
        location=None if location is None else one_of(Location, location),
        status=None if status is None else one_of(FileStatus, status),
        **more,
    )
