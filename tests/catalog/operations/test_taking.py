"""Who takes which job of a batch: how many at a time, and what a dead process has left."""

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import update

from mgmt.catalog import BatchRecord, Catalog, JobRecord, OperationRecord, Status
from mgmt.catalog.operations import taking
from mgmt.catalog.operations.ownership import is_dead
from mgmt.catalog.records.operations import operations
from mgmt.catalog.records.process import Owner, this_host
from tests.catalog.requested import ANYTHING, Requests

Reopen = Callable[[], Catalog]
DEAD = f"{this_host()}/another boot/1/1"
"""A process that is no more, wherever this machine has booted since."""


def ids(found: Sequence[JobRecord]) -> list[str]:
    return [each.operation_id for each in found]


def leave(requests: Requests, made: list[OperationRecord], *, begun: int = 0) -> None:
    """Let a process have taken all of these and begun the first ones, and then die."""
    named = [each.operation_id for each in made]
    with requests.catalog.database.transaction() as session:
        session.execute(update(JobRecord).where(JobRecord.operation_id.in_(named)).values(taken_by=DEAD))
        session.execute(
            update(operations)
            .where(operations.c.operation_id.in_(named[:begun]))
            .values(status=Status.RUNNING, owner=DEAD)
        )


@pytest.mark.parametrize(
    ("children", "most", "pieces"),
    [(5, 1, [1] * 5), (12, 4, [3, 2, *[1] * 7]), (20, 8, [5, 3, 3, 2, 2, 2, 2, 1])],
)
def test_a_batch_is_taken_in_pieces_that_become_smaller(
    children: int, most: int, pieces: list[int], requests: Requests
) -> None:
    """So that several processes end at about the same time."""
    _, made = requests.batch(children)
    other = requests.add(BatchRecord(target_path="another"))
    left = [each.operation_id for each in made]
    for piece in pieces:
        assert ids(requests.catalog.jobs.take(ANYTHING, most=lambda _: most)) == left[:piece]
        del left[:piece]
    assert left == []
    assert ids(requests.catalog.jobs.take(ANYTHING, most=lambda _: most)) == [other.operation_id]


def test_what_a_dead_process_had_of_a_batch_is_taken_at_once(requests: Requests) -> None:
    _, made = requests.batch(4)
    other = requests.add()
    leave(requests, [*made, other], begun=1)
    requests.take()
    jobs, expected = requests.catalog.jobs, [each.operation_id for each in made]
    assert ids(jobs.take_abandoned(ANYTHING, most=lambda _: 3)) == expected[:3]
    assert {each.taken_by for each, _ in requests.catalog.queue.jobs()[1:4]} == {str(Owner.current())}
    assert ids(jobs.take_abandoned(ANYTHING, most=lambda _: 3)) == expected[3:]
    assert ids(jobs.take_abandoned(ANYTHING, most=lambda _: 3)) == [other.operation_id]
    assert jobs.take_abandoned(ANYTHING) == []


def test_two_that_take_what_was_left_take_different_operations(
    requests: Requests, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is faster than the other, which has seen what is left already."""
    _, made = requests.batch(4)
    leave(requests, made)
    theirs, taken = reopen().jobs, list[JobRecord]()

    def first_theirs(owner: str | None) -> bool:
        monkeypatch.setattr(taking, "is_dead", is_dead)
        taken.extend(theirs.take_abandoned(ANYTHING, most=lambda _: 3))
        return is_dead(owner)

    monkeypatch.setattr(taking, "is_dead", first_theirs)
    expected = [each.operation_id for each in made]
    assert ids(requests.catalog.jobs.take_abandoned(ANYTHING, most=lambda _: 3)) == expected[3:]
    assert ids(taken) == expected[:3]
