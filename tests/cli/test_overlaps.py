"""What mgmt itself works with is not archived: refused at once, left out of --all, and nothing is moved."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.program import Done, Program

pytestmark = pytest.mark.sqlite


@pytest.fixture
def place(mgmt: Program) -> Path:
    """A folder `place` with an original in it, where the test puts what mgmt needs."""
    place = mgmt.work / "place"
    place.mkdir()
    (place / "original").write_text("original")
    return place


def seen(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(each), each.read_bytes()) for each in folder.rglob("*") if each.is_file())


def refused(mgmt: Program, *words: str | os.PathLike[str], says: str) -> None:
    """Exit status 2, also as a dry run; no file is moved, changed or made, and nothing is recorded as done."""
    before = seen(mgmt.work)
    for more in ([], ["-n"]):
        done = mgmt.run(*words, *more)
        assert done.returncode == 2, done.stdout + done.stderr
        assert says in done.stderr
        assert "try:" in done.stderr
    if not any(name.endswith((".db", "-wal", "-shm", ".lock")) for name, _ in before):
        assert seen(mgmt.work) == before
    assert {each["status"] for each in mgmt.json("log", "--type", "upload", "--limit", "1")} <= {"failed"}


@pytest.mark.parametrize(
    ("target", "exists"), [(".", True), ("place", True), ("place/store", True), (".", False), ("place", False)]
)
def test_the_store_in_the_target(mgmt: Program, place: Path, target: str, exists: bool) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes", "--keep")
    if not exists:
        shutil.rmtree(place / "store")
    refused(mgmt, "upload", target, says="the store")


@pytest.mark.parametrize("words", [["upload", "place/store/notes.tar.gz"], ["upload", "place/store/sub"]])
def test_the_target_in_the_store(mgmt: Program, place: Path, words: list[str]) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes", "--keep")
    (place / "store" / "sub").mkdir()
    (place / "store" / "sub" / "x").write_text("x")
    refused(mgmt, *words, says="in the store")


@pytest.mark.parametrize("folder", ["place/store", "place/store/sub", "alias", "alias/sub"])
def test_all_of_the_store(mgmt: Program, place: Path, folder: str) -> None:
    mgmt.store = f"file://{place}/store"
    (place / "store" / "sub").mkdir(parents=True)
    (place / "store" / "sub" / "x").write_text("x")
    (mgmt.work / "alias").symlink_to("place/store")
    refused(mgmt, "upload", "--all", folder, says="the store")


def test_all_leaves_out_what_mgmt_needs(mgmt: Program, place: Path) -> None:
    for name in ("a", "z"):
        (place / name).mkdir()
        (place / name / "x").write_text(name)
    (place / "deep" / "er").mkdir(parents=True)
    (place / "tmp" / "inner").mkdir(parents=True)
    (place / "kept").mkdir()
    (place / "db").mkdir()
    mgmt.store = f"file://{place}/deep/er/store"
    (place / "deep" / "er" / "store").mkdir()
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/db/own.db"}
    environment = {"TMPDIR": str(place / "tmp" / "inner")}
    done = mgmt.run_process("upload", "--all", "place", "--keep-archive", "place/kept", environment=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(place)) == ["completed", "db", "deep", "kept", "tmp"]
    assert sorted(os.listdir(place / "completed")) == ["a", "original", "z"]
    assert sorted(os.listdir(place / "kept")) == ["a.tar.gz", "original.tar.gz", "z.tar.gz"]


def test_all_of_the_folder_of_the_catalog(mgmt: Program, place: Path) -> None:
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/own.db"}
    mgmt.ok("ls")
    (place / "own.db.old").write_text("a file like any other")
    mgmt.ok("upload", "--all", "place")
    assert sorted(os.listdir(place / "completed")) == ["original", "own.db.old"]
    assert "own.db" in os.listdir(place)


@pytest.mark.parametrize("target", ["place", ".", "place/own.db", "place/own.db.lock", "alias.db"])
def test_the_catalog_in_the_target(mgmt: Program, place: Path, target: str) -> None:
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/own.db"}
    mgmt.ok("ls")
    (mgmt.work / "alias.db").hardlink_to(place / "own.db")
    refused(mgmt, "upload", target, says="catalog")


def test_the_catalog_behind_a_link_in_the_target(mgmt: Program, place: Path) -> None:
    """What would be moved is the link by which it is found."""
    (mgmt.work / "elsewhere").mkdir()
    (place / "link").symlink_to("../elsewhere")
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/link/own.db"}
    mgmt.ok("ls")
    refused(mgmt, "upload", "place", says="catalog")
    refused(mgmt, "upload", "elsewhere", says="catalog")


def test_the_catalog_of_a_flag(mgmt: Program, place: Path) -> None:
    done = mgmt.run("--catalog", "sqlite:///place/own.db", "upload", "place")
    assert done.returncode == 2
    assert "catalog" in done.stderr


@pytest.mark.parametrize("kept", ["place", "place/kept", "place/kept/deeper"])
def test_kept_archives_in_the_target(mgmt: Program, place: Path, kept: str) -> None:
    refused(mgmt, "upload", "place", "--keep-archive", kept, says="--keep-archive")


def test_kept_archives_in_the_store(mgmt: Program, place: Path) -> None:
    refused(mgmt, "upload", "place", "--keep-archive", f"{mgmt.home}/store/kept", says="in the store")


@pytest.mark.parametrize("folder", ["place", "place/tmp"])
def test_temporary_files_in_the_target(mgmt: Program, place: Path, folder: str) -> None:
    (place / "tmp").mkdir()
    done = mgmt.run_process("upload", "place", environment={"TMPDIR": str(mgmt.work / folder)})
    assert done.returncode == 2
    assert "temporary files" in done.stderr
    assert (place / "original").exists()


@pytest.mark.parametrize("setting", ["store", "store/done"])
def test_completed_dir_in_the_store(mgmt: Program, place: Path, setting: str) -> None:
    mgmt.environment = {"MGMT_COMPLETED_DIR": f"{mgmt.home}/{setting}"}
    refused(mgmt, "upload", "place", says="the store")
    mgmt.ok("upload", "place", "--keep")


@pytest.mark.parametrize("to", ["store", "store/back", "alias"])
def test_a_download_into_the_store(mgmt: Program, place: Path, to: str) -> None:
    (mgmt.home / "alias").symlink_to("store")
    mgmt.ok("upload", "place")
    before = seen(mgmt.home / "store")
    for more in ([], ["-n"], ["--archive"]):
        done = mgmt.run("download", "place", "--to", mgmt.home / to, *more)
        assert done.returncode == 2
        assert "the store" in done.stderr
    assert seen(mgmt.home / "store") == before


def test_one_of_several_targets_does_not_stop_the_others(mgmt: Program, place: Path) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    assert mgmt.run("upload", "place", "notes").returncode == 3
    assert (place / "original").exists()
    assert not (mgmt.work / "notes").exists()


def test_what_is_beside_may_go(mgmt: Program, place: Path) -> None:
    """A name that only begins like the store's is another one, and so is a link to the store, which is a mere link."""
    mgmt.store = f"file://{place}/store"
    (place / "store").mkdir()
    (place / "store-2").mkdir()
    (place / "folder").mkdir()
    (place / "folder" / "to the store").symlink_to("../store")
    mgmt.ok("upload", "place/store-2", "place/original", "place/folder")
    assert sorted(os.listdir(place / "completed")) == ["folder", "original", "store-2"]


def mounted(mgmt: Program, mount: str, *words: str) -> Done:
    """The command where `mount FROM TO` binds one folder to another, for it alone."""
    script = f'mount --bind {mount} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *mgmt.command(*words)],
        cwd=mgmt.work,
        env=mgmt.env(),
        capture_output=True,
        text=True,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def may_mount() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(["unshare", "--mount", "true"]).returncode


@pytest.mark.skipif(not may_mount(), reason="needs root, to mount: what is mounted twice was NOT tried")
@pytest.mark.parametrize(
    ("store", "mount", "words", "says"),
    [
        ("place/store", "place other", ["other"], "the store"),
        ("other/store", "place other", ["place"], "the store"),
        ("other", "place/store other", ["place"], "the store"),
        ("other/not there yet", "place/store other", ["place"], "the store"),
        ("place", "place/store other", ["--all", "place/store"], "the store"),
        ("place", "place other", ["other/store"], "in the store"),
        ("place", "place other", ["--all", "other/store"], "the store"),
        ("other", "place/store other", ["--all", "place/store"], "the store"),
    ],
)
def test_what_is_mounted_twice(mgmt: Program, place: Path, store: str, mount: str, words: list[str], says: str) -> None:
    (place / "store" / "inner").mkdir(parents=True)
    (place / "store" / "inner" / "x").write_text("x")
    (mgmt.work / "other").mkdir()
    mgmt.store = f"file://{mgmt.work}/{store}"
    before = seen(place)
    for more in ([], ["-n"]):
        done = mounted(mgmt, mount, "upload", *words, *more)
        assert done.returncode == 2, done.stdout + done.stderr
        assert says in done.stderr
    assert seen(place) == before


@pytest.mark.skipif(not may_mount(), reason="needs root, to mount: what is mounted twice was NOT tried")
def test_all_leaves_out_the_store_that_is_mounted_twice(mgmt: Program, place: Path) -> None:
    (place / "store").mkdir()
    (mgmt.work / "other").mkdir()
    mgmt.store = f"file://{mgmt.work}/other"
    done = mounted(mgmt, "place/store other", "upload", "--all", "place")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(place)) == ["completed", "store"]
    assert os.listdir(place / "completed") == ["original"]
