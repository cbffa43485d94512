"""The names of members by trigram: how a search finds one of ten million at once.

SQLite's FTS5 keeps the trigrams of folded names, and nothing else. It is a sieve, not a judge: it never misses a
name, and whoever asks looks at what it lets through again. It is filled in batches behind a mark, after the members
are recorded, because filling it while they are is several times slower. PostgreSQL has an index that keeps itself.
"""

from typing import Any

from sqlalchemy import Integer, Select, Text, column, table, text
from sqlalchemy.orm import Session

from mgmt.catalog.columns import display
from mgmt.catalog.database import Database
from mgmt.catalog.tables import members

BATCH = 50_000
"""Names that are indexed in one transaction."""

MOST_TRIGRAMS = 60
"""FTS5 refuses very long queries; this many let hardly anything through."""

_names = table("member_names", column("rowid", Integer), column("member_names", Text))


def is_ours(name: str | None) -> bool:
    """The table or index called `name` belongs to the search, and not to the records."""
    return name is not None and name.startswith("member_names")


class NameIndex:
    """What is up to the mark is in the index; what is beyond it is not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, session: Session) -> int:
        """The id of the last member that is indexed."""
        return session.scalar(text("SELECT indexed_to FROM member_names_mark")) or 0

    def catch_up(self) -> int:
        """Index what is beyond the mark, in short transactions that can be cut off anywhere; returns how many names."""
        if not self._database.is_sqlite:
            return 0
        total = 0
        while count := self._index_batch():
            total += count
        return total

    def lower(self, session: Session) -> None:
        """After members were removed: their ids are given again, so the mark must not be beyond the last one."""
        if self._database.is_sqlite:
            session.execute(
                text(
                    "UPDATE member_names_mark SET indexed_to = "
                    "min(indexed_to, (SELECT coalesce(max(id), 0) FROM members))"
                )
            )

    def can_sift(self, keyword: str) -> bool:
        """There is an index to ask, and `keyword` is long enough to ask for."""
        return self._database.is_sqlite and bool(_trigrams(keyword))

    def sift(self, query: Select[Any], keyword: str, last: int) -> Select[Any]:
        """`query`, of members with ids up to `last`, only those that can have `keyword` in their name.

        The newest come first without being sorted, so that a page costs what is on it.
        """
        # With detail=none FTS5 takes no phrase of more than one trigram, so they are ANDed.
        quoted = ('"' + trigram.replace('"', '""') + '"' for trigram in _trigrams(keyword)[:MOST_TRIGRAMS])
        query = query.join(_names, _names.c.rowid == members.c.id).order_by(_names.c.rowid.desc())
        return query.where(_names.c.member_names.match(" AND ".join(quoted)), _names.c.rowid <= last)

    def _index_batch(self) -> int:
        with self._database.transaction() as session:
            batch = {"mark": self.mark(session), "most": BATCH}
            last: int | None = session.scalar(
                text("SELECT max(id) FROM (SELECT id FROM members WHERE id > :mark ORDER BY id LIMIT :most)"), batch
            )
            if last is None:
                return 0
            batch["last"] = last
            session.execute(
                text(
                    "INSERT INTO member_names (rowid, name) "
                    "SELECT id, casefold(name) FROM members WHERE id > :mark AND id <= :last ORDER BY id"
                ),
                batch,
            )
            session.execute(text("UPDATE member_names_mark SET indexed_to = :last"), batch)
            return last - batch["mark"]


def _trigrams(keyword: str) -> list[str]:
    folded = display(keyword).casefold()
    return list(dict.fromkeys(folded[at : at + 3] for at in range(len(folded) - 2)))
