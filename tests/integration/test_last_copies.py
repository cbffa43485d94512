"""What counts as another copy of an archive that is to be removed, and what is removed with it."""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus, Interrupted
from tests.moments import killed, meanwhile
from tests.program import Program


@pytest.fixture
def store(on_directory: Program) -> Path:
    (on_directory.work / "f").write_text("precious")
    return Path(on_directory.store.removeprefix("file://"))


@pytest.mark.parametrize("how", ["keep", "download"])
def test_the_object_of_an_archive_is_no_other_copy_of_it(on_directory: Program, store: Path, how: str) -> None:
    """A tar.gz was kept in a folder that is, or becomes, a store."""
    mgmt, second = on_directory, on_directory.home / "second"
    second.mkdir()
    mgmt.ok("upload", "f", *(["--keep-archive", str(second)] if how == "keep" else []))
    if how == "download":
        mgmt.ok("download", "f", "--archive", "--to", str(second))
    mgmt.ok("--store", f"file://{second}", "upload", "completed/f", "--keep")
    mgmt.ok("free", "completed/f", "--yes")
    mgmt.ok("delete", f"{mgmt.store}/f.tar.gz", "--yes")
    assert mgmt.run("delete", f"file://{second}/f.tar.gz", "--yes").returncode == ExitStatus.REFUSED
    assert (second / "f.tar.gz").exists()


def test_a_link_to_the_store_is_no_other_copy(on_directory: Program, store: Path) -> None:
    kept = on_directory.home / "kept"
    kept.mkdir()
    on_directory.ok("upload", "f", "--keep-archive", str(kept))
    on_directory.ok("free", "completed/f", "--yes")
    (kept / "f.tar.gz").unlink()
    kept.rmdir()
    kept.symlink_to(store)
    assert on_directory.run("delete", "f", "--yes").returncode == ExitStatus.REFUSED


def test_the_id_of_an_archive_is_never_used_again(on_directory: Program, store: Path) -> None:
    """Its upload was interrupted after storing it; it was recovered, and deleted."""
    mgmt = on_directory

    def interrupt() -> None:
        raise Interrupted(signal.SIGINT)

    with meanwhile("mgmt.services.upload.prove", interrupt) as interrupted:
        mgmt.run("upload", "f")
    assert interrupted.happened
    assert "its archive is complete" in mgmt.json("recover")[0]["action"]
    first = mgmt.json("status", "f.tar.gz")["file"]["archive_id"]
    mgmt.ok("download", "f", "--to", "out")
    mgmt.ok("delete", "f.tar.gz", "--yes")
    (mgmt.work / "f").write_text("other")
    mgmt.ok("upload", "f")
    assert mgmt.json("status", "f.tar.gz")["file"]["archive_id"] != first


def test_an_older_catalog_does_not_delete_contents_that_it_does_not_know(on_directory: Program, store: Path) -> None:
    """The object of that key and id was replaced by somebody else."""
    mgmt = on_directory
    mgmt.ok("upload", "f")
    (mgmt.work / "g").write_text("unique")
    mgmt.ok("upload", "g")
    mgmt.ok("free", "completed/g", "--yes")
    (store / "f.tar.gz").unlink()
    os.rename(store / "g.tar.gz", store / "f.tar.gz")
    refused = mgmt.run("delete", "f.tar.gz", "--yes")
    assert refused.returncode == ExitStatus.REFUSED
    assert "other contents" in refused.stderr
    assert (store / "f.tar.gz").exists()


def test_a_hint_names_only_the_archive_that_was_refused(on_directory: Program) -> None:
    for name in ("a", "b", "a b"):
        (on_directory.work / name).write_text(name)
        on_directory.ok("upload", name)
        on_directory.ok("free", f"completed/{name}", "--yes")
    done = on_directory.run("-o", "json", "delete", "a b", "--yes")
    hint = json.loads(done.stderr)["error"]["next"].partition("# or: ")[2]
    assert shlex.split(hint) == ["mgmt", "delete", "--last-copy", f"{on_directory.store}/a b.tar.gz"]


@pytest.mark.parametrize("options", [("--tag", "a=b"), ("--exclude", "*.tmp"), ("--keep-archive", "kept")])
def test_a_killed_upload_is_not_finished_if_something_else_is_asked_for_now(
    on_directory: Program, options: tuple[str, str]
) -> None:
    mgmt, folder = on_directory, on_directory.work / "d"
    folder.mkdir()
    (folder / "x.tmp").write_text("x")
    (folder / "y").write_text("y")
    (mgmt.work / "kept").mkdir()
    mgmt.ok("ls")
    killed(mgmt, "upload", "d", at="mgmt.services.upload.finish_upload")
    done = mgmt.run("upload", "d", *options)
    match options[0]:
        case "--exclude":
            assert done.returncode == ExitStatus.CONFLICT
            assert folder.exists()
        case "--tag":
            assert done.returncode == 0
            assert mgmt.json("status", "d.tar.gz")["file"]["tags"] == {"a": "b"}
        case _:
            assert done.returncode == 0
            assert (mgmt.work / "kept" / "d.tar.gz").exists()


@pytest.mark.parametrize("other", ["kept", "edited"])
def test_a_lost_archive_is_replaced_from_a_copy_that_was_compared(
    on_directory: Program, store: Path, other: str
) -> None:
    mgmt = on_directory
    (mgmt.home / "kept").mkdir()
    mgmt.ok("upload", "f", *(["--keep-archive", str(mgmt.home / "kept")] if other == "kept" else []))
    if other == "edited":
        mgmt.ok("download", "f", "--to", "out")
        (mgmt.work / "out" / "f").write_text("edited")
    (store / "f.tar.gz").unlink()
    done = mgmt.run("-o", "json", "verify", "f")
    assert json.loads(done.stderr)["error"]["next"].endswith(f"{mgmt.work}/completed/f")


@pytest.mark.parametrize("options", [("--tag", "a=b"), ("--xattrs",), ("--keep-archive", "kept")])
def test_a_finished_target_is_not_done_if_something_else_is_asked_for(
    on_directory: Program, store: Path, options: tuple[str, ...]
) -> None:
    (on_directory.work / "kept").mkdir()
    on_directory.ok("upload", "f")
    assert on_directory.run("upload", "f", *options).returncode == ExitStatus.NOT_FOUND
    on_directory.ok("upload", "f")


def test_a_target_is_not_done_if_its_archive_has_another_size(on_directory: Program, store: Path) -> None:
    on_directory.ok("upload", "f")
    (store / "f.tar.gz").chmod(0o600)
    (store / "f.tar.gz").write_bytes(b"")
    assert on_directory.run("upload", "f").returncode == ExitStatus.NOT_FOUND
