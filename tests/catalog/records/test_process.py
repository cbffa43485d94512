"""Telling a process from any other that ever has its number."""

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

import pytest

from mgmt.catalog.records import process as owner
from mgmt.catalog.records.process import Fate, Owner
from tests import hidden


def test_this_process_is_alive() -> None:
    here = Owner.current()
    assert (here.pid, here.fate()) == (os.getpid(), Fate.ALIVE)
    assert Owner.parse(str(here)) == here


def test_a_host_may_be_called_anything() -> None:
    odd = Owner("a/b", "boot", 7, "1")
    assert Owner.parse(str(odd)) == odd


def owner_of(pid: int) -> Owner:
    here = Owner.current()
    start = owner._start(pid)
    assert start is not None
    return Owner(here.host, here.boot, pid, start)


def test_a_process_is_gone_when_it_has_ended_even_before_its_parent_looks() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = owner_of(child.pid)
        assert other.fate() is Fate.ALIVE
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert other.fate() is Fate.GONE
    assert other.fate() is Fate.GONE


def test_another_container_on_the_same_machine_cannot_be_judged() -> None:
    here = Owner.current()
    boot, plus, _ = here.boot.partition("+")
    if not plus:
        pytest.skip("only Linux has process namespaces")
    assert Owner(here.host, f"{boot}+1", 1, "1").fate() is Fate.ELSEWHERE
    assert Owner(here.host, "another boot+1", 1, "1").fate() is Fate.GONE
    assert Owner("elsewhere", here.boot, here.pid, here.start).fate() is Fate.ELSEWHERE


def test_where_there_is_no_proc_ps_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = owner_of(child.pid)
        assert other.fate() is Fate.ALIVE
        child.kill()
    assert other.fate() is Fate.GONE


needs_namespaces = pytest.mark.skipif(
    not hidden.may_hide(), reason="needs root, for namespaces and mounts: a hidden process was NOT tried"
)


@needs_namespaces
@pytest.mark.parametrize("level", [1, 2])
def test_a_process_that_proc_hides_is_unknown(level: int) -> None:
    """With hidepid, another user's process looks as if there were none (2), or may not be looked at (1)."""
    found = hidden.run(hidden.HIDDEN.format(level), "fates")
    advice = found.pop("advice")
    assert found == {
        "nobody": "elsewhere",
        "nobody, of one before it": "elsewhere",
        "somebody": "alive",
        "root": "alive",
        "root, of one before it": "gone",
        "itself": "alive",
        "nobody, when it is gone": "gone",
    }
    assert "of user somebody on this host" in advice
    assert "--host" not in advice


@needs_namespaces
def test_where_nothing_is_hidden() -> None:
    found = hidden.run("true", "fates")
    assert (found["nobody"], found["nobody, of one before it"]) == ("alive", "gone")


@needs_namespaces
@pytest.mark.parametrize("path", [None, "/nowhere"])
def test_without_proc_nothing_is_known(path: str | None) -> None:
    """Not even the boot: it may be another one. Neither must `ps` and `sysctl` be there."""
    mount = hidden.EMPTY if path is None else f"{hidden.EMPTY} && export PATH={path}"
    found = hidden.run(mount, "fates")
    advice = found.pop("advice")
    assert set(found.values()) == {"elsewhere"}
    assert "only if it has ended: mgmt recover --host" in advice


@needs_namespaces
def test_an_operation_of_a_process_that_proc_hides_is_left_and_told() -> None:
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
