"""The source distribution holds the whole tree, so that its tests run from it; a wheel has what a page is made of."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout")
def test_the_sdist_contains_every_tracked_file(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )

    (sdist,) = tmp_path.glob("mgmt_archive-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    assert tracked - held == set()
    assert {name for name in held - tracked if "__pycache__" in name or name.startswith(".venv")} == set()


def test_a_wheel_contains_the_templates_style_sheet_and_scripts_of_pages(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("mgmt_archive-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    parts = {
        str(each.relative_to(ROOT)) for name in ("pages", "assets") for each in (ROOT / "mgmt/web" / name).iterdir()
    }
    assert len(parts) >= 7
    assert parts - held == set()
