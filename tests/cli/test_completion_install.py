"""The completion script is installed for real shells, once, and nothing of the user's is lost."""

import os
import pwd
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.errors import ConfigurationError, ExitStatus
from mgmt.services.completion import install
from tests.program import Program

pytestmark = pytest.mark.sqlite

ASKED = {
    "bash": ["bash", "-i", "-c", "complete -p mgmt"],
    "zsh": ["zsh", "-i", "-c", "print -r -- $_comps[mgmt]"],
    "fish": ["fish", "-c", "complete -C 'mgmt downl'; functions _mgmt_completion"],
}
STARTUP = {"bash": ".bashrc", "zsh": ".zshrc"}


@pytest.mark.parametrize("shell", ASKED)
def test_a_new_shell_completes_and_a_second_run_changes_nothing(mgmt: Program, shell: str) -> None:
    startup = mgmt.home / STARTUP.get(shell, "none")
    startup.write_bytes(b"# mine \xff\nexport MINE=1")  # without a line break at its end
    first = mgmt.json("completion", "install", "--shell", shell)
    assert [each["status"] for each in first] == ["written", "appended"][: len(first)]
    before = {each["path"]: Path(each["path"]).read_bytes() for each in first}
    assert [each["status"] for each in mgmt.json("completion", "install", "--shell", shell)] == ["unchanged"] * len(
        first
    )
    assert before == {each["path"]: Path(each["path"]).read_bytes() for each in first}
    if shell in STARTUP:
        lines = startup.read_bytes().splitlines()
        assert lines[:2] == [b"# mine \xff", b"export MINE=1"]
        assert len(lines) == 4
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (mgmt.home / "bin").mkdir()  # fish loads completions of commands that exist
    (mgmt.home / "bin" / "mgmt").write_text(f'#!/bin/sh\nexec {shlex.join(mgmt.command())} "$@"\n')
    (mgmt.home / "bin" / "mgmt").chmod(0o755)
    environment = {**mgmt.env(), "PATH": f"{mgmt.home}/bin:{os.environ['PATH']}"}
    done = subprocess.run(ASKED[shell], env=environment, capture_output=True, text=True, check=False)
    assert "_mgmt_completion" in done.stdout, done.stderr


def test_the_shell_is_that_of_the_user(mgmt: Program) -> None:
    fish = replace(mgmt, environment={"SHELL": "/usr/bin/fish"})
    [installed] = fish.json("completion", "install")
    assert installed["path"] == f"{mgmt.home}/config/fish/completions/mgmt.fish"
    done = replace(mgmt, environment={"SHELL": "/bin/tcsh"}).run("completion", "install")
    assert done.returncode == ExitStatus.USAGE
    assert "mgmt completion install --shell bash" in done.stderr


def test_a_script_of_the_user_stays(mgmt: Program) -> None:
    own = mgmt.home / "config" / "fish" / "completions" / "mgmt.fish"
    own.parent.mkdir(parents=True)
    own.write_text("complete -c mgmt -a mine\n")
    assert mgmt.run("completion", "install", "--shell", "fish").returncode == ExitStatus.REFUSED
    assert own.read_text() == "complete -c mgmt -a mine\n"


def test_a_script_of_an_older_mgmt_is_replaced_and_links_stay(mgmt: Program) -> None:
    (mgmt.home / "dotfiles").mkdir()
    (mgmt.home / "dotfiles" / "bashrc").write_text("")
    os.symlink("dotfiles/bashrc", mgmt.home / ".bashrc")
    script, startup = mgmt.json("completion", "install", "--shell", "bash")
    assert startup["path"] == f"{mgmt.home}/.bashrc"
    assert os.path.islink(mgmt.home / ".bashrc")
    path = Path(script["path"])
    path.write_text(path.read_text().replace("COMP_CWORD", "OLD"))
    again = mgmt.json("completion", "install", "--shell", "bash")
    assert [each["status"] for each in again] == ["written", "unchanged"]
    assert "OLD" not in path.read_text()


def test_zsh_reads_its_own_folder(mgmt: Program) -> None:
    (mgmt.home / "z").mkdir()
    own = replace(mgmt, environment={"ZDOTDIR": str(mgmt.home / "z")})
    _, startup = own.json("completion", "install", "--shell", "zsh")
    assert startup["path"] == f"{mgmt.home}/z/.zshrc"
    assert not (mgmt.home / ".zshrc").exists()


def test_a_relative_folder_in_a_variable_is_ignored(mgmt: Program) -> None:
    names = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR")
    own = replace(mgmt, environment=dict.fromkeys(names, "here") | {"MGMT_CONFIG": str(mgmt.home / "config.toml")})
    paths = [each["path"] for shell in ("zsh", "fish") for each in own.json("completion", "install", "--shell", shell)]
    assert paths == [
        f"{mgmt.home}/.local/share/mgmt/completion.zsh",
        f"{mgmt.home}/.zshrc",
        f"{mgmt.home}/.config/fish/completions/mgmt.fish",
    ]
    assert list(mgmt.work.iterdir()) == []


@pytest.mark.parametrize("home", ["", "here"])
def test_without_a_home_folder_it_is_that_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    user = pwd.struct_passwd(("me", "x", 1, 1, "", str(tmp_path), "/bin/bash"))
    monkeypatch.setattr("pwd.getpwuid", lambda _: user)
    _, startup = install("bash", "script", {"HOME": home})
    assert startup.path == f"{tmp_path}/.bashrc"

    def nobody(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ConfigurationError, match="there is no home folder"):
        install("bash", "script", {"HOME": home})


@pytest.mark.parametrize("there", ["folder", "pipe"])
def test_a_startup_file_that_is_no_file_is_an_error_with_the_line_to_add(mgmt: Program, there: str) -> None:
    startup = mgmt.home / ".bashrc"
    startup.mkdir() if there == "folder" else os.mkfifo(startup)
    done = mgmt.run("completion", "install", "--shell", "bash")
    assert done.returncode == ExitStatus.USAGE
    assert f"{startup} is not a regular file" in done.stderr
    assert f"try: [ ! -r {mgmt.home}/data/mgmt/completion.bash ] || . " in done.stderr


def test_what_cannot_be_written_is_an_error_with_the_line_to_add(mgmt: Program) -> None:
    (mgmt.home / ".bashrc").symlink_to("missing/bashrc")
    done = mgmt.run("completion", "install", "--shell", "bash")
    assert done.returncode == ExitStatus.USAGE
    assert f"try: [ ! -r {mgmt.home}/data/mgmt/completion.bash ] || . " in done.stderr
