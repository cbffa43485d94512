"""Requested operations: what a worker makes of them, in order, with kills, and on several machines."""

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Forked
from tests.hosts import become
from tests.program import Program
from tests.servers import Server

SECONDS = 600
"""Longer than any worker takes on a busy machine."""


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def write(program: Program, *names: str) -> None:
    for name in names:
        path = program.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(f"contents of {name}"))


def requested(program: Program, *words: str) -> list[str]:
    """The ids of the operations that this command has requested."""
    return program.ok("-q", *words).split()


def statuses(program: Program) -> dict[str, str]:
    return {each["operation_id"]: each["status"] for each in program.json("log", "--limit", "100000")}


def operation(program: Program, operation_id: str) -> dict[str, Any]:
    found = [each for each in program.json("log", "--limit", "100000") if each["operation_id"] == operation_id]
    assert len(found) == 1
    return dict(found[0])


def work_off(program: Program, *words: str) -> list[dict[str, Any]]:
    """Run a worker until nothing is left, and return what it says."""
    done = program.run("-q", "-o", "jsonl", "worker", "--until-empty", *words)
    assert done.returncode in (0, 3), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ended(process: Forked) -> tuple[int, str]:
    """The exit status and all output of a process that ends by itself."""
    process.wait(SECONDS)
    output, errors = process.communicate()
    assert process.returncode is not None
    return process.returncode, output + errors


def archives(program: Program) -> list[str]:
    folder = Path(program.store.removeprefix("file://"))
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*.tar.gz"))


def test_a_chain_runs_in_order(mgmt: Program) -> None:
    write(mgmt, "a")
    ids = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    assert [statuses(mgmt)[each] for each in ids] == ["pending"] * 3
    assert archives(mgmt) == []
    events = work_off(mgmt)
    assert [each["operation_id"] for each in events if each["type"] == "ended"] == ids
    assert [statuses(mgmt)[each] for each in ids] == ["success"] * 3
    assert archives(mgmt) == ["a.tar.gz"]
    assert list(mgmt.work.rglob("a")) == []
    assert mgmt.json("queue") == []
    mgmt.ok("verify", "--all")
    mgmt.ok("audit", "verify")


def test_what_follows_a_failure_is_cancelled_with_the_reason(mgmt: Program) -> None:
    write(mgmt, "a")
    first, second, third = requested(mgmt, "upload", "a", "--then", "verify", "--then", "free")
    (mgmt.work / "a").unlink()
    work_off(mgmt)
    assert operation(mgmt, first)["status"] == "failed"
    for each in (second, third):
        assert operation(mgmt, each)["status"] == "cancelled"
    assert f"upload {first} ended as failed" in operation(mgmt, second)["error_message"]
    assert f"verify {second} ended as cancelled" in operation(mgmt, third)["error_message"]


def test_a_request_waits_for_the_operations_that_it_names(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (first,) = requested(mgmt, "upload", "a", "--at", "+1h")
    (second,) = requested(mgmt, "upload", "b", "--after", first)
    assert work_off(mgmt) == []
    assert mgmt.run("run", second).returncode == 7
    mgmt.ok("run", first)
    work_off(mgmt)
    assert statuses(mgmt) == {first: "success", second: "success"}
    assert mgmt.run("upload", "a", "--after", "no-such-operation").returncode == 4


def test_nothing_can_follow_an_operation_that_has_failed(mgmt: Program) -> None:
    write(mgmt, "b")
    assert mgmt.run("upload", "missing").returncode == 4
    (failed,) = [each["operation_id"] for each in mgmt.json("log")]
    done = mgmt.run("upload", "b", "--after", failed)
    assert done.returncode == 7
    assert f"mgmt retry {failed}" in done.stderr
    assert mgmt.json("queue") == []


def test_an_operation_does_not_run_before_its_time(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    requested(mgmt, "upload", "a", "--at", soon)
    late = requested(mgmt, "upload", "b", "--at", "+1d")
    (first, second) = mgmt.json("queue")
    assert second["operation_id"] == late[0]
    assert first["not_before"] < second["not_before"]
    deadline = time.monotonic() + SECONDS
    while archives(mgmt) != ["a.tar.gz"]:
        work_off(mgmt)
        assert time.monotonic() < deadline
    assert [each["operation_id"] for each in mgmt.json("queue")] == late


def test_a_batch_becomes_an_operation_for_each_target(mgmt: Program) -> None:
    write(mgmt, "all/a", "all/b", "all/c")
    (batch,) = requested(mgmt, "upload", "--all=all", "--later", "--tag", "who=me", "--then", "verify")
    work_off(mgmt, "--slots", "2")
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]
    children = [each for each in mgmt.json("log") if each["parent_id"] == batch]
    assert sorted(each["operation_type"] for each in children) == ["upload"] * 3 + ["verify"] * 3
    assert {each["status"] for each in children} == {"success"}
    assert operation(mgmt, batch)["status"] == "success"
    assert {json.dumps(each["tags"]) for each in mgmt.json("ls", "--location", "s3")} == {'{"who": "me"}'}


def test_a_batch_without_targets_succeeds(mgmt: Program) -> None:
    (mgmt.work / "none").mkdir()
    (first,) = requested(mgmt, "upload", "--all=none", "--later")
    (second,) = requested(mgmt, "verify", "--all", "--later")
    work_off(mgmt)
    assert [statuses(mgmt)[each] for each in (first, second)] == ["success", "success"]


def test_a_batch_is_partial_when_a_target_fails(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later")
    (mgmt.work / "b").unlink()
    work_off(mgmt)
    seen = operation(mgmt, batch)
    assert (seen["status"], seen["error_message"]) == ("partial", "1 of 2 targets were not done: 1 failed")


def test_names_and_options_are_those_of_the_request(mgmt: Program) -> None:
    """Relative names, names like options and ones that are not UTF-8, from the folder of the request."""
    strange = os.fsdecode(b"caf\xe9 -x")
    write(mgmt, "sub/--yes", f"sub/{strange}")
    program_folder = mgmt.work / "sub"
    mgmt.ok("upload", "--later", "--key", "k.tar.gz", "--keep", "--", "--yes", cwd=program_folder)
    mgmt.ok("upload", "--later", strange, "./--yes", "--keep", cwd=program_folder)
    work_off(mgmt)
    assert sorted(archives(mgmt))[0] == "--yes.tar.gz"
    assert "k.tar.gz" in archives(mgmt)
    assert len(archives(mgmt)) == 3
    assert {each["status"] for each in mgmt.json("log")} == {"success"}


def test_a_request_is_refused_at_once_where_it_cannot_succeed(mgmt: Program) -> None:
    assert mgmt.run("upload", "missing", "--later").returncode == 4
    assert mgmt.run("upload", "--later").returncode == 2
    assert mgmt.run("delete", "a", "--later").returncode == 7  # nobody can be asked later
    assert mgmt.run("upload", "a", "-n", "--later").returncode == 2
    assert mgmt.run("log").stdout == ""


def test_run_is_idempotent(mgmt: Program) -> None:
    write(mgmt, "a")
    (upload,) = requested(mgmt, "upload", "a", "--later")
    for _ in range(2):
        mgmt.ok("run", upload)
    assert len(mgmt.json("log")) == 1
    assert archives(mgmt) == ["a.tar.gz"]
    assert mgmt.run("run", "no-such-operation").returncode == 4


def test_what_has_been_done_meanwhile_is_not_done_again(mgmt: Program) -> None:
    write(mgmt, "a")
    (upload,) = requested(mgmt, "upload", "a", "--later")
    mgmt.ok("upload", "a")
    work_off(mgmt)
    assert statuses(mgmt)[upload] == "success"
    assert archives(mgmt) == ["a.tar.gz"]


def test_what_may_succeed_later_is_tried_again(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt is in the log, and what follows waits for the one that succeeds."""
    monkeypatch.setenv("MGMT_BACKOFF", "0")
    program = Program(mgmt.home, mgmt.store, {"MGMT_BACKOFF": "0"}, mgmt.catalogs)
    write(program, "a")
    upload, verify = requested(program, "upload", "a", "--then", "verify")
    held = program.fork("upload", "a", arm=_stop_before_the_end)
    _wait_until(lambda: any(each["status"] == "running" for each in program.json("log")))
    worker = program.fork("-o", "jsonl", "worker", "--until-empty")
    _wait_until(lambda: any(each["attempt"] > 1 for each in program.json("queue")))
    held.send_signal(signal.SIGCONT)
    assert ended(held)[0] == 0
    status, output = ended(worker)
    assert status == 0, output
    assert statuses(program)[upload] == statuses(program)[verify] == "success"
    assert archives(program) == ["a.tar.gz"]


def _stop_before_the_end() -> None:
    upload = import_module("mgmt.services.upload")
    prove = vars(upload)["prove"]

    def stopped(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return prove(*arguments)

    vars(upload)["prove"] = stopped


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline


def test_cancel_ends_what_waits_and_what_follows_it(mgmt: Program) -> None:
    write(mgmt, "a")
    ids = requested(mgmt, "upload", "a", "--then", "verify")
    mgmt.ok("cancel", ids[0])
    assert [statuses(mgmt)[each] for each in ids] == ["cancelled", "cancelled"]
    assert mgmt.json("queue") == []
    assert mgmt.run("cancel", ids[0]).returncode == 7
    assert work_off(mgmt) == []


def test_cancel_ends_all_of_a_batch(mgmt: Program) -> None:
    write(mgmt, "a", "b")
    (batch,) = requested(mgmt, "upload", "a", "b", "--later", "--then", "verify")
    mgmt.ok("run", batch)
    assert len(mgmt.json("queue")) == 5
    mgmt.ok("cancel", batch)
    assert set(statuses(mgmt).values()) == {"cancelled"}
    assert mgmt.json("queue") == []


def test_cancel_stops_what_runs(mgmt: Program) -> None:
    """Also a command in the foreground; it exits as one that Ctrl-C stops, and the record says who it was."""
    program = Program(mgmt.home, mgmt.store, {}, mgmt.catalogs)
    (program.work / "big").write_bytes(os.urandom(4 << 20))
    running = program.fork("upload", "big", "--bwlimit", "20k")
    _wait_until(lambda: any(each["status"] == "running" for each in program.json("log")))
    (upload,) = statuses(program)
    program.ok("cancel", upload)
    assert ended(running)[0] == 128 + signal.SIGTERM
    seen = operation(program, upload)
    assert seen["status"] == "cancelled"
    assert seen["error_message"].startswith("cancelled by ")
    assert (program.work / "big").exists()


def test_sigterm_leaves_what_runs_to_the_next_worker(mgmt: Program) -> None:
    (mgmt.work / "big").write_bytes(os.urandom(100 << 10))
    upload, verify = requested(mgmt, "upload", "big", "--bwlimit", "50k", "--then", "verify")
    worker = mgmt.fork("worker")
    _wait_until(lambda: statuses(mgmt)[upload] == "running")
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 0
    assert statuses(mgmt) == {upload: "running", verify: "pending"}
    (left,) = mgmt.json("recover")
    assert (left["operation_id"], left["action"]) == (upload, "waits for: mgmt worker")
    work_off(mgmt)
    assert [statuses(mgmt)[each] for each in (upload, verify)] == ["success", "success"]
    assert archives(mgmt) == ["big.tar.gz"]


PART = 5 << 20


@pytest.mark.parametrize(
    ("parts", "rate"),
    [(6, "12M"), pytest.param(205, "60M", marks=[pytest.mark.torture, pytest.mark.sqlite], id="1 GiB")],
)
def test_an_upload_whose_worker_is_killed_twice_sends_no_part_again(
    on_seaweed: Program, seaweed: Server, parts: int, rate: str
) -> None:
    program = replace(on_seaweed, environment={**on_seaweed.environment, "MGMT_PART_SIZE": str(PART)})
    with (program.work / "clip.mov").open("wb") as file:
        for _ in range(parts):
            file.write(os.urandom(PART))
    ids = requested(program, "upload", "clip.mov", "--bwlimit", rate, "--then", "verify", "--then", "free")
    sent = 0
    for _ in range(2):
        worker = program.fork("worker", "--slots", "1")
        before = sent
        deadline = time.monotonic() + SECONDS
        while (sent := parts_of(program, seaweed)) <= before:
            assert time.monotonic() < deadline
            assert statuses(program)[ids[0]] in ("pending", "running")
        for pid in (*children_of(worker.pid), worker.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended(worker)
    work_off(program)
    assert [statuses(program)[each] for each in ids] == ["success"] * 3
    details = operation(program, ids[0])["metadata"]
    assert details["parts_skipped"] >= sent
    assert details["parts_sent"] + details["parts_skipped"] == operation(program, ids[0])["parts"]
    assert [each["s3_object_key"] for each in program.json("ls", "--location", "s3")] == ["clip.mov.tar.gz"]
    program.ok("verify", "--all")


def parts_of(program: Program, server: Server) -> int:
    """How many parts the store has of the archive that is not complete; the probe of the endpoint is none."""
    client = server.client()
    bucket = program.store.split("/")[2]
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sum(
        len(client.list_parts(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"]).get("Parts", []))
        for each in uploads
        if each["Key"].endswith("clip.mov.tar.gz")
    )


@pytest.fixture
def hosts(mgmt: Program) -> Callable[[str], Program]:
    """The same program on a machine of this name; the machines share a disk."""

    class OnHost(Program):
        host = ""

        def main(self, arguments: list[str]) -> int:
            before = socket.gethostname
            become(self.host)
            try:
                return super().main(arguments)
            finally:
                socket.gethostname = before

    def at(name: str) -> Program:
        program = OnHost(mgmt.home, mgmt.store, mgmt.environment, mgmt.catalogs)
        object.__setattr__(program, "host", name)
        return program

    return at


def test_files_of_a_machine_wait_for_its_worker(hosts: Callable[[str], Program]) -> None:
    ant, bee = hosts("ant"), hosts("bee")
    write(ant, "a")
    upload, verify = requested(ant, "upload", "a", "--then", "verify")
    assert work_off(bee) == []
    assert bee.run("run", upload).returncode == 7
    work_off(ant, "--queue", "host.ant")
    assert statuses(ant) == {upload: "success", verify: "pending"}
    work_off(bee)
    assert statuses(ant)[verify] == "success"
    assert operation(ant, verify)["host"] == "bee"


def test_what_a_dead_machine_has_taken_is_taken_over_on_request(hosts: Callable[[str], Program]) -> None:
    ant, bee = hosts("ant"), hosts("bee")
    write(ant, "a")
    ant.ok("upload", "a")
    (verify,) = requested(ant, "verify", "a", "--later")
    ant.records.change("UPDATE jobs SET taken_by = 'ant/another boot/1/1'")
    assert work_off(bee) == []
    assert statuses(bee)[verify] == "pending"
    bee.ok("recover", "--host", "ant")
    work_off(bee)
    assert statuses(bee)[verify] == "success"


def test_two_workers_share_a_batch(mgmt: Program) -> None:
    write(mgmt, *(f"all/{number}" for number in range(12)))
    (batch,) = requested(mgmt, "upload", "--all=all", "--later", "--then", "verify")
    workers = [mgmt.fork("-o", "jsonl", "worker", "--slots", "1", "--until-empty") for _ in range(2)]
    for each in workers:
        assert ended(each)[0] == 0
    work_off(mgmt)
    children = [each for each in mgmt.json("log", "--limit", "1000") if each["parent_id"] == batch]
    assert len(children) == 24
    assert {each["status"] for each in children} == {"success"}
    assert len(archives(mgmt)) == 12


def test_a_deletion_removes_the_archive_that_was_meant_or_none(mgmt: Program) -> None:
    write(mgmt, "h")
    mgmt.ok("upload", "h")
    mgmt.ok("free", "h", "--yes")
    (delete,) = requested(mgmt, "delete", "h", "--last-copy", "--yes", "--at", "+1h")
    mgmt.ok("delete", "h", "--last-copy", "--yes")
    (mgmt.work / "h").write_text("others")
    mgmt.ok("upload", "h")
    mgmt.ok("free", "h", "--yes")
    done = mgmt.run("run", delete)
    assert done.returncode == 7
    assert "is not the archive that it was" in done.stderr
    assert operation(mgmt, delete)["status"] == "failed"
    assert archives(mgmt) == ["h.tar.gz"]
    mgmt.ok("verify", "--all")
    assert mgmt.run("delete", "no-such-archive", "--later", "--yes").returncode == 4


def test_a_request_keeps_its_store(mgmt: Program) -> None:
    """Whatever the worker is configured for, and what it has run before."""
    write(mgmt, "a", "x")
    other = replace(mgmt, store=f"file://{mgmt.home}/other")
    Path(other.store.removeprefix("file://")).mkdir()
    for program in (mgmt, other):
        program.ok("upload", "x", "--keep", "--key", "x.tar.gz")
    (upload,) = requested(other, "upload", "a", "--later")
    (delete,) = requested(mgmt, "delete", f"{mgmt.store}/x.tar.gz", "--yes", "--later")
    (verify,) = requested(mgmt, "verify", "--all", "--later")
    mgmt.ok("run", upload, delete)
    assert archives(mgmt) == []
    assert archives(other) == ["a.tar.gz", "x.tar.gz"]
    other.ok("run", verify)


def die_after_the_move() -> None:
    """Let an upload die when its original is moved and that is not recorded."""
    move = import_module("mgmt.services.steps.move_original")
    moved = vars(move)["move"]

    def moved_and_dead(*arguments: Any, **options: Any) -> None:
        moved(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    vars(move)["move"] = moved_and_dead


@pytest.mark.parametrize("how", ["the last attempt", "cancelled"])
def test_recover_finishes_what_died_and_is_not_tried_again(mgmt: Program, how: str) -> None:
    program = replace(mgmt, environment={"MGMT_ATTEMPTS": "1" if how == "the last attempt" else "5"})
    write(program, "a")
    upload, verify = requested(program, "upload", "a", "--then", "verify")
    ended(program.fork("run", upload, arm=die_after_the_move))
    if how == "cancelled":
        assert "mgmt recover finishes or undoes them" in program.run("cancel", upload).stderr
    else:
        program.records.change("UPDATE jobs SET attempt = attempts")
        work = program.fork("worker", "--until-empty", arm=die_after_the_move)
        ended(work)
    assert statuses(program)[upload] in ("running", "success")
    program.ok("recover")
    assert statuses(program)[upload] == "success"
    assert [each["path"] for each in program.json("ls", "--location", "completed")] == [
        str(program.work / "completed" / "a")
    ]
    work_off(program)
    assert statuses(program)[verify] == ("cancelled" if how == "cancelled" else "success")
    assert program.json("queue") == []


def test_an_interrupted_command_cannot_be_cancelled(mgmt: Program) -> None:
    write(mgmt, "a")
    ended(mgmt.fork("upload", "a", arm=die_after_the_move))
    (upload,) = statuses(mgmt)
    done = mgmt.run("cancel", upload)
    assert (done.returncode, "mgmt recover" in done.stderr) == (7, True)
    mgmt.ok("upload", "a")
    assert statuses(mgmt)[upload] == "success"


def test_what_was_there_when_it_was_requested_is_archived_or_missed(mgmt: Program) -> None:
    """What an earlier upload has archived from the same place is something else."""
    write(mgmt, "a", "b")
    mgmt.ok("upload", "a", "b")
    (nothing_seen,) = requested(mgmt, "upload", "a", "--at", "+1h")
    mgmt.ok("run", nothing_seen)  # archived already
    (mgmt.work / "b").write_text("another b")
    first, second = requested(mgmt, "upload", "b", "--later") + requested(mgmt, "upload", "b", "--later")
    (mgmt.work / "b").rename(mgmt.work / "away")
    assert mgmt.run("run", first).returncode == 4
    (mgmt.work / "away").rename(mgmt.work / "b")
    mgmt.ok("upload", "b", "--key", "b2.tar.gz")
    assert mgmt.run("run", second).returncode == 4  # it asked for another key
    assert archives(mgmt) == ["a.tar.gz", "b.tar.gz", "b2.tar.gz"]


def test_a_target_may_be_requested_twice(mgmt: Program) -> None:
    """Both requests may run at the same moment; then the second waits for the first."""
    mgmt = replace(mgmt, environment={"MGMT_BACKOFF": "0", "MGMT_ATTEMPTS": "100"})
    write(mgmt, "b")
    ids = [each for _ in range(2) for each in requested(mgmt, "upload", "b", "--then", "verify")]
    work_off(mgmt)
    assert [operation(mgmt, each)["error_message"] for each in ids] == [None] * 4
    assert {statuses(mgmt)[each] for each in ids} == {"success"}
    assert archives(mgmt) == ["b.tar.gz"]


def test_a_worker_heeds_no_signal_that_it_was_started_to_ignore(mgmt: Program) -> None:
    """As under nohup."""
    write(mgmt, "a")

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    worker = mgmt.fork("worker", arm=ignore)
    requested(mgmt, "upload", "a", "--later")
    _wait_until(lambda: mgmt.json("queue") == [])
    os.kill(worker.pid, signal.SIGHUP)
    write(mgmt, "b")
    requested(mgmt, "upload", "b", "--later")
    _wait_until(lambda: mgmt.json("queue") == [])
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 0


def children_of(pid: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            yield int(folder.name)


def kill_workers(program: Program, *, kills: int, seed: int) -> None:
    """Start workers, one after the other, and kill each, or a process of it, at some moment."""
    chance = random.Random(seed)
    for _ in range(kills):
        worker = program.fork("worker", "--slots", "2")
        until = time.monotonic() + chance.uniform(0.05, 0.6)
        while time.monotonic() < until:
            time.sleep(0.005)
        killed = [*children_of(worker.pid), worker.pid] if chance.random() < 0.5 else [worker.pid]
        for pid in killed[:1] if chance.random() < 0.5 else killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.kill()
        ended(worker)


def test_nothing_is_lost_or_done_twice_when_workers_are_killed(mgmt: Program, request: pytest.FixtureRequest) -> None:
    """Of 15 operations in 5 chains; the torture kills more often."""
    _kill(mgmt, chains=5, kills=4)


@pytest.mark.torture
def test_nothing_is_lost_or_done_twice_in_many_kills(mgmt: Program) -> None:
    _kill(mgmt, chains=20, kills=20)


def _kill(mgmt: Program, *, chains: int, kills: int) -> None:
    program = Program(mgmt.home, mgmt.store, {"MGMT_BACKOFF": "0", "MGMT_ATTEMPTS": "100"}, mgmt.catalogs)
    ids: list[str] = []
    for number in range(chains):
        write(program, f"f{number}/data")
        ids += requested(program, "upload", f"f{number}", "--then", "verify", "--then", "free")
    kill_workers(program, kills=kills, seed=chains)
    deadline = time.monotonic() + SECONDS
    while program.json("queue"):
        work_off(program)
        assert time.monotonic() < deadline, program.json("queue")
    assert {statuses(program)[each] for each in ids} == {"success"}
    assert len(statuses(program)) == len(ids)
    assert archives(program) == sorted(f"f{number}.tar.gz" for number in range(chains))
    assert [each for each in program.work.rglob("*") if each.is_file()] == []
    program.ok("verify", "--all")
    program.ok("audit", "verify")
