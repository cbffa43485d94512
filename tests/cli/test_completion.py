"""Shell completion, called as the script of a shell calls it: with variables of the environment."""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from tests.program import Program


@pytest.fixture
def completed(mgmt: Program) -> Program:
    for name in ("holiday", "homework", "notes"):
        (mgmt.work / name).write_text(name)
        mgmt.ok("upload", name)
    return mgmt


def complete(mgmt: Program, line: str) -> list[str]:
    words = {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    with replace(mgmt, environment={**mgmt.environment, **words}).fork() as shell:
        output, errors = shell.communicate()
    assert errors == ""
    return [item.partition(",")[2] for item in output.splitlines() if item]


def test_archive_names_and_commands_are_completed(completed: Program) -> None:
    assert complete(completed, "mgmt download ho") == ["holiday", "homework"]
    assert complete(completed, "mgmt ls --members no") == ["notes"]
    assert complete(completed, "mgmt downl") == ["download"]


@pytest.mark.sqlite
def test_completion_without_a_catalog_offers_and_creates_nothing(mgmt: Program) -> None:
    assert complete(mgmt, "mgmt download ho") == []
    assert not os.path.exists(mgmt.catalog)


@pytest.mark.sqlite
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(mgmt: Program, shell: str) -> None:
    assert "_MGMT_COMPLETE" in mgmt.ok("completion", shell)


@pytest.mark.sqlite
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("name", ["hike;touch X", "hike $(touch X)", "hike's", "hike and more"])
def test_bash_inserts_a_name_as_one_word(mgmt: Program, name: str) -> None:
    (mgmt.work / name).write_text("x")
    mgmt.ok("upload", "--", name)
    (word,) = complete(mgmt, "mgmt download hi")
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s' {word}"], cwd=mgmt.work, capture_output=True, text=True, check=True
    )
    assert shown.stdout == name
    assert not (mgmt.work / "X").exists()
