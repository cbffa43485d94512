"""Owners: identifying a process even if its id is reused."""

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

import pytest

from mgmt.catalog.records import process
from mgmt.catalog.records.process import Liveness, Owner
from tests import hidden


def test_this_process_is_alive() -> None:
    here = Owner.current()
    assert (here.pid, here.liveness()) == (os.getpid(), Liveness.ALIVE)
    assert Owner.parse(str(here)) == here


def test_a_host_name_may_contain_any_characters() -> None:
    odd = Owner("a/b", "boot", 7, "1")
    assert Owner.parse(str(odd)) == odd


def owner_of(pid: int) -> Owner:
    here = Owner.current()
    start = process._start(pid)
    assert start is not None
    return Owner(here.host, here.boot, pid, start)


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = owner_of(child.pid)
        assert other.liveness() is Liveness.ALIVE
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # now a zombie
        assert other.liveness() is Liveness.DEAD
    assert other.liveness() is Liveness.DEAD


def test_a_process_in_another_container_is_unknown() -> None:
    here = Owner.current()
    boot, plus, _ = here.boot.partition("+")
    if not plus:
        pytest.skip("only Linux has process namespaces")
    assert Owner(here.host, f"{boot}+1", 1, "1").liveness() is Liveness.UNKNOWN
    assert Owner(here.host, "another boot+1", 1, "1").liveness() is Liveness.DEAD
    assert Owner("elsewhere", here.boot, here.pid, here.start).liveness() is Liveness.UNKNOWN


def test_start_times_come_from_ps_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = owner_of(child.pid)
        assert other.liveness() is Liveness.ALIVE
        child.kill()
    assert other.liveness() is Liveness.DEAD


needs_namespaces = pytest.mark.skipif(
    not hidden.may_hide(), reason="needs root, for namespaces and mounts: a hidden process was NOT tried"
)


@needs_namespaces
@pytest.mark.parametrize("level", [1, 2])
def test_a_process_hidden_by_proc_is_unknown(level: int) -> None:
    """With hidepid, the process of another user is invisible (2) or unreadable (1)."""
    found = hidden.run(hidden.HIDDEN.format(level), "liveness")
    advice = found.pop("advice")
    assert found == {
        "nobody": "unknown",
        "nobody, of its predecessor": "unknown",
        "its user": "alive",
        "root": "alive",
        "root, of its predecessor": "dead",
        "itself": "alive",
        "nobody, after its end": "dead",
    }
    assert "of user ann on this host" in advice
    assert "--host" not in advice


@needs_namespaces
def test_processes_of_other_users_are_visible_without_hidepid() -> None:
    found = hidden.run("true", "liveness")
    assert (found["nobody"], found["nobody, of its predecessor"]) == ("alive", "dead")


@needs_namespaces
@pytest.mark.parametrize("path", [None, "/nowhere"])
def test_without_proc_every_process_is_unknown(path: str | None) -> None:
    """Not even the boot is known. `ps` and `sysctl` may be missing, too."""
    mount = hidden.EMPTY if path is None else f"{hidden.EMPTY} && export PATH={path}"
    found = hidden.run(mount, "liveness")
    advice = found.pop("advice")
    assert set(found.values()) == {"unknown"}
    assert "only if it has ended: mgmt recover --host" in advice


@needs_namespaces
def test_recover_leaves_and_reports_an_operation_of_a_hidden_process() -> None:
    with TemporaryDirectory() as home:
        found = hidden.run(hidden.HIDDEN.format(2), "recovering", home)
    for way in ("recover -n", "recover", "recover --host"):
        status, out, _ = found[way]
        (left,) = json.loads(out)
        assert (status, left["type"], left["status"]) == (0, "unknown", "running")
        assert "left as it is" in left["action"]
        assert f"process {found['pid']} of user root on this host" in left["action"]
        assert "--host" not in left["action"]
    status, _, err = found["upload"]
    assert status == 11
    error = json.loads(err)["error"]
    assert f"process {found['pid']}" in error["message"]
    assert "user root" in error["next"]
    assert "--host" not in error["next"]
    status, out, _ = found["recover afterwards"]
    assert (status, [each["action"] for each in json.loads(out)]) == (0, ["undone"])
