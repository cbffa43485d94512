"""Old operations leave the catalog only together with a record of it, and only when a file was seen to hold them."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from mgmt.catalog import (
    BatchRecord,
    Catalog,
    DownloadRecord,
    FileRecord,
    FileStatus,
    Location,
    Numbers,
    PruneRecord,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    open_catalog,
)
from mgmt.catalog.audit import export as exchange
from mgmt.catalog.audit.canonical import said
from mgmt.catalog.audit.prune import Which, export, exported, prunable, remove
from mgmt.catalog.schema import migrate as schema
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError, StoreError
from mgmt.progress import NoProgress
from mgmt.services.prune import prune
from tests.behind import behind

Make = Callable[..., FileRecord]
Reopen = Callable[[], Catalog]
LATER = datetime.now(UTC) + timedelta(days=1)


@given(st.sets(st.integers(min_value=1, max_value=300)))
def test_numbers_are_what_was_added(numbers: set[int]) -> None:
    collected = Numbers()
    for each in sorted(numbers):
        collected.add(each)
    again = Numbers.parse(str(collected))
    assert {each for each in range(302) if each in again} == numbers
    assert len(again) == len(numbers)
    assert str(again) == str(collected)


@pytest.mark.parametrize("written", ["x", "1-", "1-2-x", "-"])
def test_what_is_no_list_of_numbers_has_none(written: str) -> None:
    assert len(Numbers.parse(written)) == 0


@pytest.fixture
def history(catalog: Catalog, make_archive: Make) -> Catalog:
    """Everything that stays, and everything that may go."""
    for keyword in ("one", "two"):
        with catalog.journal.record(SearchRecord(keyword=keyword)):
            pass
    with catalog.journal.record(UploadRecord(target_path="/archived")) as upload:
        archive = catalog.metadata.save_file_record(make_archive("a.tar.gz", operation_id=upload.operation_id))
        catalog.journal.link(upload, archive, Role.ARCHIVE)
    with catalog.journal.record(DownloadRecord(target_path="a.tar.gz")) as download:
        restored = FileRecord(
            path="/back/a", location=Location.LOCAL, host="nas", operation_id=download.operation_id,
            status=FileStatus.COMPLETED,
        )  # fmt: skip
        catalog.journal.link(download, catalog.metadata.save_file_record(restored), Role.RESULT)
    for path, sent in (("/failed early", None), ("/failed late", "u")):
        with pytest.raises(StoreError), catalog.journal.record(UploadRecord(target_path=path, upload_id=sent)):
            raise StoreError("no")
    for target in ("whole", "in part"):
        with catalog.journal.record(BatchRecord(target_path=target)) as batch:
            with catalog.journal.record(SearchRecord(parent_id=batch.operation_id, keyword=target)):
                pass
            if target == "in part":
                upload = UploadRecord(target_path="in part's", parent_id=batch.operation_id, index_key="i")
                with pytest.raises(StoreError), catalog.journal.record(upload):
                    raise StoreError("no")
    catalog.metadata.save_operation(UploadRecord(target_path="/running", status=Status.RUNNING))
    catalog.audit.seal()
    with catalog.journal.record(SearchRecord(keyword="not sealed")):
        pass
    return catalog


MAY_GO = ["download", "search", "search", "search", "search", "upload", "batch"]


def there(catalog: Catalog) -> list[tuple[str, str | None]]:
    return [(each.operation_type, each.target_path) for each in catalog.metadata.list_operations(limit=1000)]


def findings(catalog: Catalog) -> list[tuple[str, int | None]]:
    return [(each.problem.value, each.seq) for each in catalog.audit.verification().findings()]


def pruned(catalog: Catalog, file: Path, *types: str, before: datetime = LATER) -> PruneRecord:
    return prune(
        Which(before, types),
        str(file),
        open_store=lambda _: pytest.fail("no store is needed"),
        catalog=catalog,
        progress=NoProgress(),
        command_args={},
    )


def test_what_explains_what_there_is_stays(history: Catalog, tmp_path: Path) -> None:
    found = {each.operation_type: each.count for each in prunable(history.database, Which(LATER))}
    assert found == {kind: MAY_GO.count(kind) for kind in MAY_GO}
    record = pruned(history, tmp_path / "old.gz")
    assert record.removed_count == len(MAY_GO) + 1  # what was not sealed is by now
    assert sorted(there(history), key=str) == sorted(
        [
            ("batch", "in part"),
            ("prune", record.target_path),
            ("upload", "/archived"),
            ("upload", "/failed late"),
            ("upload", "/running"),
            ("upload", "in part's"),
        ],
        key=str,
    )
    history.audit.seal()
    assert findings(history) == []
    assert schema.check(history.database) == []
    (restored,) = history.metadata.list_files(location=Location.LOCAL)
    assert (restored.path, restored.operation_id) == ("/back/a", None)


def test_only_of_a_type_and_a_time(history: Catalog, tmp_path: Path) -> None:
    record = pruned(history, tmp_path / "old.gz", "search")
    assert record.removed_count == 5
    assert ("search", None) not in there(history)
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert prunable(history.database, Which(long_ago)) == []
    for kind in ("prune", "nothing"):
        with pytest.raises(ConfigurationError, match="no type of operation that can be pruned"):
            Which(LATER, (kind,))


def test_the_export_proves_itself(history: Catalog, tmp_path: Path) -> None:
    """By no code of ours: each operation by its hash, each hash by a seal."""
    before = {each.seq: each for each in history.metadata.list_operations(limit=1000)}
    file = tmp_path / "old.jsonl.gz"
    record = pruned(history, file)
    raw = file.read_bytes()
    assert (record.export_size, record.export_sha256) == (len(raw), sha256(raw).hexdigest())
    assert record.result_path == str(file)
    lines = [json.loads(line) for line in gzip.decompress(raw).splitlines()]
    assert lines[0]["pruned"]["operation_id"] == record.operation_id
    listed = {tuple(each) for line in lines if "seals" in line for each in json.loads(line["seals"]["operations"])}
    operations = [line for line in lines if "operation" in line]
    assert len(operations) == record.removed_count
    for line in operations:
        said = json.dumps(line["operation"], sort_keys=True, separators=(",", ":"))
        assert sha256(said.encode()).hexdigest() == line["sha256"]
        facts = line["operation"]["operations"]
        assert (facts["seq"], facts["operation_id"], line["sha256"]) in listed
        assert facts["operation_type"] == before[facts["seq"]].operation_type
    searches = [line["operation"]["searches"]["keyword"] for line in operations if "searches" in line["operation"]]
    assert searches == ["one", "two", "whole", "in part", "not sealed"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_who_removes_more_is_found_out(history: Catalog, tmp_path: Path, reopen: Reopen) -> None:
    record = pruned(history, tmp_path / "old.gz", "search")
    history.audit.seal()
    assert findings(history) == []
    (failed,) = (each for each in history.metadata.list_operations() if each.target_path == "/failed early")
    number, prunes = failed.seq, record.seq
    removed = [int(each) for each in record.removed.split(",") if "-" not in each]
    history.close()
    gone = f"WHERE operation_id = '{failed.operation_id}'"
    change(reopen(), f"DELETE FROM uploads {gone}", f"DELETE FROM operations {gone}")
    assert findings(reopen()) == [("removed", number)]
    change(reopen(), f"UPDATE prunes SET removed = removed || ',{number}'")
    found = findings(reopen())
    assert ("edited", prunes) in found  # and a record that was edited excuses nothing
    assert {("removed", each) for each in (number, *removed)} <= set(found)
    hash_again(reopen(), record.operation_id)
    assert findings(reopen()) == found
    change(reopen(), "DELETE FROM prunes", "DELETE FROM operations WHERE operation_type = 'prune'")
    assert ("removed", prunes) in findings(reopen())


def hash_again(catalog: Catalog, operation_id: str) -> None:
    """As somebody does who knows how."""
    with catalog.database.snapshot() as connection:
        (row,) = said(connection, "o.operation_id = :id", {"id": operation_id})
    quoted = f"X'{row.digest.hex()}'" if catalog.database.is_sqlite else f"'\\x{row.digest.hex()}'"
    change(catalog, f"UPDATE operations SET sha256 = {quoted} WHERE operation_id = '{operation_id}'")
    with catalog.database.snapshot() as connection:
        (row,) = said(connection, "o.operation_id = :id", {"id": operation_id})
    assert row.sha256 == row.digest


def change(catalog: Catalog, *statements: str) -> None:
    """Behind its back."""
    if catalog.database.path is not None:
        with behind(catalog.database.path) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    with catalog.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            session.execute(text(statement))


@pytest.mark.parametrize("at", ["INSERT INTO pruned", "UPDATE files", "TRIGGER", "DELETE FROM operations", "the end"])
def test_whatever_fails_nothing_has_happened(
    at: str, history: Catalog, tmp_path: Path, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.audit.seal()
    before = there(history)

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if at in statement:
            raise StoreError("stop")

    def removed(*given: Any) -> None:
        engine = history.database.bind()
        event.listen(engine, "before_cursor_execute", fail)
        try:
            remove(*given)
        finally:
            event.remove(engine, "before_cursor_execute", fail)
        raise StoreError("stop")

    monkeypatch.setattr("mgmt.services.prune.remove", removed)
    with pytest.raises(StoreError, match="stop"):
        pruned(history, tmp_path / "old.gz")
    now = there(reopen())
    assert (now[0][0], now[1:]) == ("prune", before)
    assert findings(reopen()) == []
    assert schema.check(reopen().database) == []
    monkeypatch.undo()
    assert pruned(reopen(), tmp_path / "again.gz").removed_count == len(MAY_GO) + 1


def test_a_history_that_was_bent_is_not_pruned(history: Catalog, tmp_path: Path, reopen: Reopen) -> None:
    (upload,) = (each for each in history.metadata.list_operations() if each.target_path == "/failed early")
    number = upload.seq
    history.close()
    change(reopen(), f"UPDATE operations SET error_message = 'yes' WHERE seq = {number}")
    catalog = reopen()
    before = there(catalog)
    with pytest.raises(IntegrityError, match="nothing was pruned"):
        pruned(catalog, tmp_path / "old.gz")
    assert there(reopen())[1:] == before
    assert list(tmp_path.glob("old.gz*")) == []


def test_an_operation_that_is_gone_cannot_be_removed(history: Catalog) -> None:
    before = there(history)
    with pytest.raises(CatalogError, match="meanwhile"):
        remove(history.database, Numbers([(1, 2), (4711, 4711)]))
    assert there(history) == before


def exports(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    export(catalog.database, Which(LATER), PruneRecord(ended_before=LATER), out)
    return out.getvalue()


def test_what_may_go_is_asked_once_however_many_pages_it_is(history: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gzip.decompress(exports(history)).splitlines()[1:-1]
    monkeypatch.setattr("mgmt.catalog.audit.canonical.CHUNK", 2)
    assert len(MAY_GO) > 2
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        in_pages = gzip.decompress(exports(history)).splitlines()[1:-1]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert in_pages == whole
    assert sum("NOT EXISTS" in each for each in asked) == 2  # of the operations, and of the seals that list them
    assert sum(each.startswith("SELECT o.") and "o.seq IN" in each for each in asked) > 2  # pages


def test_an_export_that_is_not_whole_is_not_taken_for_one(history: Catalog) -> None:
    raw = exports(history)
    assert len(exported(io.BytesIO(raw))) == len(MAY_GO)
    lines = gzip.decompress(raw).splitlines(keepends=True)
    spoilt = [
        *(raw[:end] for end in range(0, len(raw), 97)),
        *(gzip.compress(b"".join(lines[:without] + lines[without + 1 :])) for without in range(len(lines))),
        *(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :] for at in range(12, len(raw), 41)),
    ]
    for each in spoilt:
        with pytest.raises(IntegrityError, match="not whole"):
            exported(io.BytesIO(each))


def test_an_operation_in_an_export_must_be_what_its_hash_is_of(history: Catalog) -> None:
    lines = gzip.decompress(exports(history)).splitlines(keepends=True)[:-1]
    at = next(number for number, line in enumerate(lines) if b'"keyword":"one"' in line)
    lines[at] = lines[at].replace(b'"keyword":"one"', b'"keyword":"won"')
    tally = exchange.Tally()
    for line in lines:
        tally.note(line, "lines")
    with pytest.raises(IntegrityError, match="not what its hash is of"):
        exported(io.BytesIO(gzip.compress(b"".join(lines) + tally.last())))


def test_a_pruned_history_moves_to_another_catalog(history: Catalog, tmp_path: Path) -> None:
    pruned(history, tmp_path / "old.gz")
    history.audit.seal()
    out = io.BytesIO()
    exchange.export(history.database, out, members=True)
    other = open_catalog(f"sqlite:///{tmp_path}/other.db")
    exchange.bring_in(other.database, io.BytesIO(out.getvalue()))
    verification = other.audit.verification()
    assert list(verification.findings()) == []
    assert verification.pruned == len(MAY_GO) + 1
    other.close()


def test_an_older_schema_would_not_know_what_was_pruned(history: Catalog, tmp_path: Path) -> None:
    pruned(history, tmp_path / "old.gz")
    with pytest.raises(CatalogError, match="take for tampering"):
        schema.downgrade(history.database, "0005")
