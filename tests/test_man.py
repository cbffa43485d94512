"""The manual pages are those of the commands as they are now, and the system shows them."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest

from manual.man import FOLDER, page_name, pages, write
from tests.commands import ALL, spelled

ROOT = Path(__file__).resolve().parent.parent
TOOL = shutil.which("groff")


def shown(text: str) -> str:
    """A page without the marks of roff."""
    return re.sub(r"\\f[BRI]|\\&", "", text).replace("\\-", "-").replace("\\e", "\\").replace("\\(ti", "~")


def test_the_pages_are_not_stale() -> None:
    there = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert there == pages(), "run `make man`"


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_command_has_a_page_with_each_option(path: tuple[str, ...]) -> None:
    text = pages()[f"{page_name(path)}.1"]
    if alias := re.fullmatch(r"\.so man1/(.*)\n", text):
        text = pages()[alias[1]]
    options = {line for line in shown(text).splitlines() if line.startswith("-")}
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert any(re.search(rf"(^|[ /]){re.escape(name)}([ ,/]|$)", line) for line in options), name
    assert ".SH NAME" in text
    assert ".SH EXAMPLES" in text
    assert "\b" not in text


def test_a_page_of_a_command_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mgmt-gone.1").write_text("gone")
    (tmp_path / "note").write_text("mine")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*pages(), "note"}


@pytest.mark.skipif(TOOL is None, reason="there is no groff")
def test_the_system_formats_each_page_without_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "man1")
    paths = sorted(map(str, (tmp_path / "man1").glob("*.1")))
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", *paths], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    for words in ("mgmt-db-backup - ", "List operations, newest first.", "mgmt upload ~/Videos/holiday"):
        assert words in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).replace("\u2010", "-").replace("\u2212", "-")


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")
def test_the_wheel_has_them(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition("/share/man/man1/")[2] for name in archive.namelist()} - {""}
    assert names == set(pages())
