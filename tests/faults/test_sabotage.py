"""Each sabotage of mgmt must make a test fail."""

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
# The project is installed in editable mode: make sure that the copy is tested.
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


NEEDS_POSTGRESQL = "tests/faults/test_lost_connections.py"
"""Tests that need PostgreSQL; all others run with SQLite, which is faster."""


def run_tests(copy: Path, tests: Iterable[str]) -> "subprocess.CompletedProcess[str]":
    """Run pytest on the copy; its exit status distinguishes a failed test from a missing one."""
    tests = list(dict.fromkeys(tests))
    needs_postgresql = any(each.startswith(NEEDS_POSTGRESQL) for each in tests)
    marks = "not torture and not hours" if needs_postgresql else "not postgresql"
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


def assert_detected(copy: Path, sabotage: Sabotage) -> None:
    path = copy / sabotage.module
    text = path.read_text()
    assert text.count(sabotage.old) == 1, f"{sabotage.module} has changed: adapt the sabotage"
    path.write_text(text.replace(sabotage.old, sabotage.new))
    done = run_tests(copy, sabotage.tests)
    path.write_text(text)
    assert done.returncode == FAILED, f"no test failed: {sabotage.name}\n{done.stdout}"


def parameters(*, quick: bool) -> list[object]:
    return [pytest.param(each, id=each.name.replace(" ", "-")) for each in SABOTAGES if each.quick == quick]


def test_each_sabotage_is_of_code_that_there_is() -> None:
    """So that it is adapted with the code, not when all of them are tried."""
    counts = {each.name: (ROOT / each.module).read_text().count(each.old) for each in SABOTAGES}
    assert set(counts.values()) == {1}, counts


@pytest.mark.parametrize("sabotage", parameters(quick=True))
def test_a_quick_sabotage_makes_a_test_fail(tmp_path: Path, sabotage: Sabotage, figure: Figure) -> None:
    assert_detected(copied(tmp_path), sabotage)
    figure("tests", "sabotages that must make a test fail", tried=1, violations=0)


@pytest.mark.torture
@pytest.mark.parametrize("sabotage", parameters(quick=False))
def test_every_sabotage_makes_a_test_fail(tmp_path: Path, sabotage: Sabotage, figure: Figure) -> None:
    assert_detected(copied(tmp_path), sabotage)
    figure("tests", "sabotages that must make a test fail", tried=1, violations=0)


def test_the_quick_tests_pass_without_sabotage(tmp_path: Path) -> None:
    done = run_tests(copied(tmp_path), [test for each in SABOTAGES if each.quick for test in each.tests])
    assert done.returncode == PASSED, done.stdout


@pytest.mark.torture
def test_all_tests_pass_without_sabotage(tmp_path: Path) -> None:
    done = run_tests(copied(tmp_path), [test for each in SABOTAGES for test in each.tests])
    assert done.returncode == PASSED, done.stdout
