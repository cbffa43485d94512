"""Workers of several machines that share a catalog, a store and here also a disk."""

from functools import partial

import pytest

from tests.clocks import turn_clock
from tests.program import Program
from tests.workers import archives, ended, on, operation, requested, statuses, work_off, write


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def test_files_of_a_machine_wait_for_its_worker(mgmt: Program) -> None:
    ant, bee = on("ant", mgmt), on("bee", mgmt)
    write(ant, "a")
    upload, verify = requested(ant, "upload", "a", "--then", "verify")
    assert work_off(bee) == []
    assert bee.run("run", upload).returncode == 7
    work_off(ant, "--queue", "host.ant")
    assert statuses(ant) == {upload: "success", verify: "pending"}
    work_off(bee)
    assert statuses(ant)[verify] == "success"
    assert operation(ant, verify)["host"] == "bee"


def test_what_a_dead_machine_has_taken_is_taken_over_on_request(mgmt: Program) -> None:
    ant, bee = on("ant", mgmt), on("bee", mgmt)
    write(ant, "a")
    ant.ok("upload", "a")
    (verify,) = requested(ant, "verify", "a", "--later")
    ant.records.change("UPDATE jobs SET taken_by = 'ant/another boot/1/1'")
    assert work_off(bee) == []
    assert statuses(bee)[verify] == "pending"
    bee.ok("recover", "--host", "ant")
    work_off(bee)
    assert statuses(bee)[verify] == "success"


def test_machines_whose_clocks_differ_share_work(mgmt: Program) -> None:
    ant, bee = on("ant", mgmt), on("bee", mgmt)
    write(mgmt, "a", "b")
    chain = ("--then", "verify", "--then", "free")
    ids = [*requested(ant, "upload", "a", *chain), *requested(bee, "upload", "b", *chain)]
    for machine, hours in ((ant, 1), (bee, -1), (ant, 1)):  # it may wait for a verification by the other one
        assert ended(machine.fork("worker", "--until-empty", arm=partial(turn_clock, hours)))[0] == 0
    assert statuses(mgmt) == dict.fromkeys(ids, "success")
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz"]
    mgmt.ok("verify", "--all")
    mgmt.ok("audit", "verify")
