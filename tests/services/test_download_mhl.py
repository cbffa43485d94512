"""`mgmt download --mhl`: a generation is appended to the histories of what was restored."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mgmt.errors import ExitStatus
from mgmt.mhl.manifest import parse_chain
from mgmt.services.steps import new_generation
from tests.mhl.lists import ascmhl, copy_sample, is_valid, parsed, tree
from tests.program import Program

pytestmark = pytest.mark.sqlite


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    return on_directory


def plain(folder: Path) -> None:
    """A card without lists."""
    (folder / "Clips" / "in").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "Clips" / "in" / "a.mov").write_bytes(os.urandom(100_000))
    (folder / "b & <c>.txt").write_text("hallo")


def nested(folder: Path) -> None:
    """A card whose folders have histories of their own, in other formats."""
    plain(folder)
    for name, formats in (("one", ("md5",)), ("two/deep", ("xxh128", "c4"))):
        shutil.copytree(folder / "Clips", folder / name)
        options = [word for each in formats for word in ("-h", each)]
        assert ascmhl("create", folder / name, *options) == 0
    assert ascmhl("create", folder / "two", "-h", "sha1") == 0


def chain_of(folder: Path) -> list[str]:
    path = folder / "ascmhl" / "ascmhl_chain.xml"
    return [each.path for each in parse_chain(str(path), [path.read_bytes()])]


@pytest.mark.parametrize("make", [plain, nested])
def test_ascmhl_verifies_three_generations(mgmt: Program, make: Callable[[Path], None]) -> None:
    folder = mgmt.work / "A001"
    make(folder)
    before = tree(folder)
    for number in range(1, 4):
        mgmt.ok("upload", folder, "--key", f"{number}.tar.gz", "--keep")
        mgmt.ok("download", f"{number}.tar.gz", "--to", f"back-{number}", "--mhl")
        folder = mgmt.work / f"back-{number}" / "A001"
        assert len(chain_of(folder)) == number
        assert ascmhl("verify", folder, program="ascmhl-debug") == 0
        assert mgmt.json("mhl", "verify", folder)["problems"] == []
    if make is plain:  # of nested histories in several formats, ascmhl 1.2 looks for hashes that it has not computed
        assert ascmhl("verify", "-dh", folder, program="ascmhl-debug") == 0
    found = tree(folder)
    assert {path: content for path, content in found.items() if path in before and "chain" not in path} == {
        path: content for path, content in before.items() if "chain" not in path
    }
    assert is_valid(folder / "ascmhl" / chain_of(folder)[-1])
    assert is_valid(folder / "ascmhl" / "ascmhl_chain.xml", "-df")
    assert ascmhl("create", folder, "-h", "xxh64") == 0
    assert len(chain_of(folder)) == 4
    assert mgmt.json("mhl", "verify", folder)["problems"] == []
    (folder / "b & <c>.txt").write_text("hello")
    assert ascmhl("verify", folder, program="ascmhl-debug") == 11


def test_a_generation_states_what_was_known_and_what_is_new(mgmt: Program) -> None:
    folder = mgmt.work / "A002R2EC"
    copy_sample("scenario_03/file_server/A002R2EC", folder)
    (folder / "new.txt").write_text("new")
    os.utime(folder, ns=(10**18, 10**18))
    mgmt.ok("upload", folder)
    mgmt.ok("download", "A002R2EC", "--to", "back", "--mhl")
    back = mgmt.work / "back" / "A002R2EC"
    assert back.stat().st_mtime_ns == 10**18
    name = chain_of(back)[2]
    assert name.startswith("0003_A002R2EC_")
    text = (back / "ascmhl" / name).read_text("utf-8")
    entries = parsed(text.encode()).entries
    assert set(entries["new.txt"].hashes) == {"md5", "xxh64"}
    assert text.count('action="original"') == 2
    assert text.count('action="verified"') == 6
    assert 'action="failed"' not in text


def test_nothing_is_restored_that_is_not_as_listed(mgmt: Program) -> None:
    folder = mgmt.work / "A002R2EC"
    copy_sample("scenario_04/file_server/A002R2EC", folder)
    mgmt.ok("upload", folder)
    done = mgmt.run("download", "A002R2EC", "--to", "back", "--mhl")
    assert done.returncode == ExitStatus.INTEGRITY
    assert "Sidecar.txt" in done.stderr
    assert list((mgmt.work / "back").iterdir()) == []
    mgmt.ok("download", "A002R2EC", "--to", "back")


def test_nothing_is_left_of_a_download_whose_list_cannot_be_written(
    mgmt: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(mgmt.work / "A001")
    mgmt.ok("upload", "A001")
    write = new_generation._write_file

    def full(path: str, content: bytes) -> None:
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_generation, "_write_file", full)
    done = mgmt.run("download", "A001", "--to", "back", "--mhl")
    assert done.returncode == ExitStatus.FAILED
    assert "No space left" in done.stderr
    assert list((mgmt.work / "back").iterdir()) == []


def test_a_single_file_has_no_list(mgmt: Program) -> None:
    (mgmt.work / "clip.mov").write_text("x")
    mgmt.ok("upload", "clip.mov")
    done = mgmt.run("download", "clip.mov", "--to", "back", "--mhl")
    assert done.returncode == ExitStatus.USAGE
    assert list((mgmt.work / "back").iterdir()) == []


@pytest.mark.parametrize("option", [["--archive"], ["--member", "x"], ["--skip-unsupported"]])
def test_a_list_is_of_a_whole_folder(mgmt: Program, option: list[str]) -> None:
    assert mgmt.run("download", "A001", "--mhl", *option).returncode == ExitStatus.USAGE


def test_a_folder_that_may_not_be_written_keeps_its_mode(mgmt: Program) -> None:
    plain(mgmt.work / "A001")
    (mgmt.work / "A001").chmod(0o555)
    mgmt.ok("upload", "A001", "--keep")
    mgmt.ok("download", "A001", "--to", "back", "--mhl")
    back = mgmt.work / "back" / "A001"
    assert back.stat().st_mode & 0o777 == 0o555
    assert len(chain_of(back)) == 1
    for each in (back, mgmt.work / "A001"):
        each.chmod(0o755)
