"""The examples of the README print what it shows."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.program import Program

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
_CHANGING = (
    (r"/\S*/work/", "/home/me/Videos/"),
    (r"sha256:[0-9a-f]{64}", "sha256:…"),
    (r"sha256:[0-9a-f]{12}…", "sha256:…"),
    (r"(?<=…  ).*(?=\n)", "PROOF"),
    (r"just now|\d+ s ago", "TIME"),
    (r" +", " "),
)


def examples() -> list[tuple[str, str]]:
    """Each command of "Five minutes" with the output that is shown."""
    section = README.partition("## Five minutes")[2].partition("\n## ")[0]
    blocks = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    return [
        (command, shown.strip("\n"))
        for command, shown in re.findall(r"^\$ mgmt (.*)\n((?:(?!\$ ).*\n?)*)", blocks, re.M)
    ]


def plain(text: str) -> str:
    for pattern, replacement in _CHANGING:
        text = re.sub(pattern, replacement, text)
    return text.strip()


@pytest.mark.sqlite
def test_the_examples_print_what_the_readme_shows(on_directory: Program) -> None:
    mgmt = on_directory
    beach = mgmt.work / "holiday" / "beach"
    beach.mkdir(parents=True)
    for number in range(1, 4):
        (beach / f"IMG_000{number}.jpg").write_bytes(os.urandom(3_000_000))
    (mgmt.work / "interview.mov").write_bytes(os.urandom(40_000_000))
    seen = []
    for command, shown in examples():
        words = shlex.split(command)
        seen.append(words[0])
        if words[:2] == ["config", "set"]:
            continue
        done = mgmt.run(*words, *(["--yes"] if words[0] == "free" else []))
        assert done.returncode == 0, done.stderr
        if shown:
            question = re.compile(r"Remove .*\? \[y/N\]: y\n")
            assert plain(done.stdout) == plain(question.sub("", shown))
    assert seen == ["config", "upload", "search", "download", "status", "free"]
