"""Pruning: operations are removed only with a record of it, and only after a verified export."""

import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
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
    DependencyRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    JobRecord,
    Location,
    NewJob,
    OutboxRecord,
    PruneRecord,
    RangeSet,
    Role,
    SearchRecord,
    Status,
    UploadRecord,
    VerifyRecord,
    Wanted,
    open_catalog,
)
from mgmt.catalog.audit.canonical import canonical_rows
from mgmt.catalog.audit.export import Tally
from mgmt.catalog.audit.export import export as export_history
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.audit.prune import PruneFilter, export, prunable, read_export, remove
from mgmt.catalog.schema import migrate, soundness
from mgmt.errors import CatalogError, ConfigurationError, IntegrityError, Problem, ProblemError, StoreError
from mgmt.progress import NoProgress
from mgmt.services.prune import prune
from mgmt.services.steps.context import Context
from tests.behind import behind

Make = Callable[..., FileRecord]
Reopen = Callable[[], Catalog]
LATER = datetime.now(UTC) + timedelta(days=1)


@given(st.sets(st.integers(min_value=1, max_value=300)))
def test_a_range_set_contains_what_was_added(numbers: set[int]) -> None:
    collected = RangeSet()
    for each in sorted(numbers):
        collected.add(each)
    again = RangeSet.parse(str(collected))
    assert {each for each in range(302) if each in again} == numbers
    assert len(again) == len(numbers)
    assert str(again) == str(collected)


@pytest.mark.parametrize("written", ["x", "1-", "1-2-x", "-"])
def test_invalid_text_is_an_empty_range_set(written: str) -> None:
    assert len(RangeSet.parse(written)) == 0


@pytest.fixture
def history(catalog: Catalog, make_archive: Make) -> Catalog:
    """A history of operations that are kept and operations that can be pruned."""
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
    context = Context(lambda _: pytest.fail("no store is needed"), catalog, NoProgress())
    return prune(PruneFilter(before, types), str(file), context)


def test_prune_keeps_operations_that_explain_the_current_state(history: Catalog, tmp_path: Path) -> None:
    found = {each.operation_type: each.count for each in prunable(history.database, PruneFilter(LATER))}
    assert found == {kind: MAY_GO.count(kind) for kind in MAY_GO}
    record = pruned(history, tmp_path / "old.gz")
    assert record.removed_count == len(MAY_GO) + 1  # prune seals the unsealed one first
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
    assert soundness.check(history.database) == []
    (restored,) = history.metadata.list_files(location=Location.LOCAL)
    assert (restored.path, restored.operation_id) == ("/back/a", None)


def test_a_fault_stays_known_until_the_archive_is_proven_or_deleted(history: Catalog, tmp_path: Path) -> None:
    archive = next(iter(history.metadata.list_files(location=Location.S3)))

    def verify(problem: str | None) -> None:
        fault = None if problem is None else ProblemError(Problem(problem), "it is damaged")
        with suppress(ProblemError), history.journal.record(VerifyRecord(target_path="a.tar.gz")) as record:
            history.journal.link(record, archive, Role.ARCHIVE)
            if fault is not None:
                record.details = {"problem": fault.problem.value}
                history.journal.checkpoint()
                raise fault

    def left() -> int:
        history.audit.seal()
        pruned(history, tmp_path / f"{next(numbers)}.gz")
        return len(history.metadata.list_operations("verify"))

    numbers = itertools.count()
    verify(None)
    assert left() == 0
    verify("corrupt")
    assert left() == 1
    assert history.verdicts.of([archive.id])[archive.id].problem == "corrupt"
    verify(None)
    assert left() == 0
    verify("missing")
    archive.status = FileStatus.DELETED
    history.journal.checkpoint()
    assert left() == 0


def test_prune_filters_by_type_and_time(history: Catalog, tmp_path: Path) -> None:
    record = pruned(history, tmp_path / "old.gz", "search")
    assert record.removed_count == 5
    assert ("search", None) not in there(history)
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert prunable(history.database, PruneFilter(long_ago)) == []
    for kind in ("prune", "nothing"):
        with pytest.raises(ConfigurationError, match="not a prunable operation type"):
            prunable(history.database, PruneFilter(LATER, (kind,)))


def test_the_export_of_a_prune_can_be_verified_without_mgmt(history: Catalog, tmp_path: Path) -> None:
    """Each operation matches its hash, and each hash a seal."""
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


def test_verify_reports_removals_beyond_a_prune(history: Catalog, tmp_path: Path, reopen: Reopen) -> None:
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
    assert ("edited", prunes) in found  # an edited prune does not account for removed operations
    assert {("removed", each) for each in (number, *removed)} <= set(found)
    hash_again(reopen(), record.operation_id)
    assert findings(reopen()) == found
    change(reopen(), "DELETE FROM prunes", "DELETE FROM operations WHERE operation_type = 'prune'")
    assert ("removed", prunes) in findings(reopen())


def hash_again(catalog: Catalog, operation_id: str) -> None:
    """Recompute the hash, as a skilled attacker would."""
    with catalog.database.snapshot() as connection:
        (row,) = canonical_rows(connection, "o.operation_id = :id", {"id": operation_id})
    quoted = f"X'{row.digest.hex()}'" if catalog.database.is_sqlite else f"'\\x{row.digest.hex()}'"
    change(catalog, f"UPDATE operations SET sha256 = {quoted} WHERE operation_id = '{operation_id}'")
    with catalog.database.snapshot() as connection:
        (row,) = canonical_rows(connection, "o.operation_id = :id", {"id": operation_id})
    assert row.sha256 == row.digest


def change(catalog: Catalog, *statements: str) -> None:
    """Change the database without mgmt."""
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
def test_a_failed_prune_changes_nothing(
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
    assert soundness.check(reopen().database) == []
    monkeypatch.undo()
    assert pruned(reopen(), tmp_path / "again.gz").removed_count == len(MAY_GO) + 1


def test_prune_refuses_a_tampered_history(history: Catalog, tmp_path: Path, reopen: Reopen) -> None:
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


def test_remove_refuses_if_an_operation_is_missing(history: Catalog) -> None:
    before = there(history)
    with pytest.raises(CatalogError, match="concurrently"):
        remove(history.database, RangeSet([(1, 2), (4711, 4711)]))
    assert there(history) == before


def exports(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    export(catalog.database, PruneFilter(LATER), PruneRecord(ended_before=LATER), out)
    return out.getvalue()


def test_the_prune_condition_is_evaluated_once_for_all_pages(history: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sum("NOT EXISTS" in each for each in asked) == 2  # for the operations, and for the seals that list them
    assert sum(each.startswith("SELECT o.") and "o.seq IN" in each for each in asked) > 2  # pages


def test_a_damaged_export_of_a_prune_is_refused(history: Catalog) -> None:
    raw = exports(history)
    assert len(read_export(io.BytesIO(raw))) == len(MAY_GO)
    whole = gzip.decompress(raw)

    def differs(flipped: bytes) -> bool:
        # A few bits of a gzip file mean nothing, such as those that fill its last block up to a byte.
        try:
            return gzip.decompress(flipped) != whole
        except (OSError, EOFError, zlib.error):
            return True

    lines = gzip.decompress(raw).splitlines(keepends=True)
    corrupt = [
        *(raw[:end] for end in range(0, len(raw), 97)),
        *(gzip.compress(b"".join(lines[:without] + lines[without + 1 :])) for without in range(len(lines))),
        *filter(differs, (raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :] for at in range(12, len(raw), 41))),
    ]
    assert len(corrupt) > len(raw) / 50
    for each in corrupt:
        with pytest.raises(IntegrityError, match="damaged"):
            read_export(io.BytesIO(each))


def test_an_exported_operation_that_does_not_match_its_hash_is_refused(history: Catalog) -> None:
    lines = gzip.decompress(exports(history)).splitlines(keepends=True)[:-1]
    at = next(number for number, line in enumerate(lines) if b'"keyword":"one"' in line)
    lines[at] = lines[at].replace(b'"keyword":"one"', b'"keyword":"won"')
    tally = Tally()
    for line in lines:
        tally.note(line, "lines")
    with pytest.raises(IntegrityError, match="does not match its hash"):
        read_export(io.BytesIO(gzip.compress(b"".join(lines) + tally.last())))


def test_a_pruned_history_can_be_imported(history: Catalog, tmp_path: Path) -> None:
    pruned(history, tmp_path / "old.gz")
    history.audit.seal()
    out = io.BytesIO()
    export_history(history.database, out, members=True)
    other = open_catalog(f"sqlite:///{tmp_path}/other.db")
    import_history(other.database, io.BytesIO(out.getvalue()))
    verification = other.audit.verification()
    assert list(verification.findings()) == []
    assert verification.pruned == len(MAY_GO) + 1
    other.close()


def test_a_pruned_catalog_cannot_be_downgraded_below_prunes(history: Catalog, tmp_path: Path) -> None:
    pruned(history, tmp_path / "old.gz")
    with pytest.raises(CatalogError, match="take for tampering"):
        migrate.downgrade(history.database, "0005")


def test_an_operation_that_others_wait_for_or_tell_of_may_go(history: Catalog, tmp_path: Path) -> None:
    with history.journal.record(SearchRecord(keyword="first")) as first:
        pass
    follower = VerifyRecord()
    history.queue.add(
        [NewJob(follower, JobRecord(operation_id="", command="verify", queue="any"), [first.operation_id])]
    )
    message = OutboxRecord(
        message_id="m", rule="r", event="operation.success", operation_id=first.operation_id, payload={}, host="nas"
    )
    with history.database.transaction() as session:
        session.add(message)
        session.add(DependencyRecord(operation_id=follower.operation_id, after_id=first.operation_id))
    history.audit.seal()
    pruned(history, tmp_path / "old.jsonl.gz")
    assert first.operation_id not in [each.operation_id for each in history.metadata.list_operations(limit=100)]
    (job,) = history.jobs.take(Wanted(["any"]))
    assert job.operation_id == follower.operation_id
    assert findings(history) == []
    assert soundness.check(history.database) == []


def test_the_operations_of_a_batch_that_has_not_ended_stay(history: Catalog, tmp_path: Path) -> None:
    """It counts them when the last one ends."""
    batch = BatchRecord(target_path="a batch")
    history.queue.add([NewJob(batch, JobRecord(operation_id="", command="verify", queue="any"))])
    failed, left = (VerifyRecord(parent_id=batch.operation_id, target_path=name) for name in ("failed", "left"))
    for each in (failed, left):
        history.queue.add([NewJob(each, JobRecord(operation_id="", command="verify", queue="any"))])
    history.queue.note_fanned_out(batch.operation_id)
    history.queue.end_requested(failed.operation_id, StoreError("no"))
    history.audit.seal()
    pruned(history, tmp_path / "old.jsonl.gz")
    history.queue.end_requested(left.operation_id, None)
    assert history.metadata.require_operation(batch.operation_id).error_message == (
        "1 of 2 targets was not done: 1 failed"
    )
    history.audit.seal()
    pruned(history, tmp_path / "more.jsonl.gz")
    assert ("batch", "a batch") not in there(history)
    assert findings(history) == []
