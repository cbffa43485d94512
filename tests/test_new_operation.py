"""The blocks of docs/new-operation.md, applied to a copy of the tree, pass the linters and make a working command."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.program import Program

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "new-operation.md").read_text("utf-8")
HEADING = re.compile(r"^## [^`\n]*`([^`\n]+\.(?:py|toml))`\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def edited(content: str, diff: str) -> str:
    """`content` with a diff applied; its old lines must occur in it exactly once."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert content.count(old) == 1, f"{content.count(old)} times in the file:\n{old}"
    return content.replace(old, new)


def apply(tree: Path) -> Mapping[str, bool]:
    """Apply every block to its file; returns, for each changed file, whether it is new."""
    changed = {}
    for path, section in HEADING.findall(PAGE):
        file = tree / path
        changed[path] = not file.exists()
        for kind, block in BLOCK.findall(section):
            content = file.read_text("utf-8") if file.exists() else ""
            appended = f"{content}\n\n{block}" if content else block
            file.write_text(edited(content, block) if kind == "diff" else appended, "utf-8")
    return changed


@dataclass(frozen=True)
class Tree:
    """A copy of the code, and for each file that the page changes, whether it is new."""

    path: Path
    changed: Mapping[str, bool]

    def lint(self, *command: str) -> None:
        """Run a linter on the changed files."""
        command = (sys.executable, "-m", *command, *(path for path in self.changed if path.endswith(".py")))
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy of the code, with the blocks applied."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("mgmt", "migrations"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", copy)
    if (ROOT / ".mypy_cache").is_dir():  # after `make lint` mypy takes seconds
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    return Tree(copy, apply(copy))


def test_the_page_states_the_right_number_of_files(tree: Tree) -> None:
    numbers = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
    new, edits = re.findall(r"needs (\w+) new files .*? edits of (\w+) others", PAGE, re.DOTALL)[0]
    assert sum(tree.changed.values()) == numbers[new]
    assert len(tree.changed) - sum(tree.changed.values()) == numbers[edits]


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_the_blocks_pass_the_linters(command: tuple[str, ...], tree: Tree) -> None:
    tree.lint(*command)


def test_the_new_module_keeps_the_import_contracts(tree: Tree) -> None:
    lint = [os.fspath(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(lint, cwd=tree.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_new_command_works(tree: Tree, tmp_path: Path) -> None:
    """On a catalog created by the released code."""
    program = Program(tmp_path, f"file://{tmp_path / 'store'}", {"PYTHONPATH": os.fspath(tree.path)})
    (program.work / "holiday").mkdir()
    (program.work / "holiday" / "whale.txt").write_text("a whale", "utf-8")
    program.ok("upload", program.work / "holiday")  # by the released code, in this process

    def run(*arguments: str, status: int = 0) -> str:
        done = program.run_process(*arguments)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "mgmt db upgrade" in run("note", "holiday", "x", status=12)
    run("db", "upgrade")
    run("db", "check")
    assert "the one with the whale" in run("note", "holiday", "the one with the whale")
    run("note", "nothing", "x", status=4)
    failed, note = json.loads(run("-q", "-o", "json", "log", "--type", "note"))
    assert (failed["status"], note["status"], note["s3_object_key"]) == ("failed", "success", "holiday.tar.gz")
    assert "contains notes" in run("db", "downgrade", "0011", status=12)
