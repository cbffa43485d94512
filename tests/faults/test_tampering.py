"""Promise 5: any change of the history, by someone with every right to the database, is detected and named.

The tamperer drops the triggers first and restores them at the end. He may know how to hash a row and how to make a
seal; he cannot reach the anchors.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Connection, Integer, LargeBinary, Table, text
from sqlalchemy.types import BigInteger

from mgmt.catalog import (
    Anchor,
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    Finding,
    Location,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    Verification,
    VerifyRecord,
    open_catalog,
)
from mgmt.catalog.audit import chain, triggers
from mgmt.catalog.audit.canonical import canonical_rows
from mgmt.catalog.audit.seals import digest_of, seals
from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.records.types import UTCDateTime
from mgmt.errors import StoreError
from tests.conftest import Figure
from tests.postgresql import PostgreSQL

TABLES = METADATA.tables
SUB_TABLES = {"upload": "uploads", "download": "downloads", "search": "searches", "verify": "verifications"}
ENUM_VALUES = {
    ("operations", "status"): ["success", "failed", "partial", "cancelled", "running"],
    ("operations", "operation_type"): ["delete", "free", "recover"],
    ("searches", "location"): ["local", "s3", "global"],
    ("operation_files", "role"): ["source", "archive", "index", "completed", "result"],
}


@dataclass
class History:
    """A catalog with a history, an early copy of it, and its anchors."""

    catalog: Catalog
    early: Path | None
    """SQLite: a copy of the file after half of the operations."""
    anchors: list[Anchor]

    def findings(self, connection: Connection | None = None) -> list[Finding]:
        verification = Verification(self.catalog.database, self.anchors)
        return list(verification.findings() if connection is None else verification.findings_in(connection))


def record_one(catalog: Catalog, number: int) -> None:
    """Record an operation of a random type."""
    kind = random.Random(number).choice([UploadRecord, DownloadRecord, SearchRecord, VerifyRecord, DeleteRecord])
    path = f"/films/{number}/caf\udce9"
    given = {"keyword": "caf\udce9"} if kind is SearchRecord else {}
    operation = kind(target_path=path, command_args={"level": "fast"}, **given)
    with suppress(StoreError), catalog.journal.record(operation) as operation:
        if isinstance(operation, UploadRecord):
            archive = FileRecord(
                path=f"{number}.tar.gz", location=Location.S3, store="file:///store", status=FileStatus.COMPLETED
            )
            source = FileRecord(path=path, location=Location.LOCAL, host="nas", status=FileStatus.COMPLETED)
            catalog.journal.link(operation, catalog.metadata.save_file_record(archive), Role.ARCHIVE)
            catalog.journal.link(operation, catalog.metadata.save_file_record(source), Role.SOURCE)
            operation.original_size, operation.digest = number, f"digest-{number}"
        if number % 7 == 0:
            operation.status = Status.PARTIAL
        if number % 11 == 0:
            raise StoreError("the store refused")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """60 operations in seals of 1 to 7, some not yet sealed, and one running."""
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "BATCH", 7)
        if request.param == "sqlite":
            yield made(f"sqlite:///{folder}/catalog.db", folder)
        else:
            server: PostgreSQL = request.getfixturevalue("postgresql_server")
            with server.database() as url:
                found = made(url, None)
                yield found
                found.catalog.close()


def made(url: str, folder: Path | None) -> History:
    catalog, chance = open_catalog(url), random.Random(5)
    anchors, early = [], None
    for number in range(1, 61):
        record_one(catalog, number)
        if chance.random() < 0.4:
            catalog.audit.seal()
        if number in (30, 60):
            catalog.audit.seal()
            head = catalog.audit.head()
            assert head is not None
            anchors.append(Anchor(head.sequence, head.expected_digest.hex()))
            if number == 30 and folder is not None:
                catalog.database.close()
                early = Path(shutil.copy(folder / "catalog.db", folder / "early.db"))
    for number in range(61, 65):
        record_one(catalog, number)
    catalog.metadata.save_operation(UploadRecord(target_path="/running"))
    return History(catalog, early, anchors)


class Tamperer:
    """Changes something, and returns the operations and seals that the audit must name."""

    def __init__(
        self, connection: Connection, chance: random.Random, anchors: list[Anchor], restore: list[str]
    ) -> None:
        self.connection = connection
        self.restore = restore
        self.chance = chance
        self.anchors = anchors
        ended = "SELECT operation_id, operation_type, seq, seal FROM operations WHERE sha256 IS NOT NULL ORDER BY seq"
        self.ended = [tuple(row) for row in connection.execute(text(ended))]
        self.sealed = [row for row in self.ended if row[3] is not None]
        self.seals = [seal.sequence for seal in seals(connection, 0, 1000)]

    def run(self, statement: str, **values: object) -> int:
        return self.connection.execute(text(statement), values).rowcount

    def change(self, table: str, column: str, where: str, **values: object) -> None:
        """Give the column another value of its type."""
        kind = TABLES[table].c[column]
        now = self.connection.execute(
            Table.select(TABLES[table]).with_only_columns(kind).where(text(where)), values
        ).scalar_one()
        new = self.other(table, column, now)
        assert new != now
        update = TABLES[table].update().where(text(where)).values({column: new})
        assert self.connection.execute(update, values).rowcount == 1

    def other(self, table: str, column: str, now: Any) -> Any:
        kind, chance = TABLES[table].c[column], self.chance
        if now is not None and kind.nullable and table != "files" and chance.random() < 0.3:
            return None
        if (table, column) in ENUM_VALUES:
            return chance.choice([word for word in ENUM_VALUES[table, column] if word != now])
        if isinstance(kind.type, UTCDateTime):
            return (now or datetime(2024, 2, 29, tzinfo=UTC)) + timedelta(microseconds=chance.choice([1, -1, 10**9]))
        if isinstance(kind.type, Boolean):
            return not now
        if isinstance(kind.type, JSON):
            return {**(now or {}), "x": chance.random()}
        if isinstance(kind.type, (Integer, BigInteger)):
            return (now or 0) + chance.choice([1, 1000])
        if isinstance(kind.type, LargeBinary):
            return chance.randbytes(32)
        return (now or "") + chance.choice(["x", " ", "é", "\\xff"])

    def found(self, history: History) -> list[Finding]:
        """The findings of an audit, once the triggers are restored."""
        while self.restore:
            self.run(self.restore.pop())
        return history.findings(self.connection)

    def named(self, operation: tuple[Any, ...]) -> set[object]:
        return {operation[0]}

    # Each of these is a way to tamper with the history.

    def edits_a_fact(self) -> set[object]:
        operation = self.chance.choice(self.ended)
        tables = ["operations", *([SUB_TABLES[operation[1]]] if operation[1] in SUB_TABLES else [])]
        table = self.chance.choice(tables)
        column = self.chance.choice([c.name for c in TABLES[table].columns if c.name not in ("operation_id", "seq")])
        self.change(table, column, "operation_id = :at", at=operation[0])
        return self.named(operation)

    def edits_a_fact_and_its_hash(self) -> set[object]:
        operation = self.chance.choice(self.sealed)
        column = self.chance.choice(["target_path", "status", "user", "metadata", "completed_at", "error_message"])
        self.change("operations", column, "operation_id = :at", at=operation[0])
        self.hash_again(operation[0])
        return self.named(operation)

    def edits_a_fact_and_its_seal(self) -> set[object]:
        """By someone who knows how to make seals; the later seals stay as they are."""
        operation = self.chance.choice(self.sealed)
        self.change("operations", "result_path", "operation_id = :at", at=operation[0])
        self.seal_again(operation[3], {operation[0]: self.hash_again(operation[0])})
        return {operation[3]}

    def rewrites_all_seals(self) -> set[object]:
        """By someone who rewrites the whole chain from his change on."""
        operation = self.chance.choice(self.sealed)
        self.change("operations", "user", "operation_id = :at", at=operation[0])
        changed = {operation[0]: self.hash_again(operation[0])}
        for sequence in self.seals:
            if sequence >= operation[3]:
                self.seal_again(sequence, changed)
        return {anchor.sequence for anchor in self.anchors if anchor.sequence >= operation[3]}

    def edits_an_id(self) -> set[object]:
        operation = self.chance.choice(self.sealed)
        for table in (TABLES["operations"], *(TABLES[name] for name in SUB_TABLES.values()), TABLES["operation_files"]):
            self.run(f"UPDATE {table.name} SET operation_id = 'another' WHERE operation_id = :id", id=operation[0])
        return {operation[0], "another"}

    def edits_a_link(self) -> set[object]:
        operation = self.chance.choice([each for each in self.ended if each[1] == "upload"])
        which = "operation_id = :at AND role = 'archive'"
        if self.chance.random() < 0.5:
            self.change("operation_files", "role", which, at=operation[0])
        else:
            files = f"id IN (SELECT file_id FROM operation_files WHERE {which})"
            self.change("files", self.chance.choice(["path", "store"]), files, at=operation[0])
        return self.named(operation)

    def removes_an_operation(self) -> set[object]:
        operation = self.chance.choice(self.sealed)
        for name in ["operation_files", *SUB_TABLES.values(), "operations"]:
            self.run(f"DELETE FROM {name} WHERE operation_id = :id", id=operation[0])
        return self.named(operation)

    def removes_a_part(self) -> set[object]:
        operation = self.chance.choice([each for each in self.ended if each[1] in SUB_TABLES])
        tables = [SUB_TABLES[operation[1]], *(["operation_files"] if operation[1] == "upload" else [])]
        assert self.run(f"DELETE FROM {self.chance.choice(tables)} WHERE operation_id = :id", id=operation[0])
        return self.named(operation)

    def inserts_an_operation(self) -> set[object]:
        """A copy of another one, with its hash or a valid one, in a seal or in none."""
        like, seal = self.chance.choice(self.ended), self.chance.choice([None, *self.seals])
        shown = ", ".join(
            {"operation_id": "'new'", "seq": "1000", "seal": ":seal", "claim": "NULL"}.get(c.name, f'"{c.name}"')
            for c in TABLES["operations"].columns
        )
        names = ", ".join(f'"{c.name}"' for c in TABLES["operations"].columns)
        copied = f"INSERT INTO operations ({names}) SELECT {shown} FROM operations WHERE operation_id = :id"
        self.run(copied.replace(":seal", str(seal) if seal else "NULL"), id=like[0])
        if seal is not None and self.chance.random() < 0.5:
            self.hash_again("new")
        elif self.chance.random() < 0.3:
            self.run("UPDATE operations SET sha256 = NULL WHERE operation_id = 'new'")
        return {"new"}

    def inserts_a_part(self) -> set[object]:
        if self.chance.random() < 0.5:
            operation = self.chance.choice(self.ended)
            linked = "INSERT INTO operation_files (operation_id, file_id, role) SELECT :id, max(id), 'index' FROM files"
            self.run(linked, id=operation[0])
        else:
            operation = self.chance.choice([each for each in self.ended if each[1] != "download"])
            self.run("INSERT INTO downloads (operation_id) VALUES (:id)", id=operation[0])
        return self.named(operation)

    def swaps_numbers(self) -> set[object]:
        one, two = self.chance.sample(self.ended, 2)
        for number, operation in ((-1, one), (one[2], two), (two[2], one)):
            self.run("UPDATE operations SET seq = :seq WHERE operation_id = :id", seq=number, id=operation[0])
        return {one[0], two[0]}

    def swaps_records(self) -> set[object]:
        one, two = self.chance.sample(self.ended, 2)
        for name in ["operations", *SUB_TABLES.values(), "operation_files"]:
            for before, after in ((one[0], "between"), (two[0], one[0]), ("between", two[0])):
                self.run(
                    f"UPDATE {name} SET operation_id = :after WHERE operation_id = :before", before=before, after=after
                )
        return {one[0], two[0]}

    def moves_to_another_seal(self) -> set[object]:
        operation = self.chance.choice(self.sealed)
        seal = self.chance.choice([None, 1000, *(each for each in self.seals if each != operation[3])])
        self.run("UPDATE operations SET seal = :seal WHERE operation_id = :id", seal=seal, id=operation[0])
        return self.named(operation)

    def edits_a_seal(self) -> set[object]:
        sequence = self.chance.choice(self.seals)
        self.change("seals", self.chance.choice(["sealed_at", "operations", "digest"]), "sequence = :n", n=sequence)
        return {sequence}

    def removes_a_seal(self) -> set[object]:
        sequence = self.chance.choice(self.seals)
        self.run("DELETE FROM seals WHERE sequence = :n", n=sequence)
        return {sequence}

    def swaps_seals(self) -> set[object]:
        one, two = self.chance.sample(self.seals, 2)
        for before, after in ((one, 5000), (two, one), (5000, two)):
            self.run("UPDATE seals SET sequence = :after WHERE sequence = :before", before=before, after=after)
        return {one, two}

    def inserts_a_seal(self) -> set[object]:
        sequence = self.chance.choice([0, -5, 900])
        names = "sealed_at, operations, previous, digest"
        self.run(f"INSERT INTO seals (sequence, {names}) SELECT {sequence}, {names} FROM seals WHERE sequence = 2")
        return {sequence}

    def truncates_the_end(self) -> set[object]:
        """Remove operations, seals, or both, from some seal on."""
        first = self.chance.choice(self.seals)
        what = self.chance.choice(["operations", "seals", "both"])
        gone = {operation[0] for operation in self.sealed if operation[3] >= first}
        if what != "seals":
            for name in ["operation_files", *SUB_TABLES.values(), "operations"]:
                later = "SELECT operation_id FROM operations WHERE seal >= :first"
                self.run(f"DELETE FROM {name} WHERE operation_id IN ({later})", first=first)
        if what != "operations":
            self.run("DELETE FROM seals WHERE sequence >= :first", first=first)
        return gone if what != "both" else {anchor.sequence for anchor in self.anchors if anchor.sequence >= first}

    def restores_an_earlier_state(self) -> set[object]:
        """The state of a copy from before the last anchor, with nothing later."""
        early, late = (anchor.sequence for anchor in self.anchors)
        later = "SELECT operation_id FROM operations WHERE seal > :early OR seal IS NULL"
        for name in ["operation_files", *SUB_TABLES.values(), "operations"]:
            self.run(f"DELETE FROM {name} WHERE operation_id IN ({later})", early=early)
        self.run("DELETE FROM seals WHERE sequence > :early", early=early)
        return {late}

    def hash_again(self, operation_id: str) -> bytes:
        (row,) = canonical_rows(self.connection, "o.operation_id = :id", {"id": operation_id})
        self.run("UPDATE operations SET sha256 = :sha256 WHERE operation_id = :id", sha256=row.digest, id=operation_id)
        return row.digest

    def seal_again(self, sequence: int, changed: dict[str, bytes]) -> None:
        (seal,) = seals(self.connection, sequence - 1, 1)
        before = seals(self.connection, sequence - 2, 1)[0].digest if sequence > 1 else None
        listed = [(seq, id_, changed[id_].hex() if id_ in changed else sha) for seq, id_, sha in seal.listed()]
        operations = json.dumps(listed, separators=(",", ":"))
        digest = digest_of(sequence, seal.sealed_at, operations, before)
        self.run(
            "UPDATE seals SET operations = :operations, previous = :previous, digest = :digest WHERE sequence = :n",
            operations=operations,
            previous=before,
            digest=digest,
            n=sequence,
        )


HELPERS = {"run", "change", "other", "named", "hash_again", "seal_again", "found"}
WAYS: list[Callable[[Tamperer], set[object]]] = [
    way for name, way in vars(Tamperer).items() if not name.startswith("_") and name not in HELPERS
]


class RollBack(Exception):  # noqa: N818
    pass


@contextmanager
def tampered(history: History, chance: random.Random) -> Iterator[Tamperer]:
    """A tamperer who may do anything, without triggers, in a transaction that is rolled back at the end."""
    with suppress(RollBack), history.catalog.database.migrating() as connection:
        restore = without_triggers(connection)
        yield Tamperer(connection, chance, history.anchors, restore)
        raise RollBack


def without_triggers(connection: Connection) -> list[str]:
    """Drop all triggers, and foreign keys with them; returns the statements that restore them."""
    made = triggers.existing(connection)
    if connection.dialect.name != "sqlite":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return []
    for name in made:
        connection.execute(text(f"DROP TRIGGER {name}"))
    return list(made.values())


@pytest.mark.parametrize("times", [30, pytest.param(1_000, marks=pytest.mark.torture)])
def test_every_tampering_is_detected_and_named(history: History, times: int, figure: Figure) -> None:
    assert history.findings() == []
    missed = []
    for seed in range(times):
        chance = random.Random(seed)
        way = WAYS[seed % len(WAYS)]
        with tampered(history, chance) as tamperer:
            expected = way(tamperer)
            found = tamperer.found(history)
            named = {each.operation_id or each.seal for each in found} | {each.seal for each in found}
            if not expected <= named or not found:
                missed.append((seed, way.__name__, expected - named, found))
    assert missed == []
    assert history.findings() == []
    kind = "SQLite" if history.catalog.database.is_sqlite else "PostgreSQL"
    figure(5, f"tampering on {kind}", tried=times, violations=len(missed))


def test_an_older_copy_in_place_of_the_catalog_is_detected(history: History) -> None:
    if history.early is None:
        pytest.skip("a server has no file to replace")
    early = open_catalog(f"sqlite:///{history.early}")
    assert list(early.audit.verification(history.anchors[:1]).findings()) == []
    (found,) = early.audit.verification(history.anchors).findings()
    assert (found.problem, found.seal) == ("removed", history.anchors[1].sequence)
    early.close()


def test_only_an_anchor_reveals_a_truncated_end(history: History) -> None:
    """The reason for anchors."""
    with tampered(history, random.Random(1)) as tamperer:
        tamperer.restores_an_earlier_state()
        assert len(tamperer.found(history)) == 1
        assert list(Verification(history.catalog.database, []).findings_in(tamperer.connection)) == []
