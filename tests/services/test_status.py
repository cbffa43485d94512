"""What is known about a file: of a copy, the archive that it is a copy of."""

import os

import pytest

from mgmt.errors import ExitStatus
from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "holiday").mkdir()
    (on_directory.work / "holiday" / "one").write_text("1")
    on_directory.ok("upload", "holiday")
    return on_directory


def test_a_completed_copy_is_shown_with_its_archive(mgmt: Program) -> None:
    report = mgmt.json("status", "completed/holiday")
    assert report["file"]["location"] == "completed"
    assert (report["stored"]["key"], report["problem"], report["members"]) == ("holiday.tar.gz", None, 2)
    assert [each["path"] for each in report["archives"]] == ["holiday.tar.gz"]
    shown = mgmt.ok("status", "completed/holiday")
    assert "\nWhere\n" in shown
    assert f"{mgmt.store}/holiday.tar.gz" in shown
    assert "neither" not in shown


def test_the_archive_of_its_own_upload_comes_first(mgmt: Program) -> None:
    mgmt.ok("upload", "completed/holiday", "--key", "second.tar.gz", "--keep")
    mgmt.ok("download", "second.tar.gz")
    report = mgmt.json("status", "completed/holiday")
    assert [each["path"] for each in report["archives"]] == ["second.tar.gz", "holiday.tar.gz"]


def test_a_copy_whose_archive_is_gone_says_so(mgmt: Program) -> None:
    os.unlink(mgmt.home / "store" / "holiday.tar.gz")
    report = mgmt.json("status", "completed/holiday")
    assert report["stored"] is None
    assert "missing from the store" in report["problem"]
    mgmt.ok("delete", "holiday", "--yes", "--last-copy")
    report = mgmt.json("status", "completed/holiday")
    assert (report["archives"], report["problem"]) == ([], "no archive of this content is known")


def test_an_archive_is_shown_as_before(mgmt: Program) -> None:
    report = mgmt.json("status", "holiday")
    assert (report["file"]["location"], report["stored"]["key"], report["archives"]) == ("s3", "holiday.tar.gz", [])


def test_what_failed_is_in_the_history_of_an_archive(mgmt: Program) -> None:
    object_ = mgmt.home / "store" / "holiday.tar.gz"
    object_.write_bytes(object_.read_bytes()[:-1] + b"x")
    assert mgmt.run("verify", "--read-back", "holiday").returncode == ExitStatus.INTEGRITY
    assert mgmt.run("download", "holiday", "--to", "back").returncode == ExitStatus.INTEGRITY
    history = [(each["operation_type"], each["status"]) for each in mgmt.json("status", "holiday")["history"]]
    assert history == [("download", "failed"), ("verify", "failed"), ("upload", "success")]
    assert "verify" in mgmt.ok("status", "holiday")
