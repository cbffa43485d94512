"""Downgrades that would lose what older revisions have no place for are refused."""

import io

import pytest

from mgmt.catalog import (
    HEAD,
    Catalog,
    ClassRecord,
    JobRecord,
    LockRecord,
    NewJob,
    OperationRecord,
    RestoreRecord,
    ScheduleRecord,
    SearchRecord,
    TagRecord,
    UndeleteRecord,
    UndoRecord,
    UploadRecord,
)
from mgmt.catalog.audit.export import export
from mgmt.catalog.schema import migrate, soundness
from mgmt.errors import CatalogError


def test_a_downgrade_below_0008_is_refused_once_a_search_has_results(catalog: Catalog) -> None:
    database = catalog.database
    with catalog.journal.record(SearchRecord(keyword="k", local_matches=None, s3_matches=None)):
        pass
    migrate.downgrade(database, "0007")
    migrate.upgrade(database)
    with catalog.journal.record(SearchRecord(keyword="k")):
        pass
    with pytest.raises(CatalogError, match="finished searches have results"):
        migrate.downgrade(database, "0007")
    assert migrate.current(database) == HEAD
    assert list(catalog.audit.verification().findings()) == []


def left(catalog: Catalog) -> str | None:
    """Why a downgrade below 0010 is refused; None if it is not, and then everything is as before."""
    before = contents_of(catalog)
    try:
        migrate.downgrade(catalog.database, "0009")
    except CatalogError as error:
        assert (migrate.current(catalog.database), contents_of(catalog)) == (HEAD, before)
        return error.message
    assert migrate.current(catalog.database) == "0009"
    migrate.upgrade(catalog.database)
    assert contents_of(catalog) == before
    assert soundness.check(catalog.database) == []
    return None


def contents_of(catalog: Catalog) -> bytes:
    exported = io.BytesIO()
    export(catalog.database, exported, members=True)
    return exported.getvalue()


@pytest.mark.parametrize("kind", [ClassRecord, LockRecord, RestoreRecord, TagRecord, UndeleteRecord])
def test_a_downgrade_below_0011_is_refused_if_an_older_mgmt_could_not_load_it(
    kind: type[OperationRecord], catalog: Catalog
) -> None:
    with catalog.journal.record(kind(target_path="a.tar.gz")):
        pass
    with pytest.raises(CatalogError, match="an older mgmt cannot load"):
        migrate.downgrade(catalog.database, "0010")
    assert migrate.current(catalog.database) == HEAD


def test_a_downgrade_below_0010_is_refused_while_work_waits(catalog: Catalog) -> None:
    with catalog.journal.record(UploadRecord(target_path="/films/a")):
        pass
    request = UploadRecord(target_path="/films/b")
    catalog.queue.add([NewJob(request, JobRecord(operation_id="", command="upload", queue="any"))])
    assert "work is waiting" in str(left(catalog))
    catalog.journal.run_requested(request.operation_id)
    with catalog.journal.record(UploadRecord(target_path="/films/b")):
        pass
    catalog.audit.seal()
    assert left(catalog) is None
    assert list(catalog.audit.verification().findings()) == []


def test_a_downgrade_below_0010_is_refused_if_there_are_schedules(catalog: Catalog) -> None:
    daily = ScheduleRecord(name="daily", cron="0 1 * * *", timezone="UTC", command=["verify"], host="nas", cwd="/")
    with catalog.database.transaction() as session:
        session.add(daily)
    assert "there are schedules" in str(left(catalog))
    with catalog.database.transaction() as session:
        session.delete(daily)
    assert left(catalog) is None


@pytest.mark.parametrize("kind", ["undo", "retry", "cancelled"])
def test_a_downgrade_below_0010_is_refused_if_a_hash_covers_what_is_new(kind: str, catalog: Catalog) -> None:
    upload = UploadRecord(target_path="/films/a", retry_of="11111111" if kind == "retry" else None)
    with catalog.journal.record(UndoRecord(undo_of="11111111") if kind == "undo" else upload):
        if kind == "cancelled":
            catalog.queue.cancel(upload.operation_id)
    assert "undone, retried or cancelled" in str(left(catalog))
    assert list(catalog.audit.verification().findings()) == []
