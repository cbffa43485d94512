"""A signal ends a run with 128 + n, unless it is ignored."""

import os
import signal
import subprocess

import pytest

from tests.moments import amid_upload
from tests.program import Program
from tests.trees import random_file


@pytest.mark.sqlite
def test_nohup_is_honoured(mgmt: Program) -> None:
    file = random_file(mgmt.work / "clip", 2 << 20)
    received = mgmt.home / "received"

    def hang_up() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        received.touch()

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with amid_upload(1 << 20, hang_up), mgmt.fork("upload", file, arm=ignore) as running:
        _, errors = running.communicate()
    assert (running.returncode, errors) == (0, "")
    assert received.exists()
    assert not file.exists()


@pytest.mark.sqlite
def test_a_closed_pipe_ends_the_command_quietly(mgmt: Program) -> None:
    for number in range(10):
        (mgmt.work / f"file {number}").write_text(str(number))
    mgmt.ok("upload", "--all")
    with subprocess.Popen(
        mgmt.command("-o", "jsonl", "ls", "--limit", "1000"),
        env=mgmt.env(),
        cwd=mgmt.work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        errors = running.stderr.read()
    assert running.returncode == 128 + signal.SIGPIPE
    assert errors == b""


def test_a_batch_with_a_closed_pipe_is_cancelled_and_resumes(mgmt: Program) -> None:
    for number in range(3):
        (mgmt.work / f"file {number}").write_text(str(number))
    with subprocess.Popen(
        mgmt.command("-o", "jsonl", "upload", "--all"),
        env=mgmt.env(),
        cwd=mgmt.work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        errors = running.stderr.read()
    assert running.returncode == 128 + signal.SIGPIPE
    assert errors.strip() == b""
    statuses = [each["status"] for each in mgmt.json("log", "--type", "batch")]
    mgmt.ok("upload", "--all")
    assert statuses == ["cancelled"]
    assert sorted(path.name for path in (mgmt.work / "completed").iterdir()) == ["file 0", "file 1", "file 2"]
