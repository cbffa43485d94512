"""A spreadsheet never takes a name for a formula, and every CSV reader gets the exact rows."""

import csv
import io
import os

import pytest

from mgmt.cli.render import Renderer, csv_cell
from tests.program import Program

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "＝1", "＋1", "－1", "＠1")
HARMLESS = ("a=1", "1+1", "a-b", "me@host", "", " a", "é", "'=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_escaped(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_unchanged(text: str) -> None:
    assert csv_cell(text) == text


@pytest.mark.parametrize(
    "text", ["a,b", 'a"b', "a\nb", "a\r\nb", "a;b", "a|b", "a\tb", "'", '"', '""', ",", "é,\u2028"]
)
def test_any_text_stays_one_cell(text: str) -> None:
    out = io.StringIO(newline="")
    Renderer("csv", out).many([{"a": text, "b": "=x;=y", "c": [1, "x"]}, {"a": -1, "d": None}], [])
    header, first, second = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert header == ["a", "b", "c", "d"]
    assert first == [text, "'=x;=y", '[1, "x"]', ""]
    assert second == ["-1", "", "", ""]


def test_files_named_like_formulas_are_escaped_in_every_listing(mgmt: Program) -> None:
    folder = mgmt.work / "folder"
    folder.mkdir()
    names = [name.strip("\n") or "x" for name in FORMULAS] + ["=cmd|'!A1;=2", 'a";=1']
    for name in names:
        (folder / name).write_text("x")
        (mgmt.work / name).write_text(name)
    mgmt.ok("upload", "folder", *(os.path.join(".", name) for name in names))
    for arguments in (["ls"], ["ls", "--members", "folder"], ["search", "1"], ["log"]):
        output = mgmt.ok("-o", "csv", *arguments)
        rows = list(csv.reader(io.StringIO(output, newline="")))
        assert len({len(row) for row in rows}) == 1
        for cell in (cell for row in rows for cell in row):
            assert not cell.lstrip().startswith(("=", "+", "@", "＝")) or cell.startswith("'"), cell
