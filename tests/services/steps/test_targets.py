"""Lists of targets, as other programs and other systems write them."""

from pathlib import Path

import pytest

from mgmt.errors import ConfigurationError
from mgmt.services.steps.targets import folders_above, inside_another, once_each, read_list
from tests.program import Program


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"", []),
        (b"\n\r\n\n", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb c\r\n", ["a", "b c"]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbf", []),
        (b" \n", [" "]),
        (b"caf\xe9\n", ["caf\udce9"]),
        (b"# a\n", ["# a"]),
    ],
)
def test_a_list_has_a_path_a_line(data: bytes, paths: list[str]) -> None:
    assert read_list(data, nul=False, name="list") == paths


def test_a_name_that_really_ends_in_a_carriage_return_is_kept(here: Path) -> None:
    (here / "a\r").touch()
    (here / "\ufeffb").touch()
    assert read_list(b"a\r\nb\r\n", nul=False, name="list") == ["a\r", "b"]
    assert read_list("\ufeffb\r\n".encode(), nul=False, name="list") == ["\ufeffb"]


def test_names_in_a_list_with_nul_are_exact() -> None:
    assert read_list(b"\xef\xbb\xbfa\r\0b\n\0", nul=True, name="list") == ["\ufeffa\r", "b\n"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_with_the_command_that_converts_it(here: Path, encoding: str) -> None:
    data = "\ufeffa\r\nb\r\n".encode(encoding)
    (here / "my list").write_bytes(data)
    with pytest.raises(ConfigurationError, match="UTF-16") as raised:
        read_list(data, nul=False, name="my list")
    assert raised.value.next_step == "iconv -f UTF-16 -t UTF-8 'my list' | mgmt upload --files-from -"


def test_a_target_is_found_once_however_it_is_written(here: Path) -> None:
    (here / "s").mkdir()
    (here / "link").symlink_to(".")
    assert list(once_each(["s", "s/", "./s", "link/s", str(here / "s"), "gone", "./gone"]).values()) == ["s", "gone"]
    (here / "file").touch()
    assert list(once_each(["file/", "file"]).values()) == ["file/", "file"]  # the first one is an error of its own
    assert inside_another(once_each(["file/", "file"])) == {}


def test_targets_inside_others_are_found(here: Path) -> None:
    for name in ("a", "a/b", "a-b", "ab"):
        (here / name).mkdir()
    found = once_each(["a/b", "ab", "a-b", "a/b/c", "./a", "gone/x", "gone"])
    assert inside_another(found) == {"a/b": "./a", "a/b/c": "./a", "gone/x": "gone"}


def test_the_folders_above_a_target_are_found_though_they_are_gone(here: Path) -> None:
    (here / "real").mkdir()
    (here / "link").symlink_to("real")
    (here / "real" / "broken").symlink_to("nowhere")
    found = [*folders_above("link/a/b/")]
    assert found[:3] == [(f"{here}/real/a", "b"), (f"{here}/real", "a/b"), (f"{here}", "real/a/b")]
    assert next(folders_above("link/broken")) == (f"{here}/real", "broken")
    assert next(folders_above("link/a/.")) == (f"{here}/real", "a")
    assert [*folders_above("/a/b")] == [("/a", "b"), ("/", "a/b")]


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "w" / "b").mkdir(parents=True)
    (on_directory.work / "w" / "b" / "x").write_text("x")
    return on_directory


@pytest.mark.sqlite
@pytest.mark.parametrize(("policy", "jobs"), [("error", "1"), ("skip", "4"), ("rename", "4")])
def test_a_target_that_never_existed_is_an_error_whatever_else_is_named(mgmt: Program, policy: str, jobs: str) -> None:
    words = ("upload", "--jobs", jobs, "--on-conflict", policy)
    for names in (["w/b", "w/b/typo"], ["w/b/typo", "w/b/x", "w/b", "w/b/none/typo"]):  # new, and archived already
        for last in (["-n"], []):
            done = mgmt.run(*words, *names, *last)
            assert done.returncode == 3, done
            assert "w/b/typo" in done.stderr
    (mgmt.work / "list").write_text("w/b\nw/b/x\nw/b/typo\n")
    assert mgmt.run(*words, "--files-from", "list").returncode == 3


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_what_was_archived_with_its_folder_is_done_every_night(mgmt: Program, policy: str) -> None:
    words = ("upload", "--on-conflict", policy, "w/b/x", "w/b", "w/b/")
    for _ in range(2):
        for last in (["-n"], []):
            mgmt.ok(*words, *last)
    mgmt.ok("free", "b", "--yes")
    for last in (["-n"], []):
        mgmt.ok(*words, *last)
    mgmt.ok("delete", "b", "--yes", "--last-copy")
    for last in (["-n"], []):
        assert mgmt.run(*words, *last).returncode == 4


@pytest.mark.sqlite
def test_a_part_is_found_in_an_archive_whose_root_has_another_name(mgmt: Program) -> None:
    (mgmt.work / "b").write_text("another")
    mgmt.ok("upload", "b")
    mgmt.ok("upload", "w/b", "--keep", "--on-conflict", "rename")
    (mgmt.work / "w" / "b").rename(mgmt.work / "w" / "b-2")
    for last in (["-n"], [], ["-n"], []):
        mgmt.ok("upload", "w/b-2", "w/b-2/x", *last)
    assert mgmt.json("ls", "--members", "b-2.tar.gz")[0]["path"] == "b"
