"""A configuration file that the user names has to exist, except where it is created."""

import io
import json
import re
from pathlib import Path

import pytest

from mgmt.cli.config import COLUMNS
from mgmt.cli.render import Renderer
from tests.program import Program

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_missing_file_that_was_named_is_refused(mgmt: Program, way: str) -> None:
    path = mgmt.home / "no such" / "config.toml"
    option = ["--config", str(path)] if way == "option" else []
    if way == "environment":
        mgmt.environment = {"MGMT_CONFIG": str(path)}
    (mgmt.work / "notes").write_text("precious")
    for words in (["ls"], ["upload", "notes"], ["config", "show"], ["config", "get", "store"], ["log"]):
        done = mgmt.run("-o", "json", *option, *words)
        assert done.returncode == 2, words
        error = json.loads(done.stderr)["error"]
        assert error["message"] == f"there is no configuration file {path}"
        assert error["next"].startswith(f"mgmt --config '{path}' config set store ")
    assert (mgmt.work / "notes").exists()
    findings = json.loads(mgmt.run("-o", "json", *option, "doctor").stdout)
    assert any(str(each["next"]).startswith(f"mgmt --config '{path}'") for each in findings)
    assert json.loads(mgmt.ok("-o", "json", *option, "config", "path"))["exists"] is False


def test_a_setting_creates_the_file(mgmt: Program) -> None:
    path = mgmt.home / "mine" / "config.toml"
    done = mgmt.run("--config", path, "config", "set", "level", "balanced")
    assert (done.returncode, done.stderr) == (0, "")
    assert mgmt.ok("--config", path, "config", "get", "level") == "balanced\n"
    assert [each["target_name"] for each in mgmt.json("log", "--type", "config")] == ["level"]


def test_the_default_file_may_be_missing(mgmt: Program) -> None:
    mgmt.ok("config", "show")
    mgmt.ok("ls")


def test_an_empty_file_is_a_file(mgmt: Program, tmp_path: Path) -> None:
    mgmt.ok("--config", "/dev/null", "ls")


def test_values_are_shown_as_they_are_written(mgmt: Program) -> None:
    assert mgmt.ok("config", "get", "mirror") == "false\n"
    assert mgmt.ok("config", "get", "part_size") == "8 MiB\n"
    shown = {each["name"]: each["value"] for each in mgmt.json("config", "show")}
    assert (shown["mirror"], shown["part_size"], shown["region"]) == (False, 8 << 20, None)
    assert re.search(r"^mirror +false .*\npart_size +8 MiB ", mgmt.ok("config", "show"), re.MULTILINE | re.DOTALL)
    for value in ("64 MiB", "5242881"):
        mgmt.ok("config", "set", "part_size", value)
        assert mgmt.ok("config", "get", "part_size") == f"{value}\n"


def test_the_value_of_a_setting_is_shortened_last(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    out, value = Terminal(), "sqlite:////home/ann/.local/share/mgmt/catalog.db"
    row = {
        "name": "catalog",
        "value": value,
        "origin": "/home/ann/.config/mgmt/config.toml",
        "description": "URL " * 20,
    }
    Renderer("table", out).many([row], COLUMNS)
    assert value in out.getvalue()
