"""A host reported as down: its operations are recovered from another host; if it was only suspended, it stops."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog.db import database
from mgmt.catalog.records.process import this_host
from tests.conftest import Figure
from tests.faults.signal_at import Moment, Trigger, count_steps, forked
from tests.hosts import become, on_host
from tests.program import Done, Program
from tests.servers import Server

LOST, SUSPEND = 11, signal.SIGSTOP
CLIP = b"precious" * 999


@pytest.fixture
def program(on_seaweed: Program) -> Program:
    """mgmt with one S3 store and one catalog, shared by all hosts."""
    return ready(on_seaweed)


def ready(program: Program) -> Program:
    (program.work / "clip").write_bytes(CLIP)
    program.ok("ls")
    return program


def on_nas(
    program: Program,
    arguments: list[str],
    at: Moment | int | None = None,
    number: signal.Signals = SUSPEND,
    meanwhile: Callable[[], object] = lambda: None,
) -> Done:
    """Run on the host `nas`; at a moment or step, kill it, or suspend it until `meanwhile` has run on this host."""

    def arm() -> None:
        become("nas")
        if at is not None:
            sys.setprofile(Trigger(at, number, 0))

    def while_suspended(child: int) -> None:
        if at is None or number != SUSPEND:
            return
        assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]), f"it never reached {at}"
        try:
            meanwhile()
        finally:
            os.kill(child, signal.SIGCONT)

    return forked(program, arguments, arm, while_suspended)


def log(program: Program, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.json("log", *arguments)
    return found


def keys(program: Program) -> list[str]:
    return [each["path"] for each in program.json("ls", "--live")]


UPLOAD = ["-q", "upload", "clip"]


@pytest.mark.parametrize(
    ("moment", "status", "kept"),
    [
        (Moment("_Upload._first_key"), "cancelled", False),  # before its own record is read again
        (Moment("_Upload._send"), "cancelled", False),
        (Moment("note_archived"), "cancelled", False),  # before the object is completed
        (Moment("_Upload._prove_sent"), "partial", True),
        (Moment("finish_upload"), "partial", True),
        (Moment("_move"), "partial", True),
        (Moment("same_as_archived", "return"), "partial", True),
    ],
    ids=str,
)
def test_an_upload_suspended_while_it_is_recovered_moves_nothing(
    moment: Moment, status: str, kept: bool, program: Program
) -> None:
    recovered: list[Any] = []

    def recover() -> None:
        recovered.extend(program.json("recover", "--host", "nas"))
        recovered.append(log(program, "--type", "upload")[0])

    done = on_nas(program, UPLOAD, moment, meanwhile=recover)
    assert done.returncode == LOST, done.stderr
    assert f"on {this_host()}" in done.stderr
    assert (program.work / "clip").read_bytes() == CLIP
    assert not (program.work / "completed" / "clip").exists()

    (report, record) = recovered
    assert (report["operation_type"], report["host"], report["status"]) == ("upload", "nas", status)
    assert report["heard_at"] is not None
    assert (record["status"], record["host"]) == (status, "nas")
    assert "nas was reported as down" in record["error_message"]
    assert str(program.work / "clip") in record["error_message"]
    assert log(program, "--type", "upload") == [record]
    assert keys(program) == (["clip.tar.gz"] if kept else [])

    again = on_nas(program, UPLOAD)
    assert again.returncode == 0, again.stderr
    assert (program.work / "completed" / "clip").read_bytes() == CLIP
    assert log(program, "--status", "running") == []


@pytest.mark.parametrize("moment", [Moment("S3Store.delete"), Moment("find_index", "return")], ids=str)
def test_a_deletion_suspended_while_it_is_recovered_deletes_nothing(moment: Moment, program: Program) -> None:
    program.ok(*UPLOAD)
    done = on_nas(
        program,
        ["-q", "delete", "clip", "--last-copy", "--yes"],
        moment,
        meanwhile=lambda: program.ok("recover", "--host", "nas"),
    )
    assert done.returncode == LOST, done.stderr
    assert keys(program) == ["clip.tar.gz"]
    (record,) = log(program, "--type", "delete")
    assert (record["status"], record["error_message"]) == ("cancelled", "interrupted before anything was deleted")
    assert [each["status"] for each in program.json("ls", "--location", "s3")] == ["completed"]


def test_a_half_done_deletion_is_finished_from_another_host(program: Program) -> None:
    program.ok(*UPLOAD)
    killed = Moment("_confirm_deleted")
    on_nas(program, ["-q", "delete", "clip", "--last-copy", "--yes"], killed, signal.SIGKILL)
    busy = program.run("delete", "clip", "--last-copy", "--yes")
    assert busy.returncode == LOST
    assert "mgmt recover --host nas" in busy.stderr
    (left,) = program.json("recover")
    assert (left["type"], left["status"]) == ("unknown", "running")
    assert "only if that host is down: mgmt recover --host nas" in left["action"]
    (recovered,) = program.json("recover", "--host", "nas")
    assert recovered["action"] == "finished: the archive is deleted"
    assert program.json("ls", "--location", "s3") == []


def test_a_free_suspended_while_it_is_recovered_removes_nothing(program: Program) -> None:
    assert on_nas(program, UPLOAD).returncode == 0
    done = on_nas(
        program,
        ["-q", "free", "clip", "--yes"],
        Moment("finish_free", "call", 2),
        meanwhile=lambda: program.ok("recover", "--host", "nas"),
    )
    assert done.returncode == LOST, done.stderr
    (record,) = log(program, "--type", "free")
    assert record["status"] == "cancelled"
    (hidden,) = (program.work / "completed").iterdir()
    assert str(hidden) in record["error_message"]
    assert hidden.read_bytes() == CLIP


@pytest.mark.parametrize(
    "dead", [Moment("_Upload._send"), Moment("_Upload._prove_sent"), Moment("finish_upload")], ids=str
)
def test_an_upload_of_a_dead_host_is_recovered_from_another(dead: Moment, program: Program) -> None:
    assert on_nas(program, UPLOAD, dead, signal.SIGKILL).returncode == -signal.SIGKILL
    (record,) = log(program, "--status", "running")
    assert record["heard_at"] is not None
    assert "nas" in program.ok("log", "--status", "running")
    (left,) = program.json("recover")
    assert (left["type"], left["status"]) == ("unknown", "running")
    assert "only if that host is down: mgmt recover --host nas" in left["action"]
    (would,) = program.json("recover", "-n", "--host", "nas")
    assert "would be taken over" in would["action"]
    assert log(program, "--status", "running") == [record]
    (recovered,) = program.json("recover", "--host", "nas")
    assert (recovered["operation_id"], recovered["host"]) == (record["operation_id"], "nas")
    assert program.json("recover", "--host", "nas") == []
    assert (program.work / "clip").read_bytes() == CLIP
    assert on_nas(program, UPLOAD).returncode == 0
    assert (program.work / "completed" / "clip").read_bytes() == CLIP


def test_recovering_a_dead_host_leaves_partial_copies_on_its_disk(program: Program) -> None:
    """On this host the same path may be another file."""
    copies = program.work / "copies"
    killed = on_nas(program, [*UPLOAD, "--keep-archive", str(copies)], Moment("finish_upload"), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = copies.iterdir()
    program.ok("recover", "--host", "nas")
    assert list(copies.iterdir()) == [partial]
    assert partial.name in log(program, "--type", "upload")[0]["error_message"]


def test_a_download_of_a_dead_host_is_cancelled(program: Program) -> None:
    program.ok(*UPLOAD)
    arguments = ["-q", "download", "clip", "--to", "back"]
    on_nas(program, arguments, Moment("rename_noreplace"), signal.SIGKILL)
    (partial,) = (program.work / "back").iterdir()
    program.ok("recover", "--host", "nas")
    (record,) = log(program, "--type", "download")
    assert record["status"] == "cancelled"
    assert partial.name in record["error_message"]
    assert partial.exists()


def test_recovering_a_dead_host_leaves_its_directory_store(on_directory: Program) -> None:
    program = ready(on_directory)
    on_nas(program, UPLOAD, Moment("put_index"), signal.SIGKILL)
    (recovered,) = (each for each in program.json("recover", "--host", "nas") if "given up" in each["action"])
    assert f"what was sent is in {program.store}" in recovered["action"]
    assert on_nas(program, UPLOAD).returncode == 0


def test_a_live_process_of_this_host_is_not_taken_over(program: Program) -> None:
    found: list[Any] = []

    def look(child: int) -> None:
        os.waitpid(child, os.WUNTRACED)
        found.append(program.json("recover", "--host", this_host()))
        os.kill(child, signal.SIGCONT)

    done = forked(program, UPLOAD, lambda: sys.setprofile(Trigger(Moment("_Upload._send"), SUSPEND, 0)), look)
    assert done.returncode == 0, done.stderr
    assert found == [[]]


def test_recovering_an_unknown_host_is_refused_and_lists_known_ones(program: Program) -> None:
    program.ok(*UPLOAD)
    done = program.run("recover", "--host", "nsa")
    assert done.returncode == 4
    assert this_host() in done.stderr


def test_a_process_on_another_host_is_recorded_under_its_name(program: Program) -> None:
    done = subprocess.run(
        on_host("nas", program.command("-q", "upload", "clip")), env=program.env(), cwd=program.work, check=False
    )
    assert done.returncode == 0
    assert {each["host"] for each in log(program, "--type", "upload")} == {"nas"}


@pytest.mark.parametrize("share", [0.001, pytest.param(0.05, marks=pytest.mark.torture)])
def test_an_upload_suspended_at_any_step_loses_nothing(
    share: float,
    tmp_path: Path,
    seaweed: Server,
    new_bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
    figure: Figure,
) -> None:
    """The original is in place or its archive is proven, and a recovered record never changes."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.2)  # it may be suspended while it writes
    bucket = new_bucket(seaweed)

    def new(name: str) -> Program:
        return ready(Program(tmp_path / name, f"s3://{bucket}/{name}", seaweed.environment))

    rehearsed = new("rehearsed")  # imports all modules once
    rehearsed.ok(*UPLOAD)
    rehearsed.ok("recover")
    steps = count_steps(new("counted"), UPLOAD)
    chosen = random.Random(5).sample(range(1, steps * 9 // 10), max(4, int(steps * share)))
    lost = 0
    for step in chosen:
        program = new(str(step))
        recovered: list[dict[str, Any]] = []

        def recover(program: Program = program, recovered: list[dict[str, Any]] = recovered) -> None:
            done = program.run("-o", "json", "recover", "--host", "nas")
            reported = json.loads(done.stdout) if done.returncode == 0 else []
            if any(each["operation_type"] == "upload" for each in reported):  # it had not finished
                recovered.extend(log(program, "--type", "upload"))

        done = on_nas(program, UPLOAD, step, meanwhile=recover)
        where = program.work / "clip"
        moved = program.work / "completed" / "clip"
        assert where.exists() != moved.exists(), step
        assert (where if where.exists() else moved).read_bytes() == CLIP, step
        if recovered:
            lost += 1
            assert done.returncode == LOST, (step, done)
            assert log(program, "--type", "upload") == recovered, step
        else:
            assert done.returncode == 0, (step, done)
        if moved.exists():
            program.ok("verify", "clip")
        else:
            assert on_nas(program, UPLOAD).returncode == 0, step
            assert moved.read_bytes() == CLIP
    assert lost
    what = "steps of an upload at which its host is suspended, reported as down and resumed"
    figure(2, what, tried=len(chosen), violations=0, note=f"taken over at {lost} of them")
