"""Requests of a machine that has another name now: they are found, and moved to it."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.program import Program

On = Callable[[str], Program]
OLD = "2026-01-01 00:00:00.000000"


@pytest.fixture
def on(on_directory: Program, monkeypatch: pytest.MonkeyPatch) -> On:
    """Run commands under a host name."""

    def on(name: str) -> Program:
        monkeypatch.setattr(socket, "gethostname", lambda: name)
        return on_directory

    return on


def upload_later(program: Program, *words: str) -> list[str]:
    (program.work / "a").write_text("a")
    return program.ok("-q", "upload", "a", *(words or ("--later",))).split()


def findings(program: Program) -> list[dict[str, Any]]:
    done = program.run("-o", "json", "doctor")
    return [each for each in json.loads(done.stdout) if each["what"] == "other hosts"]


def age(program: Program) -> None:
    """Let what waits have waited for long."""
    program.records.change("UPDATE jobs SET requested_at = ?", OLD)


def test_what_waits_for_a_former_name_is_moved(on: On) -> None:
    upload, verify = upload_later(on("old"), "--then", "verify")
    on("old").ok("schedule", "add", "daily", "0 2 * * *", "--", "upload", "a")
    program = on("new")
    assert (findings(program), "note" in program.run("queue").stderr) == ([], False), "it may run at any moment"
    age(program)
    (finding,) = findings(program)
    assert finding["state"] == "warning"
    assert finding["detail"] == "1 operation waits for a worker on old, where nothing has ever run"
    assert "mgmt queue --move-from old" in finding["next"]
    assert "mgmt queue --move-from old" in program.run("queue").stderr
    program.ok("worker", "--until-empty")
    assert [each["status"] for each in program.json("queue")] == ["waiting", "waiting"]
    moved = program.run("queue", "--move-from", "old")
    assert "note: 1 operation and 1 schedule are moved here from old" in moved.stderr
    assert findings(program) == []
    program.ok("worker", "--until-empty")
    found = {each["operation_id"]: (each["status"], each["host"]) for each in program.json("log")}
    assert found == {upload: ("success", "new"), verify: ("success", "new")}
    assert [each["host"] for each in program.json("schedule", "ls")] == ["new"]


def test_a_host_that_works_is_not_reported(on: On) -> None:
    upload_later(on("old"))
    (on("old").work / "b").write_text("b")
    on("old").ok("upload", "b")
    age(on("old"))
    assert findings(on("new")) == []
    assert findings(on("old")) == []


def test_what_waits_for_something_else_is_not_reported(on: On) -> None:
    upload_later(on("old"), "--at", "+1d")
    age(on("old"))
    assert findings(on("new")) == []


def test_only_the_name_of_another_machine_is_moved_from(on: On) -> None:
    upload_later(on("old"))
    same, unknown = on("old").run("queue", "--move-from", "old"), on("new").run("queue", "--move-from", "other")
    assert (same.returncode, unknown.returncode) == (7, 4)
    on("new").records.change("UPDATE jobs SET taken_by = ?", "old/boot/1/1")
    taken = on("new").run("queue", "--move-from", "old")
    assert (taken.returncode, "mgmt recover --host old" in taken.stderr) == (4, True)
    on("new").ok("recover", "--host", "old")
    on("new").ok("queue", "--move-from", "old")
    on("new").ok("worker", "--until-empty")
    assert [each["status"] for each in on("new").json("log", "--type", "upload")] == ["success"]
