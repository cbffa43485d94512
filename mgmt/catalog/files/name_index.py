"""A trigram index of the names of members: it finds one of ten million at once.

SQLite's FTS5 keeps the trigrams of case-folded names, and nothing else. It is a filter with false positives and no
false negatives: every search compares the names themselves. So it indexes blocks of members with consecutive ids,
whose names are mostly alike, which takes a quarter of the space. It is filled in batches up to a mark, after the
members are recorded: filling it at the same time is several times slower. PostgreSQL has an index of its own.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from sqlalchemy import Integer, ScalarResult, Select, Text, column, select, table, text
from sqlalchemy.orm import Session

from mgmt.catalog.db.conditions import table_of
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.member_tables import members
from mgmt.catalog.records.types import display

BLOCK = 32
"""Members in a block: block n has the ids from n * BLOCK on. An existing index has this size forever."""

BATCH = 640 * BLOCK
"""Names to index in one transaction."""

MOST_TRIGRAMS = 8
"""FTS5 reads one list for each; this many, spread over the keyword, leave few false positives."""

FEWEST_BLOCKS, MOST_BLOCKS = 8, 256
"""Blocks to query at a time: few at first, as a page seldom needs more."""

_names = table("member_names", column("rowid", Integer), column("member_names", Text))


def is_ours(name: str | None) -> bool:
    """Whether the table or index called `name` belongs to this index, not to the records."""
    return name is not None and name.startswith("member_names")


class NameIndex:
    """Blocks up to the mark are indexed, later ones are not. A block is indexed once it is full."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, session: Session) -> int:
        """The id of the last indexed member."""
        return session.scalar(text("SELECT indexed_to FROM member_names_mark")) or 0

    def catch_up(self) -> int:
        """Index what is beyond the mark, in short transactions that may be interrupted; returns how many names."""
        if not self._database.is_sqlite:
            return 0
        total = 0
        while self._is_behind() and (count := self._index_batch()):
            total += count
        return total

    def lower(self, session: Session) -> None:
        """Lower the mark after members were removed: SQLite reuses ids, so it must not be beyond the last one."""
        if self._database.is_sqlite:
            session.execute(
                text(
                    "UPDATE member_names_mark SET indexed_to = min(indexed_to, "
                    "(SELECT max(0, (coalesce(max(id), 0) + 1) / :block * :block - 1) FROM members))"
                ),
                {"block": BLOCK},
            )

    def can_sift(self, keyword: str) -> bool:
        """Whether there is an index, and `keyword` is long enough for it."""
        return self._database.is_sqlite and bool(_trigrams(keyword))

    def sift(
        self, session: Session, query: Select[Any], keyword: str, last: int, within: Sequence[tuple[int, int]] | None
    ) -> Iterator[Select[Any]]:
        """`query`, of members with ids up to `last`, in pieces: only blocks that can have `keyword` in a name.

        The newest come first. A piece is looked up only when it is needed, so that a page costs what is on it. Blocks
        without an id `within` one of these stretches, which are disjoint and the newest first, are left out.
        """
        # With detail=none FTS5 takes no phrase of more than one trigram, so they are ANDed.
        quoted = ('"' + trigram.replace('"', '""') + '"' for trigram in _trigrams(keyword))
        sieve = select(_names.c.rowid).where(
            _names.c.member_names.match(" AND ".join(quoted)), _names.c.rowid <= last // BLOCK
        )
        with closing(session.scalars(sieve.order_by(_names.c.rowid.desc()))) as found:
            most = FEWEST_BLOCKS
            candidates = _candidates(found, within)
            while numbers := list(islice(candidates, most)):
                blocks = table_of(numbers)
                first = blocks.c.value * BLOCK
                piece = query.join(blocks, members.c.id.between(first, first + (BLOCK - 1)))
                # Not the plain id, or SQLite would rather scan all members in that order, or up to that one.
                yield piece.where(-members.c.id >= -last).order_by(-members.c.id)
                most = min(4 * most, MOST_BLOCKS)

    def _is_behind(self) -> bool:
        """Whether a block is full and not indexed; most uploads of single files fill none, and need no transaction."""
        with self._database.reading() as session:
            batch = self._batch(session)
            return batch["last"] > batch["mark"]

    def _batch(self, session: Session) -> dict[str, int]:
        """The mark, and the id of the last member of the next batch; not beyond the mark if there is none."""
        batch = {"mark": self.mark(session), "most": BATCH, "block": BLOCK}
        last = session.scalar(
            text(
                "SELECT (coalesce(max(id), 0) + 1) / :block * :block - 1 "
                "FROM (SELECT id FROM members WHERE id > :mark ORDER BY id LIMIT :most)"
            ),
            batch,
        )
        return {**batch, "last": last}

    def _index_batch(self) -> int:
        with self._database.transaction() as session:
            batch = self._batch(session)
            if batch["last"] <= batch["mark"]:
                return 0
            session.execute(
                text(
                    "INSERT INTO member_names (rowid, name) "
                    "SELECT id / :block, group_concat(casefold(name), char(10)) FROM members "
                    "WHERE id > :mark AND id <= :last GROUP BY id / :block ORDER BY id / :block"
                ),
                batch,
            )
            session.execute(text("UPDATE member_names_mark SET indexed_to = :last"), batch)
            return batch["last"] - batch["mark"]


def _candidates(found: ScalarResult[int], within: Sequence[tuple[int, int]] | None) -> Iterator[int]:
    """Those of the blocks in `found` that have an id in one of the stretches; both come the newest first."""
    stretches = None if within is None else iter(within)
    first = math.inf
    while numbers := found.fetchmany(MOST_BLOCKS):
        if stretches is None:
            yield from numbers
            continue
        for number in numbers:
            start, end = number * BLOCK, number * BLOCK + BLOCK - 1
            while first > end:
                if (stretch := next(stretches, None)) is None:
                    return
                first, last = stretch
            if last >= start:
                yield number


def _trigrams(keyword: str) -> list[str]:
    folded = display(keyword).casefold()
    last = len(folded) - 3
    count = min(last + 1, MOST_TRIGRAMS)
    places = (last * number // (count - 1) for number in range(count)) if count > 1 else range(count)
    return list(dict.fromkeys(folded[at : at + 3] for at in places))
