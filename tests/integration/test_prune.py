"""Old operations are exported to a file or the store before they are removed from the catalog."""

import gzip
import hashlib
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Figure
from tests.faults.crash_points import killed_at, points, require_strace
from tests.faults.signal_at import Moment, run_signalled
from tests.program import Program


def make_history(program: Program) -> list[dict[str, Any]]:
    (program.work / "clip").write_bytes(b"a take of the third day\n" * 300)
    program.ok("-q", "upload", "clip")
    for word in ("clip", "nothing"):
        program.ok("search", word)
    program.ok("-q", "download", "clip", "--to", "back")
    assert program.run("upload", "nothing").returncode == 4
    return list(program.json("log"))[::-1]


def operations_in(export: bytes) -> list[str]:
    lines = [json.loads(line) for line in gzip.decompress(export).splitlines()]
    assert list(lines[-1]) == ["end"]
    return [line["operation"]["operations"]["operation_id"] for line in lines if "operation" in line]


def test_prune_exports_to_the_store_and_to_a_file(anywhere: Program) -> None:
    upload, *searches, download, failed = make_history(anywhere)
    report = anywhere.json("db", "prune", "--before", "0s", "-n")
    assert {each["operation_type"]: each["count"] for each in report} == {"download": 1, "search": 2, "upload": 1}
    assert anywhere.json("log")[::-1] == [upload, *searches, download, failed]

    done = anywhere.run("db", "prune", "--before", "0s", "--type", "search")
    assert (done.returncode, "--yes" in done.stderr) == (7, True)
    record = anywhere.json("db", "prune", "--before", "0s", "--type", "search", "--yes")
    assert record["removed_count"] == 2
    assert record["result_path"].startswith(f"{anywhere.store}/.mgmt/history/{record['operation_id']}")
    if anywhere.store.startswith("file:"):
        export = Path(record["result_path"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(export).hexdigest() == record["export_sha256"]
        assert operations_in(export) == [each["operation_id"] for each in searches]
    anywhere.ok("verify", "--all")  # an export in the store is no unknown object

    file = anywhere.work / "old.jsonl.gz"
    record = anywhere.json("db", "prune", "--before", "0s", "--export", file, "--yes")
    assert (record["result_path"], record["export_size"]) == (str(file), file.stat().st_size)
    gone = operations_in(file.read_bytes())
    assert {download["operation_id"], failed["operation_id"]} < set(gone)
    assert upload["operation_id"] not in gone
    assert [each["operation_type"] for each in anywhere.json("log")] == ["prune", "prune", "upload"]

    done = anywhere.run("db", "prune", "--before", "0s", "--type", "search")
    assert (done.returncode, "nothing to prune" in done.stderr) == (0, True)
    report = anywhere.json("audit", "verify")
    assert (report["sound"], report["pruned"], report["operations"]) == (True, 2 + len(gone), 4 + 1 + len(gone))
    assert f"{2 + len(gone)} pruned" in anywhere.ok("audit", "verify")
    anywhere.ok("db", "check")
    anywhere.ok("-q", "download", "clip", "--to", "again")
    assert (anywhere.work / "again/clip").exists()


def test_operations_that_cannot_be_exported_are_kept(on_directory: Program) -> None:
    before = make_history(on_directory)
    there = on_directory.work / "there"
    there.write_text("something else")
    prune = ("db", "prune", "--before", "0s", "--yes")
    for arguments, status in (
        (("--export", there), 10),
        (("--export", on_directory.work / "no folder/old.gz"), 2),
        (("--type", "prune"), 2),
        (("--type", "films"), 2),
    ):
        done = on_directory.run(*prune, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done
    assert there.read_text() == "something else"
    unwritable = Program(on_directory.home, "file:///proc/nothing", catalogs=on_directory.catalogs)
    assert unwritable.run(*prune).returncode == 4
    after = on_directory.json("log")[::-1]
    assert [each["operation_id"] for each in after[: len(before)]] == [each["operation_id"] for each in before]
    assert {(each["operation_type"], each["status"]) for each in after[len(before) :]} == {("prune", "failed")}


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
def test_a_prune_killed_at_any_system_call_loses_no_operation(
    few: bool, tmp_path: Path, on_directory: Program, figure: Figure
) -> None:
    """Either all operations are still in the catalog, or all are in the export and recorded as pruned."""
    require_strace()
    catalogs = on_directory.catalogs
    make_history(on_directory)
    command = ["db", "prune", "--before", "0s", "--export", "old.jsonl.gz", "--yes"]

    def begin(name: str) -> Program:
        home = tmp_path / "homes" / name
        home.mkdir(parents=True)
        catalogs.copy(on_directory.home, home)
        return Program(home, on_directory.store, catalogs=catalogs)

    begin("first").ok(*command)
    tried = points(begin("rehearsed"), command, tmp_path / "log")
    if few:
        tried = random.Random("prune").sample(tried, 6)
    kills = 0
    for number, point in enumerate(tried):
        program = begin(str(number))
        before = {each["operation_id"] for each in program.json("log")}
        if not killed_at(point, program, command):
            continue
        kills += 1
        assert program.json("audit", "verify", "--no-anchors")["sound"], point
        program.ok("db", "check")
        left = {each["operation_id"] for each in program.json("log")}
        export = program.work / "old.jsonl.gz"
        assert before <= left or before - left == set(operations_in(export.read_bytes())) & before, point
        program.ok("recover")
        export.unlink(missing_ok=True)
        program.ok(*command)
        assert program.json("audit", "verify", "--no-anchors")["sound"], point
        assert sorted(path.name for path in program.work.iterdir()) == ["old.jsonl.gz"], point
        catalogs.forget(program.home)
    assert kills > len(tried) // 2
    figure("5", "kills at each system call: db prune", tried=kills, violations=0)


MOMENTS = (
    Moment("export"),
    Moment("read_export", "return"),
    Moment("remove"),
    Moment("remove", "return"),
    Moment("Journal.close", "return"),
)


@pytest.mark.parametrize("at", MOMENTS, ids=str)
def test_a_prune_interrupted_by_ctrl_c_loses_no_operation(at: Moment, on_directory: Program) -> None:
    before = {each["operation_id"] for each in make_history(on_directory)}
    there = set(on_directory.work.iterdir())
    command = ["db", "prune", "--before", "0s", "--export", "old.jsonl.gz", "--yes"]
    done = run_signalled(on_directory, command, at, signal.SIGINT)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    left = {each["operation_id"] for each in on_directory.json("log")}
    export = on_directory.work / "old.jsonl.gz"
    assert before <= left or before - left == set(operations_in(export.read_bytes())) & before
    assert on_directory.json("audit", "verify")["sound"]
    on_directory.ok("db", "check")
    export.unlink(missing_ok=True)
    assert set(on_directory.work.iterdir()) == there
    on_directory.ok(*command)
    assert len(on_directory.json("log")) < len(left)
    assert on_directory.json("audit", "verify")["sound"]
