"""A hint (`try:`) can be pasted into bash, whatever the names are: it means those names and nothing else."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from tests.program import Done, Program

pytestmark = pytest.mark.sqlite

EVIL = ("a b", "caf\udce9", "x\ny", "-dash f", "it's $HOME")
FAKE = "mgmt() { printf '%s\\0' \"$@\"; printf '\\0'; }; "


def commands(done: Done) -> list[list[str]]:
    """The words of each command of mgmt that is hinted, as bash takes them; those in a remark included."""
    pasted, remarks = [], []
    for line in (line for line in done.stderr.splitlines() if line.startswith(("  try: ", " " * 7))):
        pasted.append(line[7:])
        if line[7:].startswith("# "):
            remarks += re.findall("mgmt .*", line)
    assert said(pasted) == said([line for line in pasted if not line.startswith("# ")]), "a remark is no command"
    return said(pasted + remarks)


def said(lines: list[str]) -> list[list[str]]:
    """The words of each command of mgmt that bash would run."""
    ran = subprocess.run(["bash", "-c", FAKE + "\n".join(lines)], capture_output=True, check=True)
    assert ran.stderr == b""
    return [os.fsdecode(each).split("\0") for each in ran.stdout.split(b"\0\0")[:-1]]


def refused(program: Program, *arguments: str, status: int) -> list[list[str]]:
    done = program.run(*arguments)
    assert done.returncode == status, done.stderr
    return commands(done)


@pytest.fixture(params=EVIL, ids=ascii)
def name(request: pytest.FixtureRequest, on_directory: Program) -> str:
    """The name of an archived file."""
    evil: str = request.param
    archive(on_directory, evil)
    return evil


def archive(program: Program, name: str) -> None:
    (program.work / name).write_text(f"precious {name!a}")
    program.ok("upload", "--", name)


def copy_of(program: Program, name: str) -> Path:
    return program.work / "completed" / name


def archive_of(program: Program) -> tuple[str, Path]:
    """The URL and the file of the only archive."""
    (key,) = [each["path"] for each in program.json("ls", "--location", "s3")]
    return f"{program.store}/{key}", Path(program.store.removeprefix("file://")) / key


def test_the_archives_that_have_the_words_of_a_name_are_not_meant(on_directory: Program) -> None:
    for each in ("a", "b", "a b"):
        archive(on_directory, each)
    shutil.rmtree(on_directory.work / "completed")
    _, delete = refused(on_directory, "delete", "--yes", "a b", status=ExitStatus.REFUSED)
    on_directory.ok(*delete, "--yes")
    assert on_directory.run("verify", "a b").returncode == ExitStatus.NOT_FOUND
    on_directory.ok("verify", "a")
    on_directory.ok("verify", "b")


def test_the_last_copy_can_be_fetched_or_deleted(on_directory: Program, name: str) -> None:
    url, file = archive_of(on_directory)
    copy_of(on_directory, name).unlink()
    fetch, delete = refused(on_directory, "delete", "--yes", url, status=ExitStatus.REFUSED)
    assert (fetch, delete) == (["download", url], ["delete", "--last-copy", url])
    on_directory.ok(*fetch)
    assert (on_directory.work / name).read_text() == f"precious {name!a}"
    (on_directory.work / name).unlink()
    on_directory.ok(*delete, "--yes")
    assert not file.exists()


def test_a_lost_archive_is_replaced_from_the_copy_or_the_archive_that_is_left(on_directory: Program, name: str) -> None:
    url, file = archive_of(on_directory)
    file.unlink()
    delete, upload = refused(on_directory, "verify", url, status=ExitStatus.INTEGRITY)
    on_directory.ok(*delete, "--yes")
    on_directory.ok(*upload)
    assert file.exists()
    (other := file.parent / "other").mkdir()
    on_directory.ok("--store", f"file://{other}", "upload", "--keep", upload[-1])
    file.unlink()
    shutil.rmtree(on_directory.work / "completed")
    fetch, verify = refused(on_directory, "verify", url, status=ExitStatus.INTEGRITY)
    assert verify == ["verify", url]
    on_directory.ok(*fetch)
    assert (on_directory.work / name).read_text() == f"precious {name!a}"


def test_what_a_refusal_tells_to_type_runs(on_directory: Program, name: str) -> None:
    def mend(*arguments: str, status: int) -> None:
        for words in refused(on_directory, *arguments, status=status):
            on_directory.ok(*words)

    copy, (url, file) = copy_of(on_directory, name), archive_of(on_directory)
    (on_directory.work / "link").symlink_to(copy)
    assert refused(on_directory, "upload", "link", status=ExitStatus.USAGE) == [["upload", str(copy)]]
    mend("download", "--member", "nothing", url, status=ExitStatus.NOT_FOUND)
    mend("verify", "--", f"{name} of nothing", status=ExitStatus.NOT_FOUND)
    mend("ignore", url, status=ExitStatus.REFUSED)
    copy.write_text("changed")
    mend("free", "--yes", str(copy), status=ExitStatus.REFUSED)
    on_directory.ok("delete", "--yes", "--last-copy", url)
    mend("delete", "--yes", url, status=ExitStatus.NOT_FOUND)
    file.write_text("foreign")
    assert refused(on_directory, "verify", "--all", status=ExitStatus.INTEGRITY)[-1] == ["ignore", url]
