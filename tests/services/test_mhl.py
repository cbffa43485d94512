"""`mgmt mhl`: a folder against its lists, and a list of an archive."""

import os
from pathlib import Path
from typing import Any

import pytest

from mgmt.errors import ExitStatus
from mgmt.mhl.hashes import FORMATS
from mgmt.services.steps import folder_walk as walk
from mgmt.storage.directory import DirectoryStore
from tests.mhl.lists import ascmhl, copy_sample, is_valid, parsed, samples
from tests.mhl.test_manifest import WRONG
from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def card(mgmt: Program) -> Path:
    """A card with files of each kind."""
    folder = mgmt.work / "A001"
    (folder / "Clips").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "Clips" / "a.mov").write_bytes(os.urandom(3 << 20))
    (folder / "b & <c>.txt").write_text("hallo")
    (folder / "naïve.txt").write_text("")
    os.link(folder / "Clips" / "a.mov", folder / "hard.mov")
    return folder


@pytest.mark.parametrize("formats", ["xxh64", "md5", ",".join(FORMATS)])
@pytest.mark.sqlite
def test_a_list_of_an_archive_verifies_what_is_downloaded(mgmt: Program, formats: str) -> None:
    card(mgmt)
    mgmt.ok("upload", "A001")
    made = mgmt.json("mhl", "create", "A001", "--format", formats, "--to", "A001.mhl")
    assert (made["files"], made["formats"]) == (4, formats.split(","))
    path = mgmt.work / "A001.mhl"
    assert path.stat().st_mode & 0o777 == 0o644
    mgmt.ok("download", "A001", "--to", "back")
    back = mgmt.work / "back" / "A001"
    path.rename(back / "A001.mhl")
    found = mgmt.json("mhl", "verify", back)
    assert (found["problems"], found["ok"], found["files"], found["formats"]) == ([], 4, 4, sorted(made["formats"]))
    assert is_valid(back / "A001.mhl")
    assert ascmhl("verify", "-pl", back / "A001.mhl", back, "-i", "A001.mhl", program="ascmhl-debug") == 0
    (back / "naïve.txt").write_text("x")
    assert mgmt.run("mhl", "verify", back).returncode == ExitStatus.INTEGRITY
    assert ascmhl("verify", "-pl", back / "A001.mhl", back, "-i", "A001.mhl", program="ascmhl-debug") == 11


@pytest.mark.sqlite
def test_a_list_goes_to_stdout_whole(mgmt: Program) -> None:
    (mgmt.work / "clip.mov").write_text("hallo\n")
    (mgmt.work / "A001").mkdir()
    (mgmt.work / "A001" / "link").symlink_to("nowhere")
    mgmt.ok("upload", "clip.mov")
    mgmt.ok("upload", "A001")
    assert list(parsed(mgmt.ok("mhl", "create", "clip.mov").encode()).entries) == ["clip.mov"]
    assert parsed(mgmt.json("mhl", "create", "A001")["manifest"].encode()).entries == {}


@pytest.mark.sqlite
def test_nothing_is_written_of_an_archive_that_is_damaged(mgmt: Program) -> None:
    card(mgmt)
    mgmt.ok("upload", "A001")
    archive = Path(mgmt.store.removeprefix("file://")) / "A001.tar.gz"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.chmod(0o600)
    archive.write_bytes(content)
    done = mgmt.run("mhl", "create", "A001", "--to", "A001.mhl")
    assert done.returncode == ExitStatus.INTEGRITY
    done = mgmt.run("mhl", "create", "A001")
    assert (done.returncode, done.stdout) == (ExitStatus.INTEGRITY, "")
    assert [each.name for each in mgmt.work.iterdir()] == ["completed"]


@pytest.mark.sqlite
def test_a_name_that_no_list_can_hold_is_refused(mgmt: Program) -> None:
    (mgmt.work / "A001").mkdir()
    (mgmt.work / "A001" / os.fsdecode(b"odd \xff")).write_text("")
    mgmt.ok("upload", "A001")
    assert mgmt.run("mhl", "create", "A001").returncode == ExitStatus.REFUSED


@pytest.mark.sqlite
def test_each_sample_is_verified_in_place(mgmt: Program) -> None:
    for folder in sorted(each.parent for each in samples().rglob("ascmhl")):
        done = mgmt.run("-o", "json", "mhl", "verify", folder)
        spoilt = "scenario_04/file_server" in str(folder)
        assert done.returncode == (ExitStatus.INTEGRITY if spoilt else 0), done.stderr
    assert not mgmt.catalog.exists()


@pytest.mark.sqlite
def test_each_verdict_is_shown_with_its_file(mgmt: Program) -> None:
    folder = mgmt.work / "card"
    folder.mkdir()
    md5 = "900150983cd24fb0d6963f7d28e17f72"
    names = ["good", "bad", "gone", "link", "pipe"]
    entries = "".join(f"<hash><file>{name}</file><md5>{md5}</md5></hash>" for name in names)
    (folder / "card.mhl").write_text(f'<hashlist version="1.1">{entries}</hashlist>')
    for name, content in (("good", "abc"), ("bad", "abd"), ("new", "")):
        (folder / name).write_text(content)
    (folder / "link").symlink_to("good")
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "unlisted pipe")
    done = mgmt.run("mhl", "verify", "card")
    assert done.returncode == ExitStatus.INTEGRITY
    assert "1 mismatch, 1 missing, 1 added, 2 unreadable" in done.stderr
    rows = dict(line.split()[1::-1] for line in done.stdout.splitlines()[1:6])
    assert rows == {"bad": "mismatch", "gone": "missing", "new": "added", "link": "unreadable", "pipe": "unreadable"}


@pytest.mark.sqlite
def test_each_file_is_read_once(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = card(mgmt)
    mgmt.ok("upload", "A001")
    mgmt.ok("mhl", "create", "A001", "--format", ",".join(FORMATS), "--to", "A001.mhl")
    (mgmt.work / "A001.mhl").rename(mgmt.work / "completed" / "A001" / "A001.mhl")
    read: list[str] = []
    pieces = walk.pieces

    def counted(root: str, path: str) -> object:
        read.append(path)
        return pieces(root, path)

    monkeypatch.setattr("mgmt.services.mhl.verify.pieces", counted)
    mgmt.ok("mhl", "verify", mgmt.work / "completed" / folder.name)
    assert sorted(read) == ["A001.mhl", "Clips/a.mov", "b & <c>.txt", "hard.mov", "naïve.txt"]


@pytest.mark.sqlite
def test_a_folder_that_is_deep_is_walked(tmp_path: Path) -> None:
    depth, here = 500, os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    assert len([each for each in walk.Walk(str(tmp_path)) if each.kind == "d"]) == depth


@pytest.mark.sqlite
def test_an_archive_is_compared_with_the_lists_in_it(mgmt: Program) -> None:
    for name, place in (("good", "travel_01"), ("bad", "file_server"), ("exact", "travel_01")):
        copy_sample(f"scenario_04/{place}/A002R2EC", mgmt.work / name)
    os.link(mgmt.work / "good" / "Sidecar.txt", mgmt.work / "good" / "linked")
    (mgmt.work / "none").mkdir()
    mgmt.ok("upload", "good", "bad", "exact", "none")
    mgmt.ok("verify", "--mhl", "exact")
    for name, status, said in (
        ("good", ExitStatus.INTEGRITY, "1 added: linked"),
        ("bad", ExitStatus.INTEGRITY, "1 mismatch: Sidecar.txt"),
        ("none", ExitStatus.NOT_FOUND, "no media hash list"),
    ):
        done = mgmt.run("verify", "--mhl", name)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
        mgmt.ok("verify", name)
    assert mgmt.run("verify", "--mhl", "--all").returncode == ExitStatus.USAGE
    assert mgmt.run("verify", "--mhl", "bad", "exact").returncode == ExitStatus.PARTIAL


@pytest.mark.sqlite
def test_a_hard_link_in_an_archive_is_compared_with_its_list(mgmt: Program) -> None:
    folder = card(mgmt)
    mgmt.ok("upload", "A001", "--keep")
    mgmt.ok("mhl", "create", "A001", "--to", folder / "A001.mhl")
    mgmt.ok("upload", "A001", "--key", "second.tar.gz")
    mgmt.ok("verify", "--mhl", "second.tar.gz")


@pytest.mark.sqlite
@pytest.mark.parametrize("name", WRONG)
def test_a_hostile_list_is_refused_by_its_name(mgmt: Program, name: str) -> None:
    (mgmt.work / "card").mkdir()
    (mgmt.work / "card" / "hostile.mhl").write_bytes(WRONG[name])
    done = mgmt.run("mhl", "verify", "card")
    assert (done.returncode, done.stdout) == (ExitStatus.INTEGRITY, "")
    assert done.stderr.startswith("mgmt: hostile.mhl cannot be used as a media hash list: ")


@pytest.mark.sqlite
def test_a_list_outside_that_a_link_leads_to_is_not_read(mgmt: Program) -> None:
    (mgmt.work / "card").mkdir()
    (mgmt.work / "outside.mhl").write_bytes(WRONG["entity"])
    (mgmt.work / "card" / "in.mhl").symlink_to(mgmt.work / "outside.mhl")
    assert mgmt.run("mhl", "verify", "card").returncode == ExitStatus.NOT_FOUND


@pytest.mark.sqlite
def test_an_archive_is_read_once_for_a_list(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    card(mgmt)
    mgmt.ok("upload", "A001")
    read: list[str] = []
    stream = DirectoryStore.stream

    def counted(store: DirectoryStore, key: str, *arguments: Any, **options: Any) -> Any:
        read.append(key)
        return stream(store, key, *arguments, **options)

    monkeypatch.setattr(DirectoryStore, "stream", counted)
    mgmt.ok("mhl", "create", "A001", "--format", ",".join(FORMATS), "--to", "A001.mhl")
    assert [key for key in read if key.endswith(".tar.gz")] == ["A001.tar.gz"]
