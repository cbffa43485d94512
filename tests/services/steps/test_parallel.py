"""Several targets at a time end as they would one after the other."""

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mgmt import signals
from mgmt.services import upload as service
from mgmt.services.steps import parallel, workers
from mgmt.services.steps.archived import record_proven
from mgmt.services.steps.move_original import finish_upload
from mgmt.services.steps.plan import plan_upload
from mgmt.storage import ObjectStore
from tests.catalogs import Catalogs
from tests.moments import meanwhile
from tests.program import Program
from tests.waiting import until

ALONE, BESIDE = ("--jobs", "1"), ("--jobs", "4")


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def files(program: Program, *names: str, data: str = "") -> list[str]:
    for name in names:
        path = program.work / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(data or name)
    return list(names)


class Together:
    """Holds each upload in a worker until another one has begun, or could not for a moment; counts the most at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now: set[int] = set()
        self._changed = threading.Condition()

    def __call__(self, plan: Callable[..., Any]) -> Callable[..., Any]:
        def planned(*arguments: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                return plan(*arguments)
            with self._changed:
                self._now.add(threading.get_ident())
                self.most = max(self.most, len(self._now))
                self._changed.notify_all()
                self._changed.wait_for(lambda: len(self._now) > 1, timeout=0.1)
            try:
                return plan(*arguments)
            finally:
                with self._changed:
                    self._now.discard(threading.get_ident())

        return planned


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Together:
    together = Together()
    monkeypatch.setattr(service, "plan_upload", together(plan_upload))
    return together


def ended(program: Program, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = program.run("-o", "jsonl", "upload", *words)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def described(program: Program, row: dict[str, Any]) -> tuple[object, ...]:
    """What must not depend on the number of jobs."""
    home = str(program.home)
    path, message = (str(row.get(name, "")).replace(home, "") for name in ("target_path", "error_message"))
    moved_to = str(row.get("completed_dir_path")).replace(home, "")
    return path, row["status"], row.get("s3_object_key"), row.get("metadata", {}).get("already_archived"), moved_to, (
        message.split(":", 1)[0]
    )  # fmt: skip


CONFLICTS = {
    "error": ("first", "a/x", "b/x", "c/x", "a/y", "b/y", "z", "x-2"),
    "rename": ("first", "a/x", "b/x", "x-2", "c/x", "x-3", "y", "x-2-2"),
    "skip": ("first", "a/x", "b/x", "folder/inner", "folder", "c/x", "folder/other", "y"),
}


@pytest.mark.parametrize("policy", CONFLICTS)
@pytest.mark.parametrize("same", [False, True], ids=["other contents", "same contents"])
def test_conflicts_end_as_they_would_one_after_the_other(
    policy: str, same: bool, tmp_path: Path, catalogs: Catalogs, together: Together
) -> None:
    found = []
    for jobs in (ALONE, BESIDE):
        home = tmp_path / jobs[1]
        (home / "store").mkdir(parents=True)
        program = Program(home, f"file://{home}/store", catalogs=catalogs)
        names = [each for each in CONFLICTS[policy] if each != "folder"]
        files(program, *names, data="the same" if same else "")
        status, rows = ended(program, *jobs, "--on-conflict", policy, *CONFLICTS[policy])
        stored = sorted(path.name for path in (home / "store").glob("*.tar.gz"))
        found.append((status, [described(program, each) for each in rows], stored))
        program.ok("verify", "--all")
        program.ok("audit", "verify")
    assert found[0] == found[1]
    assert together.most > 1, "no two were uploaded at a time"


def test_results_are_printed_in_the_order_of_the_targets(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second target is the last to end; a note belongs to the target that it is about."""
    names = files(mgmt, *"abcdefgh")
    last = threading.Event()

    def finish(record: Any, *arguments: Any) -> None:
        if record.target_name == "b":
            last.wait(timeout=60)
        finish_upload(record, *arguments)
        if record.target_name == "h":
            last.set()

    monkeypatch.setattr(service, "finish_upload", finish)
    monkeypatch.setattr(parallel, "QUEUED", 8)
    done = mgmt.run("upload", "--jobs", "2", *names)
    assert done.returncode == 0, done
    moved = [line.split("/")[-1] for line in done.stdout.splitlines() if line.startswith("moved")]
    assert moved == names


def test_a_note_is_printed_before_its_own_result(mgmt: Program) -> None:
    names = files(mgmt, *"abcd")
    mgmt.ok("upload", "--keep", *names)
    done = mgmt.run("-o", "jsonl", "upload", "--jobs", "2", "--tag", "x=y", *names)
    assert done.returncode == 0, done
    assert [line.split()[4] for line in done.stderr.splitlines()] == [f"{each}.tar.gz" for each in names]


def test_all_of_a_record_is_shown(mgmt: Program) -> None:
    """A record that a worker has made can be read after the worker has gone."""
    names = files(mgmt, *"abcd")
    _, alone = ended(mgmt, "--keep", *ALONE, *names)
    mgmt.ok("delete", "--last-copy", "--yes", *names)
    _, beside = ended(mgmt, "--keep", *BESIDE, *names)
    assert [list(each) for each in alone] == [list(each) for each in beside]
    for one, other in zip(alone, beside, strict=True):
        assert {name for name in one if one[name] is None} == {name for name in other if other[name] is None}


def test_each_operation_is_recorded_hashed_and_sealed(mgmt: Program, together: Together) -> None:
    names = files(mgmt, *(f"file {number}" for number in range(12)))
    mgmt.ok("upload", *BESIDE, *names)
    (batch,) = mgmt.json("log", "--type", "batch")
    assert batch["metadata"] == {"targets": 12, "done": 12}
    uploads = mgmt.json("log", "--type", "upload", "--limit", "50")
    assert {each["target_name"] for each in uploads} == set(names)
    assert {(each["status"], each["parent_id"]) for each in uploads} == {("success", batch["operation_id"])}
    assert mgmt.records.rows("SELECT count(*) FROM operations WHERE sha256 IS NULL OR seal IS NULL") == [(0,)]
    mgmt.ok("audit", "verify")
    mgmt.ok("verify", "--all")
    assert together.most > 1


def test_one_that_fails_does_not_touch_the_others(mgmt: Program, together: Together, monkeypatch: Any) -> None:
    """A worker whose transaction is rolled back discards nothing of another, and commits nothing of it."""
    names = files(mgmt, *(f"file {number}" for number in range(8)))

    def proven(record: Any, *arguments: Any) -> None:
        if int(record.target_name[-1]) % 2:
            raise OSError(28, "No space left on device")
        record_proven(record, *arguments)

    monkeypatch.setattr(service, "record_proven", proven)
    status, rows = ended(mgmt, *BESIDE, *names)
    assert status == 3
    assert [each["status"] for each in rows] == ["success", "failed"] * 4
    monkeypatch.undo()
    assert ended(mgmt, *BESIDE, *names)[0] == 0
    assert mgmt.json("recover") == []
    mgmt.ok("audit", "verify")


def test_large_targets_are_uploaded_one_after_the_other(mgmt: Program, together: Together, monkeypatch: Any) -> None:
    monkeypatch.setattr("mgmt.services.steps.footprint.SMALL", 3)
    names = files(mgmt, *"abcdef", data="large")
    assert ended(mgmt, *BESIDE, *names)[0] == 0
    assert together.most == 0


def test_only_so_many_bytes_are_uploaded_at_a_time(mgmt: Program, together: Together, monkeypatch: Any) -> None:
    monkeypatch.setattr(parallel, "MOST_BYTES", 10)
    names = files(mgmt, *"abcdefgh", data="1234")
    assert ended(mgmt, *BESIDE, *names)[0] == 0
    assert together.most == 2


def test_one_job_uses_no_thread(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(workers.Workers, "__init__", refuse)
    assert ended(mgmt, *ALONE, *files(mgmt, *"abcd"))[0] == 0
    assert ended(mgmt, *BESIDE, *files(mgmt, "alone"))[0] == 0


@pytest.mark.parametrize(
    ("processors", "bucket", "jobs"),
    [(1, "b", 4), (64, "b", 4), (1, None, 1), (2, None, 2), (64, None, 4)],
)
def test_jobs_depend_on_processors_and_store(
    processors: int, bucket: str | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(processors))
    assert parallel.default_jobs(cast("ObjectStore", SimpleNamespace(bucket=bucket))) == jobs
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert parallel.default_jobs(cast("ObjectStore", SimpleNamespace(bucket=bucket))) == jobs


def test_jobs_are_limited(mgmt: Program) -> None:
    for wrong in ("0", "7", "-1", "x"):
        assert mgmt.run("upload", "--jobs", wrong, "a").returncode == 2


@pytest.fixture
def many(mgmt: Program) -> list[str]:
    return files(mgmt, *(f"file {number}" for number in range(9)))


def interrupted(program: Program, names: list[str], at: str) -> tuple[int, str]:
    """Upload two at a time; when both workers are at `at`, signal the process. They wait there for the signal."""
    reached, held_at = threading.Barrier(2), ExitStack()

    def stop() -> None:
        if reached.wait(timeout=60) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        until(signals.raised, "the signal")

    def arm() -> None:
        for _ in range(2):
            held_at.enter_context(meanwhile(at, stop, when=_in_a_worker))

    with program.fork("upload", "--jobs", "2", *names, arm=arm) as child:
        _, errors = child.communicate()
        return child.wait(), errors


def _in_a_worker(*_: object, **__: object) -> bool:
    return threading.current_thread() is not threading.main_thread()


@pytest.mark.parametrize("at", ["mgmt.services.upload.write_archive", "mgmt.services.upload.put_index"])
def test_ctrl_c_cancels_what_is_in_progress(mgmt: Program, many: list[str], at: str) -> None:
    status, errors = interrupted(mgmt, many, at)
    assert status == 130, errors
    assert "Traceback" not in errors
    (batch,) = mgmt.json("log", "--type", "batch")
    assert batch["status"] == "cancelled"
    ended_as = {each["status"] for each in mgmt.json("log", "--type", "upload", "--limit", "50")}
    assert ended_as == {"success", "cancelled"}
    assert 1 <= len(list((mgmt.work / "completed").iterdir())) < len(many)
    check_again(mgmt, many)


def test_ctrl_c_lets_a_move_be_recorded(mgmt: Program, many: list[str]) -> None:
    status, errors = interrupted(mgmt, many, "mgmt.services.steps.move_original.move")
    assert status == 130, errors
    moved = {path.name for path in (mgmt.work / "completed").iterdir()}
    done = mgmt.json("log", "--type", "upload", "--status", "success")
    assert {each["target_name"] for each in done} == moved
    assert len(moved) >= 3
    assert mgmt.json("log", "--status", "running") == []
    check_again(mgmt, many)


def check_again(program: Program, names: list[str]) -> None:
    """The same command succeeds, and nothing is left over."""
    assert program.json("log", "--status", "running") == []
    program.ok("upload", *names)
    assert program.json("recover") == []
    assert {path.name: path.read_text() for path in (program.work / "completed").iterdir()} == {x: x for x in names}
    program.ok("verify", "--all")
    program.ok("audit", "verify")


def test_the_mirror_has_what_workers_have_done(on_directory: Program) -> None:
    program = replace(on_directory, environment={**on_directory.environment, "MGMT_MIRROR": "true"})
    names = files(program, *"abcdef")
    program.ok("upload", *BESIDE, *names)
    mirror = json.loads((program.work / "completed" / ".files.json").read_text())
    assert {each["name"] for each in mirror["records"] if each["location"] == "completed"} == set(names)
    assert {each["name"] for each in mirror["records"] if each["location"] == "s3"} == {f"{x}.tar.gz" for x in names}


def test_a_kept_archive_is_private(mgmt: Program) -> None:
    """Whatever another thread has set the umask to."""
    names = files(mgmt, *"abcdef")
    mgmt.ok("upload", *BESIDE, "--keep-archive", "kept", *names)
    kept = list((mgmt.work / "kept").iterdir())
    assert {path.name for path in kept} == {f"{each}.tar.gz" for each in names}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_a_killed_batch_lists_what_is_left(mgmt: Program, many: list[str]) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def arm() -> None:
        held.enter_context(meanwhile("mgmt.services.upload.put_index", die, when=_in_a_worker))

    held = ExitStack()
    with mgmt.fork("upload", "--jobs", "2", *many, arm=arm) as child:
        assert child.wait() == -signal.SIGKILL
    (batch,) = mgmt.json("log", "--type", "batch")
    assert batch["status"] == "running"
    assert (batch["metadata"]["targets"], batch["metadata"]["done"]) == (len(many), 1)
    assert batch["metadata"]["left"] == many[1:]


def test_nothing_begins_when_the_batch_was_taken_over(mgmt: Program, many: list[str]) -> None:
    """As after `mgmt recover --host` on another machine, which takes this process for dead."""
    taken = "UPDATE operations SET owner = 'elsewhere boot 1 1' WHERE operation_type = 'batch'"
    with meanwhile("mgmt.services.steps.workers.Workers.submit", lambda: mgmt.records.change(taken)):
        status, rows = ended(mgmt, "--jobs", "2", *many)
    assert status != 0
    assert sum(each["status"] == "success" for each in rows) == 2
    assert {each["error"]["class"] for each in rows if each["status"] == "failed"} == {"LostError"}
    assert len(list((mgmt.work / "completed").iterdir())) == 2


def explode(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.sqlite
@pytest.mark.parametrize("at", ["mgmt.services.steps.workers._Share", "mgmt.catalog.db.database.Database.close"])
def test_a_bug_in_a_worker_ends_the_command(mgmt: Program, many: list[str], at: str) -> None:
    """One outside of the work on a target, whose errors are its own: before it begins, or when the worker ends."""
    ending = at.endswith("close")
    with meanwhile(at, explode, when=_in_a_worker, after=ending), pytest.raises(RuntimeError, match="a bug"):
        mgmt.run("upload", "--jobs", "2", *many)
    assert not [each for each in threading.enumerate() if each.name == "mgmt upload"]
    (batch,) = mgmt.json("log", "--type", "batch")
    assert (batch["status"], batch["error_message"]) == ("failed", "a bug")
    moved = {path.name for path in (mgmt.work / "completed").iterdir()}
    assert (moved == {*many}) is ending
    check_again(mgmt, many)


@pytest.mark.sqlite
def test_an_interrupted_run_whose_reader_has_gone_ends_what_is_in_progress(mgmt: Program, many: list[str]) -> None:
    """As when a pipeline is interrupted: the reader ends first."""
    beside, joining, patched = threading.Event(), threading.Event(), ExitStack()

    def interrupt() -> None:
        assert beside.wait(timeout=60)
        os.kill(os.getpid(), signal.SIGINT)
        until(signals.raised, "the signal")

    def linger() -> None:
        beside.set()
        joining.wait(timeout=60)

    def has_gone() -> None:
        raise BrokenPipeError

    def arm() -> None:
        finish, show = "mgmt.services.upload.finish_upload", "mgmt.cli.upload._sentences"
        for number, do in ((1, interrupt), (2, linger)):
            patched.enter_context(
                meanwhile(finish, do, when=lambda record, *_, at=many[number]: record.target_name == at)
            )
        patched.enter_context(meanwhile("mgmt.services.steps.workers.Workers.join", joining.set))
        patched.enter_context(meanwhile(show, has_gone, when=lambda *_: signals.raised() is not None))

    with mgmt.fork("upload", "--jobs", "2", *many, arm=arm) as child:
        _, errors = child.communicate()
        assert child.wait() == 128 + signal.SIGPIPE, errors
    assert (mgmt.work / "completed" / many[2]).exists()
    check_again(mgmt, many)
