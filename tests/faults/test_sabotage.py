"""A test that cannot fail is none: each sabotage of mgmt has to be noticed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.faults.sabotage import SABOTAGES, Sabotage

ROOT = Path(__file__).parents[2]
NEEDED = ("mgmt", "migrations", "tests", "pyproject.toml", "alembic.ini")
PASSED, FAILED = 0, 1
# The project is installed where it is being worked on: that the copy is what is tried has to be seen.
RUN = """
import sys, mgmt, pytest
assert mgmt.__file__.startswith(sys.argv[1] + "/"), mgmt.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""


def copied(to: Path) -> Path:
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)
    return to


ON_A_SERVER = "tests/faults/test_lost_connections.py"
"""What is noticed there is noticed with PostgreSQL alone; all else is tried with SQLite, which is quicker."""


def tried(copy: Path, tests: Iterable[str]) -> "subprocess.CompletedProcess[str]":
    """pytest on the copy; its exit status tells a test that failed from one that is not there."""
    tests = list(dict.fromkeys(tests))
    on_a_server = any(each.startswith(ON_A_SERVER) for each in tests)
    marks = "not torture and not hours" if on_a_server else "not postgresql"
    options = ["-q", "-x", "-m", marks, "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "MGMT_"))}
    return subprocess.run(
        [sys.executable, "-c", RUN, str(copy), *options, *tests],
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def convict(copy: Path, sabotage: Sabotage) -> None:
    path = copy / sabotage.module
    text = path.read_text()
    assert text.count(sabotage.old) == 1, f"{sabotage.module} is no longer what this change was made for"
    path.write_text(text.replace(sabotage.old, sabotage.new))
    done = tried(copy, sabotage.tests)
    path.write_text(text)
    assert done.returncode == FAILED, f"nobody noticed: {sabotage.name}\n{done.stdout}"


def parameters(*, quick: bool) -> list[object]:
    return [pytest.param(each, id=each.name.replace(" ", "-")) for each in SABOTAGES if each.quick == quick]


@pytest.mark.parametrize("sabotage", parameters(quick=True))
def test_it_is_noticed(tmp_path: Path, sabotage: Sabotage, figure: Figure) -> None:
    convict(copied(tmp_path), sabotage)
    figure("tests", "changes that break a promise and must be noticed", tried=1, violations=0)


@pytest.mark.torture
@pytest.mark.parametrize("sabotage", parameters(quick=False))
def test_it_is_noticed_too(tmp_path: Path, sabotage: Sabotage, figure: Figure) -> None:
    convict(copied(tmp_path), sabotage)
    figure("tests", "changes that break a promise and must be noticed", tried=1, violations=0)


def test_what_is_not_sabotaged_passes(tmp_path: Path) -> None:
    done = tried(copied(tmp_path), [test for each in SABOTAGES if each.quick for test in each.tests])
    assert done.returncode == PASSED, done.stdout


@pytest.mark.torture
def test_all_of_them_pass_without_sabotage(tmp_path: Path) -> None:
    done = tried(copied(tmp_path), [test for each in SABOTAGES for test in each.tests])
    assert done.returncode == PASSED, done.stdout
