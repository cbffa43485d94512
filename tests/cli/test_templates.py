"""The option `--template`: what wins, what is refused, and what the record keeps."""

import json
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.steps.requests import KINDS
from tests.commands import ALL
from tests.program import Program

pytestmark = pytest.mark.sqlite

CONFIG = """
[templates.raw]
keep = true
level = "balanced"
exclude = ["*.tmp", "*.bak"]
tag = {kind = "raw", shots = 3}

[templates.derived]
extends = "raw"
level = "fast"

[templates.everything]
all = true
keep = true

[templates.night]
queue = "night"
keep = true

[templates.wrong]
level = "fastest"
"""


@pytest.fixture
def configured(mgmt: Program) -> Path:
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    (mgmt.work / "clip").write_text("contents")
    return path


def last(mgmt: Program) -> dict[str, Any]:
    return dict(mgmt.json("log", "--limit", "1")[0])


def test_a_template_gives_options_and_the_record_keeps_them(mgmt: Program, configured: Path) -> None:
    mgmt.ok("upload", "clip", "--template", "raw")
    args = last(mgmt)["command_args"]
    assert args["template"] == "raw"
    assert (args["keep"], args["level"], args["exclude"]) == (True, "balanced", ["*.tmp", "*.bak"])
    assert args["tags"] == {"kind": "raw", "shots": "3"}
    assert (mgmt.work / "clip").exists()


def test_the_command_line_wins_wherever_it_stands(mgmt: Program, configured: Path) -> None:
    for words in (["--level", "fast", "--template", "raw"], ["--template", "raw", "--level", "fast"]):
        mgmt.ok("upload", "clip", *words, "--exclude", "*.x", "--key", f"{words[0].strip('-')}.tar.gz")
        args = last(mgmt)["command_args"]
        assert (args["level"], args["exclude"], args["keep"]) == ("fast", ["*.x"], True)


def test_a_flag_is_switched_off_by_a_template_that_extends_another(mgmt: Program, configured: Path) -> None:
    configured.write_text(CONFIG + '[templates.moved]\nextends = "raw"\nkeep = false\n')
    mgmt.ok("upload", "clip", "--template", "moved")
    assert (mgmt.work / "completed" / "clip").exists()
    assert last(mgmt)["command_args"]["level"] == "balanced"


def test_a_template_wins_over_a_setting(mgmt: Program, configured: Path) -> None:
    mgmt.environment = {"MGMT_LEVEL": "fast"}
    mgmt.ok("upload", "clip", "--template", "raw")
    assert last(mgmt)["command_args"]["level"] == "balanced"


def test_a_template_can_choose_the_targets(mgmt: Program, configured: Path) -> None:
    assert "uploads" not in mgmt.ok("upload", "--template", "everything")
    assert last(mgmt)["target_name"] == "clip"


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ('level = "fastest"', ["upload", "clip"], "template 'x': --level: 'fastest' is not one of"),
        ("level = true", ["upload", "clip"], "template 'x': --level: True is not a value of it"),
        ('level = ["fast"]', ["upload", "clip"], "template 'x': --level: takes one value, not a list"),
        ('level = ""', ["upload", "clip"], "template 'x': --level: is an empty string"),
        ("level = {a = 1}", ["upload", "clip"], "template 'x': --level: {'a': 1} is not a value of it"),
        ('keep = "yes"', ["upload", "clip"], "template 'x': --keep: must be true or false"),
        ('tag = ["novalue"]', ["upload", "clip"], "template 'x': --tag: 'novalue' is not KEY=VALUE"),
        ('bwlimit = "much"', ["upload", "clip"], "template 'x': --bwlimit: 'much' is not a size"),
        ("read-back = true", ["upload", "clip"], "template 'x': upload has no option --read-back, which belongs"),
        ("keep = true", ["verify", "clip"], "template 'x': verify has no option --keep, which belongs to upload"),
        ("lvl = 1", ["upload", "clip"], "template 'x': upload has no option --lvl; did you mean --level?"),
        ('template = "raw"', ["upload", "clip"], "template 'x': upload has no option --template"),
        ("store = 'file:///x'", ["upload", "clip"], "template 'x': upload has no option --store"),
        ("help = true", ["upload", "clip"], "template 'x': upload has no option --help"),
        ("nul = true", ["upload", "clip"], "template 'x': upload has no option --nul; did you mean --null?"),
    ],
)  # fmt: skip
def test_what_a_command_does_not_take_is_refused(
    mgmt: Program, configured: Path, text: str, words: list[str], message: str
) -> None:
    configured.write_text(f"[templates.x]\n{text}\n")
    done = mgmt.run("-o", "json", *words, "--template", "x")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["message"].startswith(message)
    assert mgmt.json("log") == []


def test_an_inherited_option_is_refused_under_the_name_of_its_template(mgmt: Program, configured: Path) -> None:
    configured.write_text('[templates.x]\nextends = "y"\n[templates.y]\nlevel = "no"\n')
    assert "template 'y': --level" in mgmt.run("upload", "clip", "--template", "x").stderr


def test_a_template_that_is_not_there_is_not_found(mgmt: Program, configured: Path) -> None:
    done = mgmt.run("upload", "clip", "--template", "none")
    assert (done.returncode, "mgmt config template ls" in done.stderr) == (4, True)


@pytest.mark.parametrize("name", KINDS)
def test_every_command_that_can_run_later_has_templates(name: str) -> None:
    assert "--template" in {word for each in ALL[(name,)].params for word in each.opts}


def test_a_request_keeps_what_the_template_was(mgmt: Program, configured: Path) -> None:
    """A template that changes, or is removed, until it runs makes no difference."""
    mgmt.ok("upload", "clip", "--template", "raw", "--later")
    configured.write_text("")
    assert mgmt.run("worker", "--until-empty", "--slots", "1").returncode == 0
    done = last(mgmt)
    assert (done["status"], done["command_args"]["template"]) == ("success", "raw")
    assert done["command_args"]["level"] == "balanced"
    assert (mgmt.work / "clip").exists()


def test_a_template_can_send_a_command_to_a_queue(mgmt: Program, configured: Path) -> None:
    mgmt.ok("upload", "clip", "--template", "night")
    (job,) = mgmt.json("queue")
    assert job["queue"] == "night"


def test_a_scheduled_command_takes_the_template_as_it_is_when_it_runs(mgmt: Program, configured: Path) -> None:
    mgmt.ok("schedule", "add", "nightly", "0 2 * * *", "--", "upload", "clip", "--template", "raw")
    configured.write_text(CONFIG.replace('"balanced"', '"fast"'))
    mgmt.ok("schedule", "run", "nightly", "--now")
    done = last(mgmt)
    assert (done["command_args"]["template"], done["command_args"]["level"]) == ("raw", "fast")
    configured.write_text("")
    assert mgmt.run("schedule", "run", "nightly", "--now").returncode == 1
    assert "there is no template 'raw'" in last(mgmt)["error_message"]


def test_templates_are_listed_and_shown(mgmt: Program, configured: Path) -> None:
    rows = mgmt.json("config", "template", "ls")
    assert [each["name"] for each in rows] == ["raw", "derived", "everything", "night", "wrong"]
    assert rows[1]["extends"] == "raw"
    assert rows[1]["options"]["level"] == "fast"
    shown = {
        each["name"]: (each["value"], each["template"]) for each in mgmt.json("config", "template", "show", "derived")
    }
    assert shown["level"] == ("fast", "derived")
    assert shown["keep"] == (True, "raw")
    table = mgmt.ok("config", "template", "show", "raw")
    assert "--tag" in table
    assert "kind=raw, shots=3" in table
    assert mgmt.run("config", "template", "show", "none").returncode == 4


def test_templates_are_no_settings_and_survive_a_change_of_one(mgmt: Program, configured: Path) -> None:
    assert "templates" not in {each["name"] for each in mgmt.json("config", "show")}
    mgmt.ok("config", "set", "level", "balanced")
    assert mgmt.ok("config", "get", "level") == "balanced\n"
    assert len(mgmt.json("config", "template", "ls")) == 5
    configured.write_text("templates = 3\n")
    assert mgmt.run("config", "show").returncode == 2


def test_a_schedule_finds_its_template_in_a_file_that_was_named_from_another_folder(mgmt: Program) -> None:
    (mgmt.work / "mine.toml").write_text('[templates.raw]\nlevel = "balanced"\nkeep = true\n')
    folder = mgmt.work / "deep"
    folder.mkdir()
    (folder / "clip").write_text("contents")
    words = ["schedule", "add", "nightly", "0 2 * * *", "--", "upload", "clip", "--template", "raw"]
    mgmt.ok("--config", "../mine.toml", *words, cwd=folder)
    mgmt.ok("--config", "mine.toml", "schedule", "run", "nightly", "--now")
    assert last(mgmt)["command_args"]["level"] == "balanced"


def test_the_template_of_one_schedule_is_not_that_of_another(mgmt: Program, configured: Path) -> None:
    """A worker parses the commands of all schedules, one after the other."""
    for name, words in {"a": ["--template", "raw"], "b": ["--keep"]}.items():
        mgmt.ok("schedule", "add", name, "0 2 * * *", "--", "upload", f"{name}.txt", *words)
        (mgmt.work / f"{name}.txt").write_text(name)
    mgmt.records.change("UPDATE schedules SET created_at = '2026-01-01 00:00:00.000000'")
    assert mgmt.run("worker", "--until-empty", "--slots", "1").returncode == 0
    found = {each["command_args"]["schedule"]["name"]: each["command_args"] for each in mgmt.json("log")}
    assert [found[name].get("template") for name in ("a", "b")] == ["raw", None]


@pytest.mark.parametrize("way", ["retry", "replay"])
@pytest.mark.parametrize("requested", [False, True], ids=["now", "later"])
def test_doing_it_again_does_the_same_even_if_the_template_has_changed(
    mgmt: Program, configured: Path, way: str, requested: bool
) -> None:
    mgmt.ok("schedule", "add", "nightly", "0 2 * * *", "--", "upload", "late", "--template", "raw")
    assert mgmt.run("schedule", "run", "nightly", "--now").returncode != 0
    first = last(mgmt)
    configured.write_text('[templates.raw]\nlevel = "fast"\nkey = "wrong.tar.gz"\n')
    (mgmt.work / "late").write_text("contents")
    mgmt.ok(way, first["operation_id"], *(["--later"] if requested else []))
    if requested:
        assert mgmt.run("worker", "--until-empty", "--slots", "1").returncode == 0
    again = last(mgmt)
    assert (again["status"], again["s3_object_key"]) == ("success", "late.tar.gz")
    args = again["command_args"]
    assert (args["template"], args["level"], args["keep"]) == ("raw", "balanced", True)
    assert (args["exclude"], args["tags"]) == (["*.tmp", "*.bak"], {"kind": "raw", "shots": "3"})
