"""What `mgmt status` shows to people: a sentence first, then groups; of a batch, what failed."""

import os
import re
import shutil

import pytest

from mgmt.errors import ExitStatus
from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    for name in ("one", "two", "three"):
        (on_directory.work / name).write_text(name)
    on_directory.ok("upload", "one", "--tag", "year=2026")
    return on_directory


def titles(shown: str) -> list[str]:
    """The lines that stand apart and begin a group."""
    return re.findall(r"(?<=\n\n)\w+(?=\n)", shown)


def test_a_file_is_a_sentence_and_four_groups(mgmt: Program) -> None:
    shown = mgmt.ok("status", "one")
    report = mgmt.json("status", "one")
    assert shown.splitlines()[0] == report["sentence"]
    assert report["sentence"].endswith("(" + mgmt.store + ", completed/), last verified today; may be freed")
    assert report["level"] == "safe"
    assert titles(shown) == ["What", "Where", "Proof", "History"]
    for said in ("tags           year=2026", f"{mgmt.store}/one.tar.gz", f"{mgmt.work}/completed/one", "read-back"):
        assert said in shown
    whole = mgmt.ok("status", "-l", "one")
    assert whole.startswith(f"{report['sentence']}\n\nrecord\n")
    for field in report["file"]:
        assert re.search(rf"^{field}\b", whole, re.MULTILINE)


def test_the_answer_of_the_store_goes_before_the_catalog(mgmt: Program) -> None:
    stored = mgmt.home / "store" / "one.tar.gz"
    stored.write_bytes(stored.read_bytes() + b"x")
    for name in ("one", "completed/one"):
        assert mgmt.ok("status", name).startswith("At risk: ")
    assert " bytes, not " in mgmt.json("status", "one")["sentence"]
    os.unlink(stored)
    report = mgmt.json("status", "one")
    assert (report["level"], report["stored"]) == ("at risk", None)
    assert report["sentence"].startswith(
        f"At risk: {mgmt.store}/one.tar.gz is missing from the store (found today); 1 proven copy remains (completed/)"
    )
    assert mgmt.run("verify", "one").returncode == ExitStatus.INTEGRITY
    assert mgmt.json("status", "one")["sentence"] == report["sentence"]
    assert report["sentence"] in mgmt.ok("ls", "-l")
    mgmt.ok("delete", "one", "--yes")
    assert mgmt.json("status", "one.tar.gz")["level"] == "deleted"


def test_free_previews_what_it_would_refuse(mgmt: Program) -> None:
    folder = mgmt.work / "v"
    (folder / "b").mkdir(parents=True)
    for name in ("a.mov", "b/c"):
        (folder / name).write_text(name)
    mgmt.ok("upload", "v", "two")
    copy, stored = mgmt.work / "completed" / "v", mgmt.home / "store" / "two.tar.gz"
    stat = os.stat(copy / "a.mov")
    assert str(copy) in mgmt.ok("free", "-n", "v")
    os.chmod(copy / "a.mov", stat.st_mode)  # only its ctime changes
    assert str(copy) in mgmt.ok("free", "-n", "v")
    (copy / "b" / "c").write_text("edit")
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    assert mgmt.run("verify", "two").returncode == ExitStatus.INTEGRITY
    for name, status in (("v", ExitStatus.REFUSED), ("two", ExitStatus.INTEGRITY)):
        previewed, done = mgmt.run("free", "-n", name), mgmt.run("free", name, "--yes")
        assert (previewed.returncode, done.returncode) == (status, status)
        assert previewed.stderr.splitlines()[0] == done.stderr.splitlines()[0]
    every = mgmt.run("free", "--all", "-n")
    assert every.returncode == ExitStatus.PARTIAL
    assert "completed/one" in every.stdout
    assert "completed/two" not in every.stdout
    shutil.rmtree(copy)
    assert mgmt.run("free", "-n", "v").returncode == mgmt.run("free", "-n", "v").returncode == ExitStatus.NOT_FOUND


@pytest.mark.parametrize("name", ["one", "completed/one"])
def test_a_copy_on_this_host_is_looked_at(mgmt: Program, name: str) -> None:
    copy, alone = mgmt.work / "completed" / "one", f"Safe: 1 proven copy ({mgmt.store})"
    copy.write_text("longer")
    sentence = mgmt.json("status", name)["sentence"]
    assert f"{copy} has 6 bytes, not 3 as archived; to archive it as it is now: run mgmt upload --keep" in sentence
    assert sentence.startswith(alone if name == "one" else "Unproven: ")
    os.unlink(copy)
    sentence = mgmt.json("status", name)["sentence"]
    assert sentence.startswith(alone)
    assert sentence.endswith(f"; {copy} is not there any more")
    copy.mkdir()
    assert f"{copy} is not what was archived; " in mgmt.json("status", name)["sentence"]


def test_an_archive_that_only_the_store_has(mgmt: Program) -> None:
    mgmt.records.remove()
    report = mgmt.json("status", "one.tar.gz")
    assert (report["level"], report["file"]) == ("unproven", None)
    assert report["sentence"] == f"Unproven: {mgmt.store}/one.tar.gz is not in the catalog; run mgmt db rebuild"
    assert mgmt.ok("status", "one.tar.gz").startswith(report["sentence"])


def test_a_list_ends_with_the_sentences(mgmt: Program) -> None:
    header, *rows = mgmt.ok("ls", "-l").splitlines()
    sentence = mgmt.json("status", "one")["sentence"]
    assert header.split()[-1] == "SAFETY"
    assert len(rows) == 2
    assert all(row.endswith(sentence) for row in rows)
    assert "SAFETY" not in mgmt.ok("ls")


def test_a_batch_shows_how_many_ended_how_and_what_failed(mgmt: Program) -> None:
    assert mgmt.run("upload", "two", "three", "missing").returncode == ExitStatus.PARTIAL
    [batch] = mgmt.json("log", "--type", "batch")
    shown = mgmt.ok("status", batch["operation_id"])
    assert "\n3 operations: 2 success, 1 failed\n\nfailed\n" in shown
    assert f"{mgmt.work}/missing" in shown
    assert f"{mgmt.work}/two" not in shown.partition("3 operations:")[2]
    report = mgmt.json("status", batch["operation_id"])
    assert report["statuses"] == {"success": 2, "failed": 1}
    assert [each["target_name"] for each in report["failed"]] == ["missing"]
    assert len(report["children"]) == 3
    whole = mgmt.ok("status", "-l", batch["operation_id"])
    assert all(f"{mgmt.work}/{name}" in whole.partition("\noperations\n")[2] for name in ("two", "three", "missing"))
    one = report["children"][0]["operation_id"]
    assert "operations:" not in mgmt.ok("status", one)
