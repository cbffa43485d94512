"""Work that waited when it was exported, and has ended since: its end counts, whichever catalog it ended in."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog import Catalog, OperationRecord, Status, UploadRecord, VerifyRecord, open_catalog
from mgmt.catalog.audit import export
from mgmt.errors import ConflictError, StoreError
from mgmt.services.database import import_history
from tests.catalog.requested import ANYTHING, Requests, unavailable
from tests.postgresql import PostgreSQL


@pytest.fixture
def other(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog of the other kind."""
    if url.startswith("sqlite"):
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        with server.database() as made:
            opened = open_catalog(made)
            yield opened
            opened.close()
    else:
        opened = open_catalog(f"sqlite:///{tmp_path}/other/catalog.db")
        yield opened
        opened.close()


@pytest.fixture
def requests(catalog: Catalog) -> Requests:
    return Requests(catalog)


def copy(source: Catalog, target: Catalog) -> export.ExchangeResult:
    """Import the history of `source` into `target`."""
    out = io.BytesIO()
    source.audit.seal()
    export.export(source.database, out, members=True)
    return import_history(io.BytesIO(out.getvalue()), target)


def chain(requests: Requests, **facts: Any) -> list[OperationRecord]:
    """An upload, and a verification that follows it."""
    upload = requests.add(UploadRecord(target_path="/films/a", store="file:///store"), **facts)
    arguments = {"names": [upload.operation_id], "after": [upload.operation_id]}
    return [upload, requests.add(VerifyRecord(command_args=arguments), after=[upload], command="verify")]


def sound(catalog: Catalog) -> bool:
    return list(catalog.audit.verification().findings()) == []


@pytest.mark.parametrize("error", [None, StoreError("no")], ids=["success", "failed"])
def test_what_has_ended_there_ends_here(requests: Requests, other: Catalog, error: StoreError | None) -> None:
    upload, verify = made = chain(requests)
    copy(requests.catalog, other)
    requests.run(upload, error)
    done = copy(requests.catalog, other)
    assert done.updated == (1 if error is None else 2)
    here = Requests(other)
    assert here.statuses(made) == requests.statuses(made)
    assert here.left() == requests.left()
    other.queue.release(())
    assert here.take() == (verify.operation_id if error is None else None)
    assert copy(requests.catalog, other).updated == 0
    assert sound(other)
    for each in (requests.catalog, other):
        each.metadata.reload(each.metadata.require_operation(upload.operation_id))
    there, here_too = (
        each.metadata.require_operation(upload.operation_id).as_dict() for each in (requests.catalog, other)
    )
    assert here_too == there


def test_what_has_ended_here_stays(requests: Requests, other: Catalog) -> None:
    upload, verify = made = chain(requests)
    copy(requests.catalog, other)
    other.queue.release(())
    here = Requests(other)
    here.run(other.metadata.require_operation(upload.operation_id))
    for _ in range(2):
        done = copy(requests.catalog, other)
        assert (done.new, done.updated) == (0, 0)
    assert here.statuses(made) == ["success", "pending"]
    assert (here.left(), here.take()) == ([verify.operation_id], verify.operation_id)
    assert sound(other)


def test_a_later_attempt_takes_the_place_of_one_that_failed(requests: Requests, other: Catalog) -> None:
    upload, verify = chain(requests, attempts=2, backoff_seconds=0)
    copy(requests.catalog, other)
    requests.run(upload, unavailable())
    copy(requests.catalog, other)
    (again,) = other.metadata.repeats_of(upload.operation_id)
    arguments = other.metadata.require_operation(verify.operation_id).command_args
    assert arguments == {"names": [again.operation_id], "after": [again.operation_id]}
    other.queue.release(())
    here = Requests(other)
    assert [here.take(), here.take()] == [again.operation_id, None]
    here.run(again)
    assert here.take() == verify.operation_id
    assert sound(other)


def test_what_has_advanced_here_stays(requests: Requests, other: Catalog) -> None:
    """An older export is imported again."""
    upload, verify = chain(requests, attempts=2, backoff_seconds=0)
    copy(requests.catalog, other)
    other.queue.release(())
    here = Requests(other)
    here.run(other.metadata.require_operation(upload.operation_id), unavailable())
    before = here.left()
    assert copy(requests.catalog, other).new == 0
    assert here.left() == before
    assert here.statuses([upload, verify]) == ["failed", "pending"]


def test_what_was_requested_here_ends_with_what_it_waits_for(requests: Requests, other: Catalog) -> None:
    upload = requests.add()
    copy(requests.catalog, other)
    here = Requests(other)
    own = here.add(after=[other.metadata.require_operation(upload.operation_id)])
    requests.run(upload, StoreError("no"))
    copy(requests.catalog, other)
    stored = other.metadata.require_operation(own.operation_id)
    assert (stored.status, stored.error_message) == (
        Status.CANCELLED,
        f"cancelled: upload {upload.operation_id} ended as failed",
    )
    assert (here.left(), sound(other)) == ([], True)


def test_what_has_ended_in_both_differs(requests: Requests, other: Catalog) -> None:
    upload = requests.add()
    copy(requests.catalog, other)
    other.queue.release(())
    Requests(other).run(other.metadata.require_operation(upload.operation_id))
    requests.run(upload)
    with pytest.raises(ConflictError, match=f"operations {upload.operation_id} differs"):
        copy(requests.catalog, other)


def test_what_runs_here_is_not_ended_by_an_import(requests: Requests, other: Catalog) -> None:
    upload = requests.add()
    copy(requests.catalog, other)
    other.queue.release(())
    requests.run(upload)
    other.journal.run_requested(upload.operation_id)
    with other.journal.record(UploadRecord(target_path="/films/a")), pytest.raises(ConflictError):
        copy(requests.catalog, other)
    assert other.jobs.take(ANYTHING) == []
