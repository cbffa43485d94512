"""What a job row that somebody else has written into the catalog can make `mgmt run` and a worker do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog import this_host
from tests.program import Program

ID = "11111111-0000-4000-8000-00000000000f"


@dataclass(frozen=True)
class Row:
    """A requested operation and its job, as another program writes them."""

    arguments: Mapping[str, Any]
    kind: str = "verify"
    command: str = "verify"
    job: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    "another command": Row({"names": ["clip"]}, command="db"),
    "a command that is no operation": Row({"names": ["store", "x"]}, command="config"),
    "a path as a command": Row({"names": ["clip"]}, command="/bin/sh"),
    "the worker itself": Row({"names": []}, command="worker"),
    "a command of another operation": Row({"names": ["clip"]}, command="delete"),
    "the option --store": Row({"names": ["clip"], "store": "file:///elsewhere"}),
    "the option --config": Row({"names": ["clip"], "config": "/tmp/evil.toml"}),
    "the option --catalog": Row({"names": ["clip"], "catalog": "sqlite:////tmp/other.db"}),
    "an option of the command that cannot be recorded": Row({"names": ["clip"], "yes": True}, "delete", "delete"),
    "an option as it is typed": Row({"names": ["clip"], "--store": "file:///elsewhere"}),
    "an option that follows": Row({"names": ["clip"], "files_from": "/etc/passwd"}),
    "a name with a dash": Row({"names": ["--all"]}),
    "a name that is a global option": Row({"names": ["--store=file:///elsewhere"]}),
    "names that are no list": Row({"names": {"--all": 1}}),
    "names that are no texts": Row({"names": [["--all"]]}),
    "nothing to name": Row({"names": None}),
    "files of another machine": Row({"names": ["/etc/hostname"]}, "upload", "upload", {"host": "elsewhere"}),
    "files of any machine": Row({"names": ["/etc/hostname"]}, "upload", "upload", {"host": None}),
    "a worker that is none": Row({"names": ["clip"]}, job={"taken_by": "nobody; rm -rf /"}),
}


def requested(program: Program, row: Row) -> None:
    """Write the rows into the catalog as another program would."""
    columns = "operation_id, operation_type, started_at, status, metadata, command_args, seq, host"
    program.records.change(
        f"INSERT INTO operations ({columns}) VALUES (?, ?, '2026-01-01 00:00:00', 'pending', '{{}}', ?, 4711, ?)",
        *(ID, row.kind, json.dumps(row.arguments), this_host()),
    )
    if row.kind == "upload":
        program.records.change("INSERT INTO uploads (operation_id, compression_type) VALUES (?, 'gzip')", ID)
    elif row.kind == "verify":
        columns = "operation_id, checked_objects, checked_size, problems_found"
        program.records.change(f"INSERT INTO verifications ({columns}) VALUES (?, 0, 0, 0)", ID)
    facts = {"queue": "any", "host": this_host(), "taken_by": None, **row.job}
    program.records.change(
        "INSERT INTO jobs (operation_id, command, queue, host, taken_by, attempt, attempts, backoff_seconds, "
        "fanned_out, held, requested_at) VALUES (?, ?, ?, ?, ?, 1, 1, 60, false, false, '2026-01-01 00:00:00')",
        *(ID, row.command, facts["queue"], facts["host"], facts["taken_by"]),
    )


def effects(program: Program) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What is in the store and in the work folder, and all operations but the requested one."""
    store = Path(program.store.removeprefix("file://"))
    files = [str(each) for folder in (store, program.work) for each in sorted(folder.rglob("*"))]
    return files, program.records.rows("SELECT operation_type, status FROM operations WHERE operation_id <> ?", ID)


@pytest.mark.parametrize("name", ROWS)
def test_a_forged_job_runs_nothing_else(name: str, on_directory: Program) -> None:
    program = on_directory
    (program.work / "clip").write_text("a clip")
    program.ok("-q", "upload", "clip")
    before = effects(program)
    requested(program, ROWS[name])
    done = program.run("run", ID)
    assert done.returncode not in (0, 3), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert effects(program) == before
    assert program.records.rows("SELECT status FROM operations WHERE operation_id = ?", ID) != [("success",)]
    program.ok("cancel", ID) if program.records.rows("SELECT 1 FROM jobs") else None


@pytest.mark.parametrize("name", ["an option that follows", "names that are no texts", "another command"])
def test_a_worker_ends_a_forged_job_and_goes_on(name: str, on_directory: Program) -> None:
    program = on_directory
    (program.work / "clip").write_text("a clip")
    program.ok("db", "upgrade")
    requested(program, ROWS[name])
    (honest,) = program.json("upload", "clip", "--later")
    done = program.run_process("worker", "--until-empty", "--slots", "1")
    assert done.returncode == 3, done.stderr
    ended: dict[str, str] = dict(program.records.rows("SELECT operation_id, status FROM operations"))
    assert ended == {ID: "failed", honest["operation_id"]: "success"}
