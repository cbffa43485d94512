"""What administrators do to a catalog in which work waits: nothing of it is lost, reported or run twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL
from tests.program import Program


@pytest.fixture
def waiting(on_directory: Program) -> Program:
    """A chain, a batch and an interrupted worker's job wait; one operation has run."""
    program = on_directory
    for name in ("done", "chained", "one", "two"):
        (program.work / name).write_text(f"contents of {name}")
    program.ok("-q", "upload", "done")
    program.ok("upload", "chained", "--then", "verify", "--then", "free")
    program.ok("upload", "one", "two", "--later")
    program.ok("verify", "done", "--at", "2099-01-01")
    program.records.change(
        "INSERT INTO schedules (name, cron, timezone, command, host, cwd, paused, created_at) "
        "VALUES ('daily', '0 1 * * *', 'UTC', '[\"verify\"]', 'nas', '/', false, '2026-01-01 00:00:00')"
    )
    return program


def work(program: Program) -> list[tuple[str, str]]:
    return [(each["operation_type"], each["status"]) for each in program.json("queue")]


WAITING = [(kind, "waiting") for kind in ("upload", "verify", "free", "batch", "verify")]
RAN = ["batch", "free", "upload", "upload", "upload", "upload", "verify"]


def run(program: Program) -> list[str]:
    """Let a worker run all that may run now; returns the types of all operations that succeeded."""
    done = program.run_process("worker", "--until-empty", "--slots", "2")
    assert done.returncode == 0, done.stderr
    return sorted(each["operation_type"] for each in program.json("log", "--status", "success"))


def test_nothing_is_found_while_work_waits(waiting: Program) -> None:
    waiting.ok("db", "check")
    waiting.ok("db", "check", "--repair")
    waiting.ok("db", "upgrade")
    waiting.ok("audit", "verify")
    findings = json.loads(waiting.run("-o", "json", "doctor").stdout)
    assert [each for each in findings if each["area"] == "catalog" and each["state"] not in ("ok", "note")] == []
    waiting.ok("recover")
    assert work(waiting) == WAITING
    refused = waiting.run("db", "downgrade", "0009")
    assert (refused.returncode, "work is waiting" in refused.stderr) == (12, True)
    assert run(waiting) == sorted([*RAN, "recover"])
    waiting.ok("db", "check")
    waiting.ok("audit", "verify")
    assert work(waiting) == WAITING[-1:]


def test_a_prune_leaves_what_waits(waiting: Program) -> None:
    waiting.ok("verify", "done")
    waiting.ok("db", "prune", "--before", "0s", "--export", "old.jsonl.gz", "--yes")
    assert work(waiting) == WAITING
    waiting.ok("audit", "verify")
    assert run(waiting) == sorted([*RAN, "prune"])


@pytest.mark.sqlite
def test_a_backup_has_what_waits(waiting: Program) -> None:
    backup = waiting.home / "backup.db"
    waiting.ok("db", "backup", backup)
    waiting.ok("cancel", waiting.json("queue")[0]["operation_id"])
    shutil.rmtree(waiting.catalog.parent)
    waiting.catalog.parent.mkdir()
    shutil.copy(backup, waiting.catalog)
    waiting.ok("db", "check")
    assert work(waiting) == WAITING
    assert run(waiting) == RAN


@pytest.fixture
def elsewhere(waiting: Program, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    """The same machine with an empty catalog of the other kind."""
    if waiting.records.url.startswith("sqlite"):
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        with server.database() as url:
            yield Program(waiting.home, waiting.store, {"MGMT_CATALOG": url})
    else:
        yield Program(waiting.home, waiting.store, {"MGMT_CATALOG": f"sqlite:///{tmp_path}/other/catalog.db"})


def test_work_that_waits_moves_to_the_other_database(waiting: Program, elsewhere: Program) -> None:
    waiting.ok("db", "export", "history.jsonl")
    done = elsewhere.run("db", "import", "history.jsonl")
    assert done.returncode == 0, done.stderr
    assert "mgmt queue --release" in done.stderr
    assert "schedules are paused" in done.stderr
    assert work(elsewhere) == [(kind, "held") for kind, _ in WAITING]
    assert run(elsewhere) == ["upload"]
    elsewhere.ok("db", "check")
    elsewhere.ok("audit", "verify")
    elsewhere.ok("queue", "--release")
    assert work(elsewhere) == WAITING
    assert run(elsewhere) == RAN
    assert work(waiting) == WAITING
