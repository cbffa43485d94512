"""`mgmt report --html`: a page of what the catalog has, written aside, which replaces a page and nothing else."""

import errno
import json
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mgmt.archive import rename_noreplace
from tests.cli.test_imports import imported
from tests.program import Program


@pytest.fixture
def used(mgmt: Program) -> Program:
    """Two archives with tags, and a failure."""
    for name in ("clip", "<script>alert(1)<script>"):
        (mgmt.work / name).write_text(name)
        mgmt.ok("upload", name, "--tag", f"name={name}")
    assert mgmt.run("upload", "missing").returncode != 0
    return mgmt


def data(page: str, name: str) -> Any:
    """What a page has for its scripts."""
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])


def test_the_page_has_the_figures_of_the_report_and_lists_what_there_is(used: Program) -> None:
    report = json.loads(used.ok("-o", "json", "report"))
    page = used.ok("report", "--html", "-")
    count, size = used.records.rows("SELECT count(*), sum(size) FROM files WHERE location = 's3'")[0]
    assert (report["total"]["archives"], report["total"]["size"]) == (count, size) == (2, size)
    assert f"<h1>2 archives, {size} B; " in page
    archives = data(page, "archives")
    assert [row[0] for row in archives["rows"]] == ["<script>alert(1)<script>.tar.gz", "clip.tar.gz"]
    assert [row[7] for row in archives["rows"]] == ["name=<script>alert(1)<script>", "name=clip"]
    assert archives["stores"] == [used.store]
    operations = data(page, "operations")
    [month] = operations["months"].values()
    total, failed = used.records.rows(
        "SELECT count(*), sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) FROM operations"
    )[0]
    assert month["operations"] == total
    assert len(month["rows"]) == total
    assert [row[2] for row in month["rows"]] == ["failed"] * failed + ["success"] * (total - failed)
    [(failure,)] = used.records.rows("SELECT operation_id FROM operations WHERE status = 'failed'")
    assert month["rows"][0][6] == failure
    assert "<script>alert" not in page


def test_the_command_of_a_month_lists_its_operations(used: Program) -> None:
    """Months are those of UTC, whatever the time zone of this machine is."""
    before = used.ok("-o", "json", "log")
    [month] = data(used.ok("report", "--html", "-"), "operations")["months"].values()
    command = month["command"].split()
    assert command[0] == "mgmt"
    assert used.ok("-o", "json", *command[1:]) == before


def test_only_so_many_archives_are_listed_the_newest(used: Program) -> None:
    page = used.ok("report", "--html", "-", "--archives", "1")
    assert [row[0] for row in data(page, "archives")["rows"]] == ["<script>alert(1)<script>.tar.gz"]
    assert "The newest 1 of 2." in page
    assert "mgmt report --html FILE --archives 2" in page
    assert data(used.ok("report", "--html", "-", "--archives", "0"), "archives")["rows"] == []


def test_a_deleted_archive_is_not_listed(used: Program) -> None:
    used.ok("delete", "--last-copy", "clip", "--yes")
    page = used.ok("report", "--html", "-")
    assert [row[0] for row in data(page, "archives")["rows"]] == ["<script>alert(1)<script>.tar.gz"]


def test_an_empty_catalog_has_a_page(mgmt: Program) -> None:
    assert "Nothing is archived yet." in mgmt.ok("report", "--html", "-")


def test_a_page_is_replaced_and_keeps_its_mode(used: Program) -> None:
    file = used.work / "report.html"
    done = used.ok("report", "--html", "report.html")
    assert done.startswith(f"written   {file}  ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o4755)  # what makes it executable does not stay
    before = file.read_text("utf-8")
    used.ok("delete", "--last-copy", "clip", "--yes")
    assert json.loads(used.ok("-o", "json", "report", "--html", "report.html")) == {
        "type": "page", "file": str(file), "size": file.stat().st_size,
    }  # fmt: skip
    assert file.read_text("utf-8") != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(each.name for each in used.work.iterdir() if "html" in each.name) == ["report.html"]


@pytest.mark.sqlite
@pytest.mark.parametrize("there", ["text", "empty", "folder", "pipe", "another page", "notes"])
def test_nothing_but_a_page_is_replaced(mgmt: Program, there: str) -> None:
    file = mgmt.work / "there"
    match there:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "another page":
            file.write_text('<!doctype html><meta name="generator" content="Hugo">')
        case "notes":
            file.write_text('About <meta name="generator" content="mgmt 1">')
        case _:
            file.write_text("mine" if there == "text" else "")
    before = file.lstat()
    done = mgmt.run("report", "--html", "there")
    assert done.returncode == (2 if there == "folder" else 10), done
    after = file.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert [each.name for each in mgmt.work.iterdir()] == ["there"]


@pytest.mark.sqlite
def test_a_link_is_not_followed_and_stays(mgmt: Program) -> None:
    (mgmt.home / "www").mkdir()
    page = mgmt.home / "www" / "index.html"
    (mgmt.work / "report.html").symlink_to(page)
    for there in (False, True):
        assert mgmt.run("report", "--html", "report.html").returncode == 10
        assert (mgmt.work / "report.html").is_symlink()
        assert page.exists() is there
        mgmt.ok("report", "--html", page)


@pytest.mark.sqlite
@pytest.mark.parametrize("other", ["a page", "a letter"])
def test_what_appears_meanwhile_is_replaced_only_if_it_is_a_page(
    mgmt: Program, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """As it is if another report is written to the same file at once."""
    page = mgmt.ok("report", "--html", "-") if other == "a page" else other
    file = mgmt.work / "report.html"

    def late(source: str, destination: str, **folders: int) -> None:
        file.write_text(page, "utf-8")
        rename_noreplace(source, destination, **folders)

    monkeypatch.setattr("mgmt.services.steps.own_files.rename_noreplace", late)
    done = mgmt.run("report", "--html", "report.html")
    assert done.returncode == (0 if other == "a page" else 10)
    assert (file.read_text("utf-8") == page) is (other != "a page")
    assert [each.name for each in mgmt.work.iterdir()] == ["report.html"]


@pytest.mark.sqlite
def test_a_full_disk_leaves_the_page_that_was_there(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    mgmt.ok("report", "--html", "report.html")
    before = (mgmt.work / "report.html").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mgmt.services.steps.own_files.os.fsync", full)
    done = mgmt.run("report", "--html", "report.html")
    assert done.returncode == 2
    assert "report.html cannot be written: No space left on device" in done.stderr
    assert (mgmt.work / "report.html").read_bytes() == before
    assert [each.name for each in mgmt.work.iterdir()] == ["report.html"]


@pytest.mark.sqlite
def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(mgmt: Program) -> None:
    done = mgmt.run("report", "--html", "none/report.html")
    assert done.returncode == 2
    assert f"{mgmt.work}/none/report.html cannot be written: No such file or directory" in done.stderr


@pytest.mark.sqlite
def test_pages_are_imported_only_for_a_page(used: Program, tmp_path: Path) -> None:
    assert "jinja2" not in imported(used, "report")
    assert "jinja2" in imported(used, "report", "--html", str(tmp_path / "page.html"))


def test_a_period_limits_the_operations_of_the_page(used: Program) -> None:
    page = used.ok("report", "--html", "-", "--until", "2020-01-01")
    assert data(page, "operations")["months"] == {}
    now = datetime.now(UTC)
    page = used.ok("report", "--html", "-", "--since", now.isoformat())
    assert all(month["rows"] == [] for month in data(page, "operations")["months"].values())
    assert f"operations since {now:%Y-%m-%d}" in page
