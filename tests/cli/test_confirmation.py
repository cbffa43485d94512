"""Questions are asked about what exists."""

import pytest

from tests.program import Program


@pytest.mark.sqlite
@pytest.mark.parametrize("command", ["delete", "free"])
def test_nothing_is_asked_about_what_does_not_exist(mgmt: Program, command: str) -> None:
    assert mgmt.run(command, "missing").returncode == 4
    assert mgmt.run(command, "missing", "gone").returncode == 4


@pytest.mark.sqlite
@pytest.mark.parametrize("command", ["delete", "free"])
def test_the_question_names_what_would_be_removed(mgmt: Program, command: str) -> None:
    (mgmt.work / "notes").write_text("x")
    mgmt.ok("upload", "notes")
    done = mgmt.run(command, "notes", "missing")
    assert done.returncode == 7
    what = f"Delete {mgmt.store}/notes.tar.gz?" if command == "delete" else f"Remove {mgmt.work}/completed/notes?"
    assert what in done.stderr
    done = mgmt.run(command, "notes", "missing", "--yes", "-n")
    assert done.returncode == 3
    assert "notes" in done.stdout
    assert "missing" in done.stderr


@pytest.mark.sqlite
def test_a_dry_run_of_a_download_says_what_would_happen_to_each(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("x")
    mgmt.ok("upload", "notes", "--keep")
    assert mgmt.run("download", "notes", "missing", "-n", "--to", "new").returncode == 3
    assert mgmt.run("download", "notes", "-n").returncode == 10
    (plan,) = mgmt.json("download", "notes", "-n", "--on-conflict", "skip")
    assert plan["status"] == "cancelled"
    (plan,) = mgmt.json("download", "notes", "-n", "--on-conflict", "rename", "--archive", "--to", str(mgmt.home))
    assert plan["status"] == "success"


@pytest.mark.sqlite
def test_a_number_goes_before_both_suffixes_of_a_tar(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("x")
    mgmt.ok("upload", "notes")
    for _ in range(3):
        mgmt.ok("download", "notes", "--archive", "--on-conflict", "rename")
    names = {path.name for path in mgmt.work.iterdir()}
    assert names == {"completed", "notes.tar.gz", "notes-2.tar.gz", "notes-3.tar.gz"}
