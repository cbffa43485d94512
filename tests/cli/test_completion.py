"""Shell completion, called as the script of a shell calls it: with variables of the environment."""

import fcntl
import os
import pty
import select
import shlex
import shutil
import struct
import subprocess
import termios
from dataclasses import replace

import pytest

from mgmt.catalog import FileRecord, MetadataManager
from mgmt.cli.archive_names import _for_bash
from tests.program import Program


@pytest.fixture
def completed(mgmt: Program) -> Program:
    for name in ("holiday", "homework", "notes"):
        (mgmt.work / name).write_text(name)
        mgmt.ok("upload", name)
    return mgmt


def complete(mgmt: Program, line: str) -> list[str]:
    words = {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    with replace(mgmt, environment={**mgmt.environment, **words}).fork() as shell:
        output, errors = shell.communicate()
    assert errors == ""
    return [item.partition(",")[2] for item in output.splitlines() if item]


def test_archive_names_and_commands_are_completed(completed: Program) -> None:
    assert complete(completed, "mgmt download ho") == ["holiday", "homework"]
    assert complete(completed, "mgmt ls --members no") == ["notes"]
    assert complete(completed, "mgmt downl") == ["download"]


@pytest.mark.sqlite
def test_completion_without_a_catalog_offers_and_creates_nothing(mgmt: Program) -> None:
    assert complete(mgmt, "mgmt download ho") == []
    assert not os.path.exists(mgmt.catalog)


@pytest.mark.sqlite
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(mgmt: Program, shell: str) -> None:
    assert "_MGMT_COMPLETE" in mgmt.ok("completion", shell)


NAMES = ("aa;$(touch X)`touch X`&touch X", 'bb\'s "quoted" \\ $HOME and more', "cc*,{a,b}[x]?~#!1:%d=漢é")
"""What each of the shells would run, expand, split or cut. A completion takes as long as a command."""


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(mgmt: Program, request: pytest.FixtureRequest) -> list[str]:
    """An interactive shell with the completion of `mgmt`, which otherwise notes its arguments in a file."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    (mgmt.home / "bin").mkdir()
    (mgmt.home / "bin" / "mgmt").write_text(
        f'#!/bin/sh\nif [ -n "$_MGMT_COMPLETE" ]; then exec {shlex.join(mgmt.command())} "$@"; fi\n'
        f"printf '%s\\0' \"$@\" >> {mgmt.home}/words; printf '\\0' >> {mgmt.home}/words\n"
    )
    (mgmt.home / "bin" / "mgmt").chmod(0o755)
    script = mgmt.home / name
    script.write_text(mgmt.ok("completion", name))
    (mgmt.home / ".zshrc").write_text(f"autoload -Uz compinit; compinit -u -D; source {script}\n")
    return {
        "bash": ["bash", "--noprofile", "--rcfile", str(script), "-i"],
        "zsh": ["zsh", "-i"],
        "fish": ["fish", "--no-config", "-i", "-C", f"source {script}"],
    }[name]


def at_prompt(mgmt: Program, shell: list[str], lines: list[str]) -> list[list[str]]:
    """Type `lines`, each with Tab at its end; return the arguments that `mgmt` was run with."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
    environment = {**mgmt.env(), "PATH": f"{mgmt.home}/bin:{os.environ['PATH']}", "ZDOTDIR": str(mgmt.home)}
    process = subprocess.Popen(
        shell,
        env={**environment, "TERM": "xterm", "LANG": "C.UTF-8"},
        cwd=mgmt.work,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(terminal)
    os.write(control, "".join(f"mgmt download {line}\t\n" for line in lines).encode() + b"exit\n")
    while select.select([control], [], [], 120)[0]:
        try:
            if not os.read(control, 1 << 16):
                break
        except OSError:  # on Linux, the other end is closed
            break
    process.kill()
    process.wait()
    os.close(control)
    words = (mgmt.home / "words").read_bytes().decode().split("\0\0")
    return [each.split("\0")[1:] for each in words if each]


def archived(mgmt: Program) -> None:
    with MetadataManager(mgmt.records.url) as catalog:
        for name in NAMES:
            key = f"{name}.tar.gz"
            record = FileRecord(path=key, location="s3", store=mgmt.store, s3_object_key=key, status="completed")  # type: ignore[arg-type]
            catalog.save_file_record(record)


@pytest.mark.sqlite
def test_each_shell_inserts_a_name_as_one_word(mgmt: Program, shell: list[str]) -> None:
    archived(mgmt)
    (mgmt.work / "ccx").touch()
    assert at_prompt(mgmt, shell, [name[:2] for name in NAMES]) == [[name] for name in NAMES]
    assert os.listdir(mgmt.work) == ["ccx"]


@pytest.mark.sqlite
def test_so_it_is_in_a_quote_that_is_open(mgmt: Program, shell: list[str]) -> None:
    archived(mgmt)
    assert at_prompt(mgmt, shell, [f'"{name[:2]}' for name in NAMES]) == [[name] for name in NAMES]
    assert os.listdir(mgmt.work) == []


@pytest.mark.parametrize(
    ("name", "typed", "word"),
    [
        ("a", "a", "a"),
        ("a;b", "a", "'a;b'"),
        ("a;b", "'a", "'a;b'"),
        ("a;b", "a\\;", "'a;b'"),
        ("a $(b)", '"a', '"a \\\\$(b)"'),
        ('a"b`c', '"a', '"a\\\\"b\\\\`c"'),
        ("a!b", '"a', '"a"\'!\'"b"'),
        ("a\\b", "a", "'a\\\\b'"),
        ("ab;c", 'a"b', None),
        ("ab;c", "a'b", None),
        ("ab;c", '"a"b', "'ab;c'"),
    ],
)
def test_the_word_for_bash(name: str, typed: str, word: str | None) -> None:
    assert _for_bash(name, typed) == word
