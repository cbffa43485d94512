"""Telling a process from any other that ever has its number."""

import os
import subprocess
import sys

import pytest

from mgmt.catalog import owner
from mgmt.catalog.owner import Fate, Owner


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
