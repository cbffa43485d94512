"""Several targets: each ends by itself."""

import json
from pathlib import Path

import pytest

from mgmt.storage import key_for
from tests.program import Program

pytestmark = pytest.mark.sqlite


def test_an_unexpected_error_fails_its_target_only(
    on_directory: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        (on_directory.work / name).write_text(name)

    def broken(name: str) -> str:
        if name == "b":
            raise KeyError(name)
        return key_for(name)

    monkeypatch.setattr("mgmt.services.steps.plan.key_for", broken)
    done = on_directory.run("-o", "jsonl", "upload", "a", "b", "c")
    assert done.returncode == 3, done
    ended = {each["target_name"]: each["status"] for each in map(json.loads, done.stdout.splitlines())}
    assert ended == {"a": "success", "b": "failed", "c": "success"}
    assert (on_directory.work / "b").exists()
    done = on_directory.run("upload", "b")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2), done
    assert "unexpected KeyError" in done.stderr
    on_directory.run("-v", "upload", "b")
    assert "raise KeyError(name)" in caplog.text


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
def test_a_file_without_a_size_is_not_archived_as_empty(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("notes")
    done = on_directory.run("upload", "--keep", "/proc/version", "notes")
    assert done.returncode == 3, done
    assert "/proc/version cannot be archived: it does not hold the 0 bytes" in done.stderr
    assert [each["name"] for each in on_directory.json("ls", "--live")] == ["notes.tar.gz"]
