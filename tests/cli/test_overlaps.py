"""mgmt never archives what it needs itself: such a target is refused, and `--all` leaves it out."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.program import Done, Program

pytestmark = pytest.mark.sqlite
CLONE_NEWNS = 0x00020000


@pytest.fixture
def place(mgmt: Program) -> Path:
    """A folder with an original in it. The test adds a store, a catalog or the like."""
    place = mgmt.work / "place"
    place.mkdir()
    (place / "original").write_text("original")
    return place


def seen(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(each), each.read_bytes()) for each in folder.rglob("*") if each.is_file())


def refused(mgmt: Program, *words: str | os.PathLike[str], says: str) -> None:
    """Exits with 2, also as a dry run; no file is moved, changed or created, and no upload is recorded as done."""
    before = seen(mgmt.work)
    for more in ([], ["-n"]):
        done = mgmt.run(*words, *more)
        assert done.returncode == 2, done.stdout + done.stderr
        assert says in done.stderr
        assert "try:" in done.stderr
    if not any(name.endswith((".db", "-wal", "-shm", ".lock")) for name, _ in before):
        assert seen(mgmt.work) == before
    last = mgmt.json("log", "--type", "upload", "--limit", "1")
    assert {each["status"] for each in last if each["target_name"] != "notes"} <= {"failed"}


@pytest.mark.parametrize(
    ("target", "exists"), [(".", True), ("place", True), ("place/store", True), (".", False), ("place", False)]
)
def test_a_target_that_contains_the_store_is_refused(mgmt: Program, place: Path, target: str, exists: bool) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    if exists:
        mgmt.ok("upload", "notes", "--keep")
    refused(mgmt, "upload", target, says="the store")


@pytest.mark.parametrize("words", [["upload", "place/store/notes.tar.gz"], ["upload", "place/store/sub"]])
def test_a_target_in_the_store_is_refused(mgmt: Program, place: Path, words: list[str]) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes", "--keep")
    (place / "store" / "sub").mkdir()
    (place / "store" / "sub" / "x").write_text("x")
    refused(mgmt, *words, says="in the store")


@pytest.mark.parametrize("folder", ["place/store", "place/store/sub", "alias", "alias/sub"])
def test_all_of_the_store_is_refused(mgmt: Program, place: Path, folder: str) -> None:
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


def test_all_leaves_out_the_files_of_the_catalog(mgmt: Program, place: Path) -> None:
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/own.db"}
    mgmt.ok("ls")
    (place / "own.db.old").write_text("a file like any other")
    mgmt.ok("upload", "--all", "place")
    assert sorted(os.listdir(place / "completed")) == ["original", "own.db.old"]
    assert "own.db" in os.listdir(place)


@pytest.mark.parametrize("target", ["place", ".", "place/own.db", "place/own.db.lock", "alias.db"])
def test_a_target_that_is_or_contains_the_catalog_is_refused(mgmt: Program, place: Path, target: str) -> None:
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/own.db"}
    mgmt.ok("ls")
    (mgmt.work / "alias.db").hardlink_to(place / "own.db")
    refused(mgmt, "upload", target, says="catalog")


def test_a_target_with_a_link_to_the_catalog_is_refused(mgmt: Program, place: Path) -> None:
    """The upload would move the link that leads to the catalog."""
    (mgmt.work / "elsewhere").mkdir()
    (place / "link").symlink_to("../elsewhere")
    mgmt.environment = {"MGMT_CATALOG": f"sqlite:///{place}/link/own.db"}
    mgmt.ok("ls")
    refused(mgmt, "upload", "place", says="catalog")
    refused(mgmt, "upload", "elsewhere", says="catalog")


def test_a_catalog_given_as_a_flag_is_protected_as_well(mgmt: Program, place: Path) -> None:
    done = mgmt.run("--catalog", "sqlite:///place/own.db", "upload", "place")
    assert done.returncode == 2
    assert "catalog" in done.stderr


@pytest.mark.parametrize("kept", ["place", "place/kept", "place/kept/deeper"])
def test_keep_archive_in_the_target_is_refused(mgmt: Program, place: Path, kept: str) -> None:
    refused(mgmt, "upload", "place", "--keep-archive", kept, says="--keep-archive")


def test_keep_archive_in_the_store_is_refused(mgmt: Program, place: Path) -> None:
    refused(mgmt, "upload", "place", "--keep-archive", f"{mgmt.home}/store/kept", says="in the store")


@pytest.mark.parametrize("folder", ["place", "place/tmp"])
def test_a_target_that_contains_the_temporary_files_is_refused(mgmt: Program, place: Path, folder: str) -> None:
    (place / "tmp").mkdir()
    done = mgmt.run_process("upload", "place", environment={"TMPDIR": str(mgmt.work / folder)})
    assert done.returncode == 2
    assert "temporary files" in done.stderr
    assert (place / "original").exists()


@pytest.mark.parametrize("setting", ["store", "store/done"])
def test_completed_dir_in_the_store_is_refused(mgmt: Program, place: Path, setting: str) -> None:
    mgmt.environment = {"MGMT_COMPLETED_DIR": f"{mgmt.home}/{setting}"}
    refused(mgmt, "upload", "place", says="the store")
    mgmt.ok("upload", "place", "--keep")


@pytest.mark.parametrize("to", ["store", "store/back", "alias"])
def test_a_download_into_the_store_is_refused(mgmt: Program, place: Path, to: str) -> None:
    (mgmt.home / "alias").symlink_to("store")
    mgmt.ok("upload", "place")
    before = seen(mgmt.home / "store")
    for more in ([], ["-n"], ["--archive"]):
        done = mgmt.run("download", "place", "--to", mgmt.home / to, *more)
        assert done.returncode == 2
        assert "the store" in done.stderr
    assert seen(mgmt.home / "store") == before


@pytest.fixture
def nas(mgmt: Program, place: Path) -> Path:
    """A directory store with an archive in this catalog, which is no longer the configured one."""
    mgmt.store, configured = f"file://{place}/nas", mgmt.store
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes", "--key", "sub/notes.tar.gz")
    mgmt.store = configured
    return place / "nas"


@pytest.fixture(params=["known", "unknown", "empty by now"])
def any_store(mgmt: Program, nas: Path, request: pytest.FixtureRequest) -> Path:
    """The same, which this catalog need not know."""
    if request.param == "unknown":
        mgmt.records.remove()
    elif request.param == "empty by now":
        mgmt.ok("delete", "notes", "--yes")
    return nas


@pytest.mark.parametrize(
    "words",
    [
        ["upload", "place/nas"],
        ["upload", "place"],
        ["upload", "--all", "place/nas"],
        ["upload", "place/original", "--keep-archive", "place/nas"],
    ],
)
def test_a_store_that_is_not_the_configured_one_is_protected(mgmt: Program, any_store: Path, words: list[str]) -> None:
    refused(mgmt, *words, says="store")
    assert (any_store / ".mgmt").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        ["upload", "place/nas/sub"],
        ["upload", "place/nas/sub/notes.tar.gz"],
        ["upload", "--all", "place/nas/sub"],
        ["upload", "place/original", "--keep-archive", "place/nas/kept"],
    ],
)
def test_what_is_in_a_known_store_is_protected(mgmt: Program, nas: Path, words: list[str]) -> None:
    refused(mgmt, *words, says="in the store")


def test_completed_dir_in_a_known_store_is_refused(mgmt: Program, nas: Path) -> None:
    mgmt.environment = {"MGMT_COMPLETED_DIR": f"{nas}/done"}
    refused(mgmt, "upload", "place/original", says="in the store")


def test_all_leaves_out_other_stores(mgmt: Program, any_store: Path) -> None:
    mgmt.ok("upload", "--all", "place")
    assert sorted(os.listdir(any_store.parent)) == ["completed", "nas"]
    assert os.listdir(any_store.parent / "completed") == ["original"]


@pytest.mark.parametrize("to", ["nas", "nas/back"])
def test_a_download_into_another_store_is_refused(mgmt: Program, place: Path, nas: Path, to: str) -> None:
    mgmt.ok("upload", "place/original")
    before = seen(nas)
    for more in ([], ["-n"], ["--archive"]):
        done = mgmt.run("download", "original", "--to", place / to, *more)
        assert (done.returncode, "the store" in done.stderr) == (2, True)
    assert seen(nas) == before


def test_a_folder_at_the_path_of_a_store_of_another_machine_is_archived(mgmt: Program, place: Path, nas: Path) -> None:
    shutil.rmtree(nas)
    nas.mkdir()
    (nas / "original").write_text("original")
    mgmt.ok("upload", "place/nas/original", "place")


def test_one_of_several_targets_does_not_stop_the_others(mgmt: Program, place: Path) -> None:
    mgmt.store = f"file://{place}/store"
    (mgmt.work / "notes").write_text("notes")
    assert mgmt.run("upload", "place", "notes").returncode == 3
    assert (place / "original").exists()
    assert not (mgmt.work / "notes").exists()


def test_neighbours_of_the_store_are_archived(mgmt: Program, place: Path) -> None:
    """A name that only begins like the store's, and a link to the store inside a folder, are ordinary targets."""
    mgmt.store = f"file://{place}/store"
    (place / "store").mkdir()
    (place / "store-2").mkdir()
    (place / "folder").mkdir()
    (place / "folder" / "to the store").symlink_to("../store")
    mgmt.ok("upload", "place/store-2", "place/original", "place/folder")
    assert sorted(os.listdir(place / "completed")) == ["folder", "original", "store-2"]


def mounted(mgmt: Program, mount: str, *words: str) -> Done:
    """Run the command in a mount namespace where `mount` ("FROM TO") is a bind mount."""

    def bind() -> None:
        assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", *mount.split()], check=True)

    with mgmt.fork(*words, arm=bind) as child:
        output = child.communicate()
    return Done(child.wait(), *output)


def may_mount() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(["unshare", "--mount", "true"]).returncode


@pytest.mark.skipif(not may_mount(), reason="needs root to mount: bind mounts were NOT tried")
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
def test_bind_mounts_do_not_hide_the_store(
    mgmt: Program, place: Path, store: str, mount: str, words: list[str], says: str
) -> None:
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


@pytest.mark.skipif(not may_mount(), reason="needs root to mount: bind mounts were NOT tried")
def test_all_leaves_out_a_bind_mount_of_the_store(mgmt: Program, place: Path) -> None:
    (place / "store").mkdir()
    (mgmt.work / "other").mkdir()
    mgmt.store = f"file://{mgmt.work}/other"
    done = mounted(mgmt, "place/store other", "upload", "--all", "place")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(place)) == ["completed", "store"]
    assert os.listdir(place / "completed") == ["original"]
