"""A signal ends a run with 128 + n, unless it is ignored."""

import signal
import subprocess

import pytest

from tests.program import Program
from tests.trees import random_file


@pytest.mark.sqlite
def test_nohup_is_honoured(mgmt: Program) -> None:
    file = random_file(mgmt.work / "clip", 12 << 20)
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *mgmt.command("upload", file, "--bwlimit", "8M")]
    with subprocess.Popen(
        ignoring, env=mgmt.env(), cwd=mgmt.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        while not list((mgmt.home / "store").glob(".mgmt/uploads/*.json")):
            with pytest.raises(subprocess.TimeoutExpired):  # it must still be running
                running.wait(0.02)
        running.send_signal(signal.SIGHUP)
        running.communicate()
    assert running.returncode == 0
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
    assert errors.strip() == b""


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
