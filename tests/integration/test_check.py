"""`mgmt check`, `mgmt diff` and `mgmt cat` on real archives, stores and disks."""

import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgmt.archive import Index, Member
from tests.glacier import Glacier
from tests.program import Program
from tests.quirks import BUCKET, quirky
from tests.trees import make_tree

NOT_UTF8 = os.fsdecode(b"\xff.bin")


@pytest.fixture
def card(anywhere: Program) -> Path:
    """A card that is archived as A001; its copy is called B002."""
    folder = anywhere.work / "A001"
    (folder / "CLIPS").mkdir(parents=True)
    (folder / "CLIPS" / "x.mov").write_bytes(os.urandom(2_500_000))
    (folder / "a.txt").write_text("first")
    (folder / "b.txt").hardlink_to(folder / "a.txt")
    (folder / "link").symlink_to("a.txt")
    (folder / NOT_UTF8).write_text("bytes")
    copied = anywhere.home / "mnt" / "B002"
    copied.parent.mkdir()
    subprocess.run(["cp", "-a", folder, copied], check=True)
    anywhere.ok("upload", "A001")
    return copied


def states(mgmt: Program, folder: Path, *options: str) -> tuple[int, dict[str, str]]:
    """The exit status, and the state of each file by its path in `folder`."""
    done = mgmt.run("-o", "jsonl", "check", *options, folder)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {os.path.relpath(each["path"], folder): each["state"] for each in found}


@pytest.mark.parametrize("options", [[], ["--read"]])
def test_a_copy_of_an_archived_card_is_archived(anywhere: Program, card: Path, options: list[str]) -> None:
    names = {"CLIPS/x.mov", "a.txt", "b.txt", "link", NOT_UTF8}
    for folder in (card, card.parent):
        status, found = states(anywhere, folder, *options)
        assert (status, {os.path.relpath(folder / path, card) for path in found}) == (0, names)
        assert set(found.values()) == {"archived"}
    assert states(anywhere, card / "CLIPS", *options) == (0, {"x.mov": "archived"})


def test_states_and_exit_statuses(anywhere: Program, card: Path) -> None:
    times = os.stat(card / "a.txt")
    (card / "a.txt").write_text("other")  # b.txt is the same file
    (card / "new").write_text("new")
    (card / "CLIPS" / "x.mov").rename(card / "y.mov")
    expected = {"a.txt": "differs", "b.txt": "differs", "link": "archived", NOT_UTF8: "archived", "new": "missing"}
    assert states(anywhere, card) == (3, {**expected, "y.mov": "missing"})
    assert states(anywhere, card, "--read") == (3, {**expected, "y.mov": "archived"})
    os.utime(card / "a.txt", ns=(times.st_atime_ns, times.st_mtime_ns))  # only reading detects it
    assert states(anywhere, card)[1]["a.txt"] == "archived"
    assert states(anywhere, card, "--read")[1]["a.txt"] == "differs"
    shutil.rmtree(card)
    card.mkdir()
    assert states(anywhere, card) == (4, {})
    (card / "new").write_text("new")
    assert states(anywhere, card) == (4, {"new": "missing"})


def test_people_get_a_summary_and_the_first_files(anywhere: Program, card: Path) -> None:
    for number in range(30):
        (card / f"new-{number:02}").write_text("new")
    done = anywhere.run("check", card)
    assert done.returncode == 3
    assert done.stdout.startswith("5 of 35 files (2.4 MiB) are archived, compared by name, size and time\n")
    assert "not archived, the first 20 of 30; -l lists all:\n" in done.stdout
    assert done.stdout.count("missing   /") == 20
    assert "30 of 35 files" in done.stderr
    listed = anywhere.run("check", "--read", "-l", card).stdout
    assert "compared by sha256" in listed
    assert listed.count("missing   /") == 30
    assert listed.count("(1 copy: ") == 5


def test_only_proven_stored_archives_count(anywhere: Program, card: Path) -> None:
    assert states(anywhere, card)[0] == 0
    anywhere.records.change("UPDATE files SET proof = NULL WHERE store IS NOT NULL")
    assert states(anywhere, card)[0] == 4
    anywhere.ok("verify", "A001", "--read-back")
    assert states(anywhere, card)[0] == 0
    anywhere.ok("delete", "A001", "--last-copy", "--yes")
    status, found = states(anywhere, card, "--read")
    assert (status, set(found.values())) == (4, {"missing"})


def test_an_archive_that_was_found_missing_does_not_count(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes")
    completed = on_directory.work / "completed"
    archive = on_directory.home / "store" / "notes.tar.gz"
    archive.rename(on_directory.home / "away")
    assert states(on_directory, completed) == (0, {"notes": "archived"})  # nobody has looked
    assert on_directory.run("verify", "notes").returncode == 8
    assert states(on_directory, completed)[0] == 4
    (on_directory.home / "away").rename(archive)
    on_directory.ok("verify", "notes")
    assert states(on_directory, completed) == (0, {"notes": "archived"})


def test_copies_are_objects(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "--keep", "notes")
    on_directory.ok("upload", "--keep", "--key", "again.tar.gz", "notes")
    [found] = json.loads(on_directory.run("-o", "json", "check", "notes").stdout)
    assert (found["copies"], len(found["archives"])) == (2, 2)
    assert found["archives"][0].endswith("again.tar.gz")


@pytest.mark.sqlite
def test_what_cannot_be_archived_is_not(on_directory: Program) -> None:
    folder = on_directory.work / "folder"
    folder.mkdir()
    (folder / "notes").write_text("precious")
    on_directory.ok("upload", "--keep", "folder")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)
        server.bind("socket")
        os.chdir(here)
        for options in ([], ["--read"]):
            assert states(on_directory, folder, *options) == (3, {"notes": "archived", "socket": "skipped"})
        [found] = json.loads(on_directory.run("-o", "json", "diff", "folder").stdout)[1:]
        assert (found["kind"], found["reason"]) == ("skipped", "a socket")


def test_check_and_diff_of_a_tree_of_every_kind(on_directory: Program) -> None:
    source = make_tree(on_directory.work / "tree", files=60)
    on_directory.ok("upload", "--keep", source)
    for options in ([], ["--read"]):
        assert states(on_directory, source, *options)[0] == 0
        assert on_directory.ok("diff", *options, "tree") == ""


def differences(mgmt: Program, *arguments: str | Path) -> dict[str, tuple[str, list[str]]]:
    done = mgmt.run("-o", "json", "diff", *arguments)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == (3 if found else 0)
    return {each["path"]: (each["kind"], each["fields"]) for each in found}


def test_diff(anywhere: Program, card: Path) -> None:
    assert differences(anywhere, "A001") == {}  # the completed copy
    assert differences(anywhere, "A001", card) == {}
    (card / "a.txt").write_text("other")
    (card / "CLIPS" / "x.mov").chmod(0o600)
    (card / "link").unlink()
    (card / "link").symlink_to("nowhere")
    (card / NOT_UTF8).unlink()
    (card / NOT_UTF8).mkdir()
    (card / "new").write_text("new")
    (card / "b.txt").unlink()
    found = differences(anywhere, "A001", card)
    assert found.pop("A001")[0] == "metadata"
    assert found == {
        "A001/CLIPS/x.mov": ("metadata", ["mode"]),
        "A001/a.txt": ("changed", ["mtime"]),
        "A001/b.txt": ("removed", []),
        "A001/link": ("metadata", ["mtime", "link"]),
        "A001/new": ("added", []),
        f"A001/{NOT_UTF8}": ("changed", ["type"]),
    }
    read = differences(anywhere, "--read", "A001", card)
    assert read["A001/a.txt"] == ("changed", ["content", "mtime"])
    (card / "a.txt").write_text("first")
    assert differences(anywhere, "--read", "A001", card)["A001/a.txt"] == ("metadata", ["mtime"])


def test_diff_prefers_the_place_of_the_original(on_directory: Program) -> None:
    notes = on_directory.work / "notes"
    notes.write_text("precious")
    on_directory.ok("upload", "notes")
    assert differences(on_directory, "notes") == {}
    notes.write_text("something else")
    assert list(differences(on_directory, "notes")) == ["notes"]
    notes.unlink()
    on_directory.ok("free", "notes", "--yes")
    done = on_directory.run("diff", "notes")
    assert done.returncode == 4
    assert "mgmt diff" in done.stderr


def test_diff_without_members_in_the_catalog_reads_the_index(on_directory: Program) -> None:
    folder = on_directory.work / "folder"
    folder.mkdir()
    (folder / "notes").write_text("precious")
    on_directory.ok("upload", "--keep", "folder")
    for table in ("members", "member_ranges", "directory_archives"):
        on_directory.records.change(f"DELETE FROM {table}")
    assert differences(on_directory, "folder") == {}
    (folder / "notes").unlink()
    assert differences(on_directory, "folder")["folder/notes"] == ("removed", [])


def printed(mgmt: Program, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        mgmt.command("cat", *arguments), env=mgmt.env(), cwd=mgmt.work, capture_output=True, check=False
    )


def test_cat(anywhere: Program, card: Path) -> None:
    whole = (card / "CLIPS" / "x.mov").read_bytes()
    before = anywhere.json("log")
    for member in ("CLIPS/x.mov", "A001/CLIPS/x.mov"):
        assert printed(anywhere, "A001", member).stdout == whole
    assert anywhere.ok("cat", "A001", "b.txt") == "first"
    assert anywhere.ok("cat", "A001", NOT_UTF8) == "bytes"
    for member, status in (("CLIPS", 2), ("link", 2), ("A001", 2), ("nothing", 4)):
        done = anywhere.run("cat", "A001", member)
        assert (done.returncode, done.stdout) == (status, "")
    assert anywhere.json("log") == before


@pytest.mark.sqlite
def test_cat_ends_quietly_when_its_reader_has_gone(on_directory: Program) -> None:
    (on_directory.work / "large").write_bytes(os.urandom(5 << 20))
    on_directory.ok("upload", "large")
    with on_directory.start("cat", "large", "large") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_cat_completes_nothing_that_is_not_proven(on_directory: Program, size: int) -> None:
    """A small file is not printed at all, a large one not to its end."""
    data = os.urandom(size)
    (on_directory.work / "file").write_bytes(data)
    on_directory.ok("upload", "file")
    archive = on_directory.home / "store" / "file.tar.gz"
    stored = bytearray(archive.read_bytes())
    stored[len(stored) - 700 if size > 1000 else len(stored) // 2] ^= 1
    archive.write_bytes(stored)
    done = printed(on_directory, "file", "file")
    assert done.returncode == 8
    assert b"corrupt" in done.stderr
    assert len(done.stdout) < size
    assert data.startswith(done.stdout)
    assert size > 1000 or done.stdout == b""


@pytest.mark.sqlite
def test_cat_completes_nothing_whose_sha256_is_another(on_directory: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are sound, and hold another file."""
    (on_directory.work / "file").write_text("small")
    on_directory.ok("upload", "file")
    find = Index.members

    def other(index: Index) -> Iterator[Member]:
        yield from (each.with_sha256(b"another") for each in find(index))

    monkeypatch.setattr(Index, "members", other)
    done = on_directory.run("cat", "file", "file")
    assert (done.returncode, done.stdout) == (8, "")
    assert "sha256 mismatch" in done.stderr


@pytest.mark.sqlite
def test_cat_of_a_frozen_archive_asks_the_store_for_nothing(tmp_path: Path) -> None:
    with quirky(Glacier) as glacier:
        cold = Program(tmp_path, f"s3://{BUCKET}/archive", glacier.environment)
        (cold.work / "notes").write_text("precious")
        cold.ok("upload", "notes", "--storage-class", "DEEP_ARCHIVE")
        done = cold.run("cat", "notes", "notes")
        assert (done.returncode, done.stdout) == (6, "")
        assert "try: mgmt restore" in done.stderr
        assert glacier.count("^POST .*restore") == 0
        assert differences(cold, "notes") == {}
        assert states(cold, cold.work / "completed") == (0, {"notes": "archived"})


@pytest.mark.sqlite
def test_archives_of_other_programs(on_directory: Program) -> None:
    """They have neither blocks nor a place in the catalog, and their members are in any order."""
    folder = on_directory.work / "trip"
    folder.mkdir()
    for name in ("b", "a"):
        (folder / name).write_text(f"the content of {name}")
    with tarfile.open(on_directory.home / "store" / "trip.tar.gz", "w:gz") as archive:
        for path in (folder, folder / "b", folder / "a"):
            archive.add(path, path.relative_to(on_directory.work), recursive=False)
    assert on_directory.ok("cat", "trip", "a") == "the content of a"
    assert on_directory.ok("cat", "trip", "trip/b") == "the content of b"
    assert on_directory.run("cat", "trip", "c").returncode == 4
    assert differences(on_directory, "--read", "trip", folder).keys() <= {"trip", "trip/a", "trip/b"}  # times
    (folder / "a").write_text("other")
    assert differences(on_directory, "--read", "trip", folder)["trip/a"][0] == "changed"
    assert states(on_directory, folder)[0] == 4  # the catalog does not know it


@pytest.mark.sqlite
def test_a_read_only_catalog_is_enough(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "--keep", "notes")
    on_directory.catalog.chmod(0o400)
    on_directory.catalog.parent.chmod(0o500)
    try:
        assert states(on_directory, on_directory.work / "notes") == (0, {".": "archived"})
        assert differences(on_directory, "notes") == {}
        assert on_directory.ok("cat", "notes", "notes") == "precious"
    finally:
        on_directory.catalog.parent.chmod(0o700)
