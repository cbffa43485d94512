"""The terminal session in the README is what the commands print today."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from manual.session import COMMANDS, FILE

ROOT = Path(__file__).resolve().parent.parent
_BY_COMPRESSOR = re.compile(r"[0-9a-f]{64}|crc64nvme:\S+")


def lines(svg: str) -> list[str]:
    """The text of the picture, line by line, without checksums."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if "y" in text.attrib and "textLength" in text.attrib:
            rows.setdefault(float(text.attrib["y"]), []).append((float(text.attrib["x"]), text.text or ""))
    found = ["".join(part for _, part in sorted(rows[y])).replace("\xa0", " ").rstrip() for y in sorted(rows)]
    return [_BY_COMPRESSOR.sub("CHECKSUM", line) for line in found]


@pytest.mark.sqlite
@pytest.mark.skipif(not os.access("/tmp", os.W_OK) or os.path.islink("/tmp"), reason="its paths are below /tmp")
def test_the_picture_is_what_the_commands_print_today(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "manual.session", tmp_path / "session.svg"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert lines((tmp_path / "session.svg").read_text("utf-8")) == lines(FILE.read_text("utf-8")), "run `make session`"


def test_it_is_small_and_asks_nothing_of_the_network() -> None:
    svg = FILE.read_text("utf-8")
    assert len(svg) < 60_000
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", svg)
    assert not re.search(r"href|@import|<image", svg)
    assert "<script" not in svg
    assert [line.removeprefix("$ ") for line in lines(svg) if line.startswith("$ ")] == list(COMMANDS)


def test_the_readme_shows_it() -> None:
    assert re.search(r"!\[[^]]{20,}\]\(docs/images/session\.svg\)", (ROOT / "README.md").read_text("utf-8"))
