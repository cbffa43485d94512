"""Output is safe for terminals and spreadsheets, and exact for programs."""

import csv
import io
import json

import pytest

from mgmt.cli.render import Column, Renderer, csv_cell
from tests.program import Program


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_csv_cell_is_never_a_formula(start: str) -> None:
    assert csv_cell(f"{start}1+1").startswith("'")
    assert csv_cell(-1) == "-1"


def test_jsonl_prints_each_line_at_once() -> None:
    out = io.StringIO()
    seen = []

    def items() -> object:
        for number in range(3):
            seen.append(len(out.getvalue().splitlines()))
            yield {"type": "x", "number": number}

    Renderer("jsonl", out).many(items(), [Column("NUMBER", "number")])  # type: ignore[arg-type]
    assert seen == [0, 1, 2]
    assert [json.loads(line)["number"] for line in out.getvalue().splitlines()] == [0, 1, 2]


def test_odd_names_are_safe_in_tables_and_exact_in_json(mgmt: Program) -> None:
    import os

    name = os.fsdecode(b"=odd \xff\x1b[31m")
    (mgmt.work / name).write_text("x")
    mgmt.ok("upload", name)
    assert "\x1b" not in mgmt.ok("ls")
    assert name in [each["name"] for each in mgmt.json("ls")]
    rows = list(csv.DictReader(io.StringIO(mgmt.ok("-o", "csv", "ls", "--location", "completed"))))
    assert [row["name"][:5] for row in rows] == ["'=odd"]
    lines = [json.loads(line) for line in mgmt.ok("-o", "jsonl", "ls").splitlines()]
    assert {line["type"] for line in lines} == {"file"}


def test_the_results_of_several_commands_are_one_document(mgmt: Program) -> None:
    for name in ("a", "b"):
        assert mgmt.run("upload", name, "--key", name).returncode == 4
        (mgmt.work / name).write_text(name)
    found = mgmt.json("retry", "--failed")
    assert [each["s3_object_key"] for each in found] == ["a", "b"]
    requests = [each["operation_id"] for name in ("a", "b") for each in mgmt.json("verify", name, "--later")]
    assert [each["operation_id"] for each in mgmt.json("run", *requests)] == requests
    replayed = mgmt.ok("-o", "csv", "run", *requests)
    assert replayed == ""
    assert mgmt.run("upload", "missing", "--key", "c").returncode == 4
    assert mgmt.run("upload", "gone", "--key", "d").returncode == 4
    (mgmt.work / "missing").write_text("there")
    done = mgmt.run("-o", "csv", "retry", "--failed")
    assert done.returncode == 3, done
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [each["status"] for each in rows] == ["success", "failed"]
