"""Promises 1 to 8 when the command is killed while two uploads are in progress, each just before one of its steps."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.history import look, violations
from tests.faults.proxy import ALWAYS, Fault, proxy
from tests.moments import meanwhile
from tests.program import Program
from tests.servers import Server

STEPS = (
    "mgmt.services.upload.plan_upload",
    "mgmt.services.upload.note_pending",
    "mgmt.services.upload.write_archive",
    "mgmt.services.upload.put_index",
    "mgmt.services.upload.note_archived",
    "COMPLETE",
    "mgmt.services.upload.prove",
    "mgmt.services.upload.record_proven",
    "mgmt.services.steps.archived.save_archive",
    "mgmt.services.upload.finish_upload",
    "mgmt.services.steps.move_original.move",
    "mgmt.services.steps.move_original._record_completed",
)
"""Between any two of them is a commit, a request that stores something, or a move. Some are inside a transaction."""

INSIDE = {
    "mgmt.services.upload.note_pending",
    "mgmt.services.steps.archived.save_archive",
    "mgmt.services.steps.move_original._record_completed",
}
"""Inside a transaction: the other upload cannot go on to another step while the one waits here."""

COMPLETE = {
    "directory": "mgmt.storage.directory.DirectoryStore.publish",
    "seaweed": "mgmt.storage.s3_object.NewObject.put",
}
PAIRS = [pair for pair in product(STEPS, STEPS) if pair[0] not in INSIDE]
UPLOAD = ["upload", "--jobs", "2", "first", "a", "b", "c", "d"]
FEW = 5


def killed_at(program: Program, one: str, other: str) -> None:
    """Kill the command when a worker is at `other`, while another one waits at `one`."""
    is_there, where = threading.Event(), {}
    held = ExitStack()

    def here(wanted: Callable[[], bool]) -> bool:
        return threading.current_thread() is not threading.main_thread() and wanted()

    def stay() -> None:
        where["one"] = threading.get_ident()
        is_there.set()
        threading.Event().wait()

    def die() -> None:
        is_there.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    def arm() -> None:
        first = lambda *_, **__: here(lambda: "one" not in where)  # noqa: E731
        second = lambda *_, **__: here(lambda: "one" in where and where["one"] != threading.get_ident())  # noqa: E731
        held.enter_context(meanwhile(other, die, when=second))
        held.enter_context(meanwhile(one, stay, when=first))

    with program.fork(*UPLOAD, arm=arm) as child:
        assert child.wait() == -signal.SIGKILL, (one, other)
    program.records.wait()


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
@pytest.mark.parametrize("store", COMPLETE)
def test_a_kill_with_two_uploads_in_progress_breaks_no_promise(
    store: str,
    few: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    catalogs: Catalogs,
    figure: Figure,
) -> None:
    server: Server | None = request.getfixturevalue("seaweed") if store == "seaweed" else None
    begin = Program(tmp_path / "empty", f"file://{tmp_path}/empty/store", catalogs=catalogs)
    begin.ok("ls")
    broken = []
    pairs = random.Random(store).sample(PAIRS, FEW) if few else PAIRS
    for number, pair in enumerate(pairs):
        one, other = (COMPLETE[store] if each == "COMPLETE" else each for each in pair)
        program = _program(tmp_path / str(number), store, request, catalogs, begin)
        monkeypatch.setattr(tempfile, "tempdir", str(program.home / "tmp"))
        before = look(program, server)
        killed_at(program, one, other)
        found = violations(before, look(program, server), recovered=False)
        for command in (["recover"], UPLOAD) if number % 2 else (UPLOAD, ["recover"]):
            done = program.run(*command)
            if done.returncode != 0:
                found.append(f"10: {command}: {done}")
        found += violations(before, look(program, server), recovered=True)
        stays = [path for path in before.places if path.exists()]
        broken += [f"{pair}, {number % 2}: {each}" for each in (*found, *stays)]
        shutil.rmtree(program.home)
        catalogs.forget(program.home)
    assert not broken, "\n".join(map(str, broken))
    figure("2", f"kills with two uploads in progress, {store}", tried=len(pairs), violations=0)


def _program(home: Path, store: str, request: pytest.FixtureRequest, catalogs: Catalogs, empty: Program) -> Program:
    for folder in ("store", "tmp", "work"):
        (home / folder).mkdir(parents=True)
    catalogs.copy(empty.home, home)
    environment = {"TMPDIR": str(home / "tmp")}
    program = Program(home, f"file://{home}/store", environment, catalogs)
    if store == "seaweed":
        served: Program = request.getfixturevalue("on_seaweed")
        program = Program(home, f"{served.store}/{home.name}", {**served.environment, **environment}, catalogs)
    for name in UPLOAD[3:]:
        (program.work / name).write_text(name * 100)
    return program


@pytest.mark.sqlite
def test_a_second_ctrl_c_does_not_wait_for_a_server_that_is_silent(on_seaweed: Program, seaweed: Server) -> None:
    for name in ("known", *UPLOAD[3:]):
        (on_seaweed.work / name).write_text(name)
    with proxy(seaweed) as between:
        environment = {**on_seaweed.environment, "AWS_ENDPOINT_URL": between.endpoint_url}
        program = replace(on_seaweed, environment=environment)
        program.ok("upload", "known")
        silence = Fault(r"^PUT ", "stall", times=ALWAYS, after=2)
        between.faults.append(silence)
        with program.start(*UPLOAD) as running:
            while silence.met < 2:
                with pytest.raises(subprocess.TimeoutExpired):  # it must still be running
                    running.wait(0.01)
            running.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.5)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=30)
        assert running.returncode == 130, errors
        assert "Traceback" not in errors
        between.faults.clear()
        assert len(program.json("log", "--type", "upload", "--status", "running")) == 2
        program.ok(*UPLOAD)
        program.ok("recover")
        assert {path.name for path in (program.work / "completed").iterdir()} == {"known", *UPLOAD[3:]}
        assert program.json("log", "--status", "running") == []
        program.ok("verify", "--all")
        program.ok("audit", "verify")
