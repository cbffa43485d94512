"""Starting up imports little and opens nothing."""

import subprocess
import sys

import pytest

from tests.program import Program

HEAVY = (
    "sqlalchemy", "alembic", "boto3", "botocore", "rich", "tabulate", "wcwidth", "awscrt", "isal", "platformdirs",
    "tomlkit", "tomllib", "tempfile", "asyncio", "subprocess", "mgmt.catalog", "mgmt.services", "mgmt.archive",
    "mgmt.storage",
)  # fmt: skip


@pytest.mark.sqlite
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["upload", "--help"], ["db", "--help"]], ids=" ".join)
def test_help_imports_no_heavy_module_and_opens_nothing(mgmt: Program, arguments: list[str]) -> None:
    program = (
        "import sys, socket\n"
        "def refuse(event, arguments):\n"
        "    if event.startswith(('socket.', 'sqlite3.')): raise SystemExit(f'opened: {event}')\n"
        "sys.addaudithook(refuse)\n"
        "from mgmt import cli\n"
        f"assert cli.run({arguments!r}) == 0\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=mgmt.env(), capture_output=True, text=True, check=False, cwd=mgmt.work
    )
    assert done.returncode == 0, done.stderr
    assert not mgmt.catalog.exists()
    assert done.stdout


@pytest.mark.sqlite
@pytest.mark.parametrize("arguments", [["ls"], ["log"], ["search", "clip"]], ids=" ".join)
def test_reading_the_catalog_imports_neither_store_nor_archive(mgmt: Program, arguments: list[str]) -> None:
    (mgmt.work / "clip").write_text("clip")
    mgmt.ok("upload", "clip")
    unused = ("alembic", "boto3", "botocore", "awscrt", "isal", "rich", "psycopg", "mgmt.archive", "mgmt.storage.s3")
    program = (
        "import sys\n"
        "from mgmt import cli\n"
        f"assert cli.run({arguments!r}) == 0\n"
        f"found = [name for name in {unused!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=mgmt.env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "clip" in done.stdout


@pytest.mark.sqlite
def test_the_version_is_printed_without_importing_click(mgmt: Program) -> None:
    program = "import sys\nfrom mgmt.__main__ import main\nmain()\nassert 'click' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], env=mgmt.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == mgmt.ok("--version")


@pytest.mark.sqlite
def test_a_version_that_cannot_be_printed_is_an_error(mgmt: Program) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(mgmt.command("--version"), env=mgmt.env(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("mgmt: No space left on device\n")
