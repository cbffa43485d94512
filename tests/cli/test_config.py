"""A configuration file that the user names has to exist, except where it is created."""

import json
from pathlib import Path

import pytest

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
