"""Arguments mean what was typed: names and paths are not rewritten, and empty values are refused."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mgmt.cli.parameters import Command, Group
from tests.commands import ALL
from tests.program import Program

pytestmark = pytest.mark.sqlite


def test_every_command_refuses_empty_values() -> None:
    for words, command in ALL.items():
        assert isinstance(command, Command | Group), words


def with_an_empty_value() -> Iterator[tuple[str, ...]]:
    for words, command in ALL.items():
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                yield (*words, "")
                if parameter.nargs == -1:
                    yield (*words, "notes", "")
                    yield (*words, "--", "")
            elif isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count:
                for name in parameter.opts:
                    yield (*words, name, "")
                    if name.startswith("--"):
                        yield (*words, f"{name}=")


@pytest.mark.parametrize(
    "words", list(with_an_empty_value()), ids=lambda words: " ".join(word or "''" for word in words)
)
def test_an_empty_value_is_refused_before_anything_starts(mgmt: Program, words: tuple[str, ...]) -> None:
    (mgmt.work / "notes").write_text("precious")
    before = sorted(mgmt.home.rglob("*"))
    done = mgmt.run(*words, *(["ls"] if words[0].startswith("-") else []))
    assert done.returncode == 2, done.stderr
    assert re.search(r"^mgmt: ([A-Z:|=-]+|'.*--?\w.*') is an empty string", done.stderr), done.stderr
    assert "--help" in done.stderr  # what to type next
    assert sorted(mgmt.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        (("verify", "--all", "-q"), "mgmt -q verify ..."),
        (("db", "current", "--catalog", "x"), "mgmt --catalog URL db current ..."),
        (("ls", "--no-such"), "mgmt ls --help"),
        (("--no-such",), "mgmt --help"),
    ],
)
def test_an_option_of_mgmt_after_the_command_is_shown_where_it_belongs(
    mgmt: Program, words: tuple[str, ...], next_step: str
) -> None:
    done = mgmt.run("-o", "json", *words)
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["next"] == next_step


def test_an_empty_environment_variable_is_ignored(mgmt: Program) -> None:
    mgmt.environment = {"MGMT_LEVEL": "", "MGMT_CONFIG": ""}
    mgmt.ok("ls")


@pytest.fixture
def homes(mgmt: Program) -> list[Path]:
    """Home folders that are not empty, in case something expands a `~`."""
    home = mgmt.home / "home"
    home.mkdir()
    (home / "letters").write_text("to stay")
    mgmt.environment = {"HOME": str(home)}
    return [home]


NAMES = ("~", "~root", "$HOME", "-rf", "two\nlines", " ", "a\tb", "*", "~/", "all")
WAYS = ("argument", "list", "list with NUL", "--all")


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, way) for name in NAMES for way in WAYS if way != "list" or "\n" not in name],
)
def test_a_name_is_archived_as_it_was_typed(mgmt: Program, homes: list[Path], name: str, way: str) -> None:
    folder = mgmt.work / "folder"
    folder.mkdir()
    if name.endswith("/"):
        (folder / name).mkdir()
        (folder / name / "x").write_text("x")
    else:
        (folder / name).write_text("x")
    match way:
        case "argument":
            mgmt.ok("upload", "--", name, cwd=folder)
        case "list":
            (mgmt.work / "list").write_text(f"{name}\n")
            mgmt.ok("upload", "--files-from", mgmt.work / "list", cwd=folder)
        case "list with NUL":
            (mgmt.work / "list").write_text(f"{name}\0")
            mgmt.ok("upload", "--files-from", mgmt.work / "list", "-0", cwd=folder)
        case _:
            mgmt.ok("upload", "--all", folder)
    assert os.listdir(folder) == ["completed"]
    assert os.listdir(folder / "completed") == [name.rstrip("/")]
    assert (homes[0] / "letters").read_text() == "to stay"
    (upload,) = mgmt.json("log", "--type", "upload")
    assert upload["target_path"] == str(folder / name.rstrip("/"))


def test_options_do_not_expand_a_tilde(mgmt: Program, homes: list[Path]) -> None:
    """A `~` that the shell did not expand names a folder `~`, which must exist: none is created."""
    (mgmt.work / "notes").write_text("notes")
    commands = {
        "--keep-archive": ("upload", "notes"),
        "--to": ("download", "notes"),
        "--all": ("upload",),
    }
    for option, command in commands.items():
        done = mgmt.run(*command, option, "~/kept")
        assert done.returncode in (2, 4), done.stderr
        assert "$HOME" in done.stderr
        if option == "--keep-archive":
            mgmt.ok(*command)
    assert mgmt.run("upload", "~/letters").returncode == 4
    assert not (mgmt.work / "~").exists()
    (mgmt.work / "~").mkdir()
    mgmt.ok("download", "notes", "--to", "~")
    assert (mgmt.work / "~" / "notes").read_text() == "notes"
    mgmt.ok("upload", "~/notes", "--keep-archive", "~", "--on-conflict", "rename", "--key", "second.tar.gz")
    assert (mgmt.work / "~" / "second.tar.gz").is_file()
    mgmt.ok("db", "backup", "~/copy.db")
    mgmt.ok("db", "export", "~/history.jsonl")
    assert {"copy.db", "history.jsonl"} <= set(os.listdir(mgmt.work / "~"))
    assert os.listdir(homes[0]) == ["letters"]


def test_a_tilde_in_the_catalog_url_is_refused(mgmt: Program, homes: list[Path]) -> None:
    """Otherwise an empty catalog in a folder `~` would be taken for the real one."""
    done = mgmt.run("--catalog", "sqlite:///~/catalog.db", "ls")
    assert done.returncode == 2
    assert f"sqlite:///{homes[0]}/catalog.db" in done.stderr
    assert os.listdir(homes[0]) == ["letters"]
    assert not (mgmt.work / "~").exists()
    mgmt.ok("--catalog", "sqlite:///./~/catalog.db", "ls")
    assert (mgmt.work / "~" / "catalog.db").exists()


def test_settings_expand_a_tilde(mgmt: Program, homes: list[Path]) -> None:
    """No shell expands what is in a file, or in the environment of a cron job."""
    (homes[0] / "config.toml").write_text('completed_dir = "~/done"\ncatalog = "sqlite:///~/own.db"\n')
    mgmt.environment = {**mgmt.environment, "MGMT_CONFIG": "~/config.toml", "MGMT_CATALOG": ""}
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes")
    assert (homes[0] / "done" / "notes").exists()
    assert (homes[0] / "own.db").exists()
    done = mgmt.run("--config", "~/config.toml", "config", "path")
    assert done.stdout.strip() == "~/config.toml"  # from the command line: as it is


def test_dot_dot_after_a_link_is_the_parent_of_its_target(mgmt: Program) -> None:
    (mgmt.work / "real" / "parent" / "inner").mkdir(parents=True)
    (mgmt.work / "real" / "parent" / "here").write_text("archived")
    (mgmt.work / "other").mkdir()
    (mgmt.work / "other" / "link").symlink_to("../real/parent/inner")
    (mgmt.work / "other" / "untouched").write_text("stays")
    mgmt.ok("upload", "other/link/..")
    assert (mgmt.work / "real" / "completed" / "parent" / "here").read_text() == "archived"
    assert (mgmt.work / "other" / "untouched").read_text() == "stays"
    assert mgmt.json("ls", "--location", "s3")[0]["path"] == "parent.tar.gz"


def test_options_resolve_dot_dot_as_the_kernel_does(mgmt: Program) -> None:
    (mgmt.work / "real" / "inner").mkdir(parents=True)
    (mgmt.work / "other").mkdir()
    (mgmt.work / "other" / "link").symlink_to("../real/inner")
    (mgmt.work / "notes").write_text("notes")
    (mgmt.work / "real" / "one").write_text("one")
    (mgmt.work / "other" / "two").write_text("two")
    mgmt.ok("upload", "notes", "--keep-archive", "other/link/..")
    mgmt.ok("download", "notes", "--to", "other/link/../back")
    mgmt.ok("db", "backup", "other/link/../copy.db")
    mgmt.ok("db", "export", "other/link/../history.jsonl")
    assert {"notes.tar.gz", "back", "copy.db", "history.jsonl"} <= set(os.listdir(mgmt.work / "real"))
    mgmt.ok("--catalog", "sqlite:///other/link/../c.db", "ls")
    assert (mgmt.work / "real" / "c.db").exists()
    mgmt.ok("free", "real/../completed/notes", "--yes")
    assert not (mgmt.work / "completed" / "notes").exists()
    mgmt.ok("upload", "--all", "other/link/..", "--exclude", "inner", "-n")
    mgmt.run("upload", "--all", "other/link/..")
    assert not (mgmt.work / "real" / "one").exists()
    assert sorted(os.listdir(mgmt.work / "other")) == ["link", "two"]


def test_dot_dot_after_a_missing_folder_is_not_found(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("notes")
    for words in (["upload", "missing/../notes"], ["upload", "--all", "missing/.."], ["upload", "notes/../notes"]):
        assert mgmt.run(*words).returncode == 4
    mgmt.ok("upload", "notes", "--keep")
    assert mgmt.run("download", "notes", "--to", "missing/..").returncode == 2
    assert (mgmt.work / "notes").read_text() == "notes"


def test_dot_dot_after_a_link_in_the_store_url_is_refused(mgmt: Program) -> None:
    (mgmt.work / "real" / "inner").mkdir(parents=True)
    (mgmt.work / "link").symlink_to("real/inner")
    done = mgmt.run("--store", f"file://{mgmt.work}/link/../store", "ls", "--live")
    assert done.returncode == 2
    assert "symbolic link" in done.stderr
    mgmt.ok("--store", f"file://{mgmt.work}/real/../store", "ls", "--live")


@pytest.mark.parametrize(
    ("where", "typed"), [("folder", "."), ("folder/inner", ".."), ("folder", "./"), ("", "folder/.")]
)
def test_a_folder_named_by_dots_is_archived_under_its_real_name(mgmt: Program, where: str, typed: str) -> None:
    (mgmt.work / "folder" / "inner").mkdir(parents=True)
    mgmt.ok("upload", typed, cwd=mgmt.work / where)
    assert mgmt.json("ls", "--location", "s3")[0]["path"] == "folder.tar.gz"
    assert (mgmt.work / "completed" / "folder" / "inner").is_dir()


@pytest.mark.parametrize("typed", ["link", "link/", "link//"])
def test_a_symbolic_link_is_refused(mgmt: Program, typed: str) -> None:
    (mgmt.work / "a folder").mkdir()
    (mgmt.work / "link").symlink_to("a folder")
    done = mgmt.run("-o", "json", "upload", typed)
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert "symbolic link" in error["message"]
    assert error["next"] == f"mgmt upload '{mgmt.work}/a folder'"
    assert (mgmt.work / "a folder").is_dir()


def test_a_file_with_a_trailing_slash_is_not_found(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("notes")
    done = mgmt.run("upload", "notes/")
    assert done.returncode == 4
    assert "is not a folder" in done.stderr


def test_a_target_given_twice_is_archived_once(mgmt: Program) -> None:
    (mgmt.work / "s").mkdir()
    (mgmt.work / "t").write_text("t")
    (mgmt.work / "here").symlink_to(".")
    (mgmt.work / "list").write_text("s\ns/\n./s\n\nhere/s\nt\ns/.\n")
    mgmt.ok("upload", "t", mgmt.work / "t", "--files-from", "list")
    uploads = mgmt.json("log", "--type", "upload")
    assert sorted(each["target_name"] for each in uploads) == ["s", "t"]


def test_a_list_with_nul_is_refused_without_null(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("notes")
    (mgmt.work / "list").write_bytes(b"notes\0other\0")
    done = mgmt.run("upload", "--files-from", "list")
    assert done.returncode == 2
    assert "-0" in done.stderr
    assert (mgmt.work / "notes").exists()


def test_status_finds_a_file_by_any_path(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("notes")
    (mgmt.work / "folder").mkdir()
    mgmt.ok("upload", "notes")
    assert mgmt.json("status", "folder/../completed/notes")["file"]["location"] == "completed"
    assert mgmt.run("status", "/").returncode == 4


@pytest.mark.parametrize("period", ["--until=9999-12-31", "--since=1600-01-01", "--until=2300-01-01"])
def test_a_search_accepts_any_year(mgmt: Program, period: str) -> None:
    (mgmt.work / "notes").mkdir()
    (mgmt.work / "notes" / "beach").write_text("x")
    mgmt.ok("upload", "notes", "--keep")
    assert [each["type"] for each in mgmt.json("search", "beach", period)] == ["member"]


@pytest.mark.parametrize(
    "option", [("--until", "99999y"), ("--until", "0001-01-01T00:00:00+14:00"), ("--limit", "9" * 20)]
)
def test_a_value_out_of_range_is_a_usage_error(mgmt: Program, option: tuple[str, str]) -> None:
    done = mgmt.run("search", "a", *option)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "closed",
    [
        *("<&-", ">&-", "2>&-", "<&- >&- 2>&-"),
        *(pytest.param(each, marks=pytest.mark.torture) for each in ("<&- >&-", "<&- 2>&-", ">&- 2>&-")),
    ],
)
def test_a_closed_stream_is_the_null_device(mgmt: Program, closed: str) -> None:
    (mgmt.work / "notes").write_text("x")
    for words in (["upload", "notes"], ["ls"]):
        command = shlex.join(mgmt.command(*words))
        done = subprocess.run(
            ["sh", "-c", f"{command} {closed}"], cwd=mgmt.work, env=mgmt.env(), capture_output=True, text=True
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (words, done.stderr)
