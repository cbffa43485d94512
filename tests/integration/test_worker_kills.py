"""Workers, and processes of theirs, that are killed at any moment: nothing is lost or done twice."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.conftest import Figure
from tests.effects import watching
from tests.program import Program
from tests.workers import (
    archives,
    children_of,
    ended,
    jobs_left,
    kill,
    kill_all_of,
    on,
    requested,
    statuses,
    stop_before_the_proof,
    wait_until,
    work_off,
    write,
)

CHAIN = ("--then", "verify", "--then", "free")


@pytest.mark.parametrize(
    ("chains", "kills"), [(4, 4), pytest.param(20, 20, marks=pytest.mark.torture, id="60 operations")]
)
def test_nothing_is_lost_or_done_twice_when_workers_are_killed(
    on_directory: Program, chains: int, kills: int, figure: Figure
) -> None:
    """Nor when the second of two machines dies for good with what it has taken."""
    patient = replace(on_directory, environment={"MGMT_BACKOFF": "0", "MGMT_ATTEMPTS": "100"})
    ant, bee = on("ant", patient), on("bee", patient)
    names = [f"f{number}" for number in range(chains)]
    write(bee, *names)
    store, completed = bee.home / "store", bee.work / "completed"
    completed.mkdir()
    with watching(store, bee.work, completed) as effects:
        ids = [each for name in names[1:] for each in requested(bee, "upload", name, *CHAIN)]
        kill_workers((ant, bee), kills=kills, seed=chains)
        last = requested(bee, "upload", names[0], *CHAIN)
        bee.ok("run", last[0])
        die_with_what_it_took(ant)
        work_off(bee)
        assert statuses(bee)[last[1]] != "success"
        bee.ok("recover", "--host", "ant")
        # A process whose worker was killed may still be about to end.
        wait_until(lambda: not (work_off(bee) or jobs_left(bee)))
        came, went = effects.counts()
    done = "SELECT operation_id, status FROM operations WHERE operation_type IN ('upload', 'verify', 'free')"
    assert dict(bee.records.rows(done)) == dict.fromkeys(ids + last, "success")
    assert archives(bee) == sorted(f"{name}.tar.gz" for name in names)
    assert [each for each in bee.work.rglob("*") if each.is_file()] == []
    keys, originals, copies = ([folder / each for each in names] for folder in (store, bee.work, completed))
    keys = [each.with_suffix(".tar.gz") for each in keys]
    assert [came[each] for each in keys + copies] == [1] * 2 * chains
    assert [went[each] for each in keys + originals + copies] == [0] * chains + [1] * 2 * chains
    bee.ok("verify", "--all")
    bee.ok("audit", "verify")
    figure(22, "requested operations whose workers are killed", tried=len(ids + last), violations=0)


def kill_workers(programs: Sequence[Program], *, kills: int, seed: int) -> None:
    """Kill a worker on one of the machines, or the process of one, at some moments; in the end kill all."""
    chance = random.Random(seed)
    workers = [each.fork("worker", "--slots", "1") for each in programs]
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 0.6))
        number = chance.randrange(len(workers))
        if processes := list(children_of(workers[number].pid)) if chance.random() < 0.5 else []:
            kill(*processes)
            continue
        kill(workers[number].pid)
        ended(workers[number])
        workers[number] = programs[number].fork("worker", "--slots", "1")
    for each in workers:
        kill_all_of(each)


def die_with_what_it_took(machine: Program) -> None:
    """Let the machine take a verification, and die before it has proven anything."""
    worker = machine.fork("worker", "--slots", "1", "--queue", "any", arm=stop_before_the_proof)
    begun = "SELECT count(*) FROM operations WHERE status = 'running' AND owner LIKE 'ant/%'"
    wait_until(lambda: machine.records.rows(begun)[0][0] > 0)
    kill_all_of(worker)
