"""Output at a real terminal: no file name can control it or forge lines; JSON is exact."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.program import Program

MARK = "mark"
CONTROLS = (
    *(chr(code) for code in range(1, 32)),
    *(chr(code) for code in range(0x7F, 0xA0)),
    "\x1b[31;41;5m",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]52;c;cGF5bG9hZA==\x07",
    "\x1b]8;;http://127.0.0.1/\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b[6n",
    "\x9b2J",
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad",
    "\u2028\u2029\u0085",
    "[bold red]:boom:[/bold red]",
    "\U000e0041\U000e007f",
)
FORGED = f"x\nmgmt: {MARK} forged"

OURS = re.compile(rb"\x1b\[(\?25[lh]|[0-9]*[AK]|[0-9;]*m)")
"""Sequences that a progress bar uses for the cursor and colours. Some names contain them, too, but followed by MARK,
and those are checked first."""


def at_terminal(program: Program, *arguments: str, typed: bytes = b"") -> bytes:
    """The whole output of a run at a terminal."""
    control, terminal = pty.openpty()
    try:
        os.write(control, typed)
        process = subprocess.Popen(
            program.command(*arguments),
            env={**program.env(), "TERM": "xterm-256color", "PYTHONUTF8": "1"},
            cwd=program.work,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        os.close(terminal)
        seen = b""
        while True:
            select.select([control], [], [])
            try:
                piece = os.read(control, 1 << 16)
            except OSError:  # on Linux, the other end is closed
                break
            if not piece:
                break
            seen += piece
        process.wait(600)
        return seen
    finally:
        os.close(control)


def assert_harmless(seen: bytes, command: str) -> None:
    for raw in CONTROLS:
        if not raw.isascii() or not raw.isprintable():
            assert (raw + MARK).encode() not in seen, (command, raw)
    assert f"\nmgmt: {MARK} forged".encode() not in seen.replace(b"\r", b""), command
    text = OURS.sub(b"", seen).decode()
    harmful = {each for each in text if each not in "\r\n" and not each.isprintable() and each not in "\u2003\u3000"}
    assert not harmful, (command, harmful, seen)


@pytest.fixture
def odd(mgmt: Program) -> Program:
    """A folder with a file of each odd name, and single files with odd names."""
    folder = mgmt.work / "odd"
    folder.mkdir()
    for number, raw in enumerate(CONTROLS):
        (folder / f"{number}{raw.replace('/', '_')}{MARK}").write_text("x")
    (folder / FORGED).write_text("x")
    (folder / "link").symlink_to(f"\x1b[2J{MARK}")
    single = "".join(CONTROLS[:40]).replace("/", "_") + MARK
    for name in (single, FORGED, f"\x1b]0;title\x07{MARK}"):
        (mgmt.work / name).write_text("x")
    return mgmt


@pytest.mark.sqlite
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.torture)])
def test_names_can_neither_control_nor_deceive_a_terminal(odd: Program, figure: Figure, step: int) -> None:
    evil, title = f"\x1b[2J{MARK}", f"\x1b]0;title\x07{MARK}"
    singles = [name for name in os.listdir(odd.work) if name != "odd"]
    runs: list[tuple[bytes, list[str]]] = [
        (b"", ["-v", "upload", "odd", *singles]),
        (b"", ["upload", evil, FORGED, title]),
        (b"", ["ls"]),
        (b"", ["ls", "-l"]),
        (b"", ["ls", "--members", "odd", "--limit", "500"]),
        (b"", ["-o", "csv", "ls", "--members", "odd", "--limit", "500"]),
        (b"", ["-o", "json", "ls", "--members", "odd", "--limit", "500"]),
        (b"0\n", ["search", MARK, "-i", "--limit", "500"]),
        (b"", ["search", evil]),
        (b"", ["status", "odd"]),
        (b"", ["status", str(odd.work / "completed" / FORGED)]),
        (b"", ["log", "-l"]),
        (b"", ["download", "odd", "--member", evil]),
        (b"", ["download", evil]),
        (b"n\n", ["delete", evil]),
        (b"", ["--store", f"file:///nowhere/{evil}", "upload", "odd"]),
        (b"", ["config", "set", "completed_dir", evil]),
        (b"", ["config", "show"]),
        (b"", ["ls", "--sort", evil]),
        (b"", [evil]),
        (b"", ["download", "odd", "--to", f"to{evil}"]),
    ]
    if step > 1:
        runs = [*runs[:1], *runs[4::step]]
    shown = b""
    for typed, arguments in runs:
        seen = at_terminal(odd, *arguments, typed=typed)
        assert b"Traceback" not in seen, seen
        # The terminal itself echoes typed input.
        assert_harmless(seen, " ".join(arguments))
        shown += seen
    for number in range(len(CONTROLS)):
        assert f"odd/{number}".encode() in shown
    figure("security", "odd names at a terminal", tried=len(runs) * len(CONTROLS), violations=0)


def test_json_preserves_names_exactly(odd: Program) -> None:
    names = {os.path.join("odd", name) for name in os.listdir(odd.work / "odd")}
    odd.ok("upload", "odd")
    raw = odd.ok("-o", "json", "ls", "--members", "odd", "--limit", "500")
    assert raw.isascii()
    assert {each["path"] for each in json.loads(raw)} == names | {"odd"}
    lines = odd.ok("-o", "jsonl", "ls", "--members", "odd", "--limit", "500").splitlines()
    assert {json.loads(line)["path"] for line in lines} == names | {"odd"}


def test_completion_omits_names_with_control_characters(mgmt: Program, tmp_path: Path) -> None:
    for name in ("plain", "bidi \u202egnp", "zero\u200bwidth"):
        (mgmt.work / name).write_text(name)
        mgmt.ok("upload", name)
    asked = {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": "mgmt status ", "COMP_CWORD": "2"}
    with replace(mgmt, environment={**mgmt.environment, **asked}).fork() as shell:
        output, _ = shell.communicate()
    assert output.split() == ["plain,plain"]
