"""`mgmt upload`: which targets it takes, and what its dry run says."""

import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mgmt.catalog import UploadRecord, open_catalog
from mgmt.services.steps.local_files import claim
from tests.moments import killed
from tests.program import Program

Situation = Callable[[Program], list[str]]


def contents(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*"))


def folder(mgmt: Program) -> Path:
    path = mgmt.work / "photos"
    path.mkdir()
    (path / "one.jpg").write_text("one")
    (path / "two.tmp").write_text("two")
    return path


def new(mgmt: Program) -> list[str]:
    folder(mgmt)
    return ["photos"]


def excluded(mgmt: Program) -> list[str]:
    folder(mgmt)
    return ["photos", "--exclude", "*.tmp"]


def with_a_fifo(mgmt: Program) -> list[str]:
    os.mkfifo(folder(mgmt) / "fifo")
    return ["photos"]


def taken(mgmt: Program) -> list[str]:
    (mgmt.work / "photos").write_text("another")
    mgmt.ok("upload", "photos")
    folder(mgmt)
    return ["photos"]


def taken_skip(mgmt: Program) -> list[str]:
    return [*taken(mgmt), "--on-conflict", "skip"]


def taken_rename(mgmt: Program) -> list[str]:
    return [*taken(mgmt), "--on-conflict", "rename"]


def archived_before(mgmt: Program) -> list[str]:
    folder(mgmt)
    mgmt.ok("upload", "photos", "--keep")
    return ["photos"]


def archived_before_and_excluded(mgmt: Program) -> list[str]:
    folder(mgmt)
    assert mgmt.run("upload", "photos", "--exclude", "*.tmp").returncode == 3
    return ["photos", "--exclude", "*.tmp"]


def taken_by_something_else(mgmt: Program) -> list[str]:
    folder(mgmt)
    (mgmt.home / "store" / "photos.tar.gz").write_bytes(b"no archive")
    return ["photos"]


def finished(mgmt: Program) -> list[str]:
    folder(mgmt)
    mgmt.ok("upload", "photos")
    return ["photos"]


def missing(_: Program) -> list[str]:
    return ["missing"]


def everything_with_a_fifo(mgmt: Program) -> list[str]:
    folder(mgmt)
    os.mkfifo(mgmt.work / "fifo")
    return ["--all"]


def of_each_kind(mgmt: Program) -> list[str]:
    return [*taken(mgmt), "missing", "notes", "completed/photos"]


def twins(mgmt: Program, *contents: str) -> list[str]:
    """Files of one name with these contents, and so of one key."""
    for number, content in enumerate(contents):
        (mgmt.work / str(number)).mkdir()
        (mgmt.work / str(number) / "twin").write_text(content)
    return [f"{number}/twin" for number in range(len(contents))]


def one_key_same_contents(mgmt: Program) -> list[str]:
    return twins(mgmt, "a", "a")


def one_key_other_contents(mgmt: Program) -> list[str]:
    return twins(mgmt, "a", "b", "a")


def one_key_skip(mgmt: Program) -> list[str]:
    return [*twins(mgmt, "a", "b", "a"), "--on-conflict", "skip"]


def one_key_rename(mgmt: Program) -> list[str]:
    return [*twins(mgmt, "a", "b", "a", "b", "c"), "--on-conflict", "rename"]


def one_place_for_all(mgmt: Program) -> list[str]:
    mgmt.environment = {"MGMT_COMPLETED_DIR": str(mgmt.home / "done")}
    return twins(mgmt, "a", "a", "a")


def _killed_at(at: str, *, after: bool = False) -> Situation:
    def before(mgmt: Program) -> list[str]:
        folder(mgmt)
        killed(mgmt, "upload", "photos", at=at, after=after)
        return ["photos"]

    before.__name__ = f"killed_{'after' if after else 'before'}_{at.rpartition('.')[2]}"
    return before


unmoved = _killed_at("mgmt.services.upload.finish_upload")
moved = _killed_at("mgmt.services.steps.move_original.move", after=True)


def unmoved_keep(mgmt: Program) -> list[str]:
    return [*unmoved(mgmt), "--keep"]


def unmoved_tagged(mgmt: Program) -> list[str]:
    return [*unmoved(mgmt), "--tag", "year=2026"]


def unmoved_changed(mgmt: Program) -> list[str]:
    words = unmoved(mgmt)
    (mgmt.work / "photos" / "one.jpg").write_text("changed")
    return words


def unmoved_archive_gone(mgmt: Program) -> list[str]:
    words = unmoved(mgmt)
    (mgmt.home / "store" / "photos.tar.gz").unlink()
    return words


def moved_and_replaced(mgmt: Program) -> list[str]:
    words = moved(mgmt)
    (mgmt.work / "photos").write_text("another")
    return words


def moved_and_lost(mgmt: Program) -> list[str]:
    words = moved(mgmt)
    (mgmt.work / "completed" / "photos").rename(mgmt.work / "elsewhere")
    return words


def unmoved_and_lost(mgmt: Program) -> list[str]:
    words = unmoved(mgmt)
    (mgmt.work / "photos").rename(mgmt.work / "elsewhere")
    return words


def unmoved_and_its_place_taken(mgmt: Program) -> list[str]:
    words = unmoved(mgmt)
    (mgmt.work / "completed").mkdir()
    (mgmt.work / "completed" / "photos").write_text("another")
    return words


def finished_with_a_part_and_a_typo(mgmt: Program) -> list[str]:
    words = finished(mgmt)
    return [*words, "photos/one.jpg", "photos/typo"]


def unmoved_partial(mgmt: Program) -> list[str]:
    os.mkfifo(folder(mgmt) / "fifo")
    killed(mgmt, "upload", "photos", at="mgmt.services.upload.finish_upload")
    return ["photos"]


def renamed_and_killed(mgmt: Program) -> list[str]:
    words = taken_rename(mgmt)
    killed(mgmt, "upload", *words, at="mgmt.services.upload.record_proven")
    (mgmt.home / "store" / "photos.tar.gz").unlink()
    return words


def renamed_and_killed_and_changed(mgmt: Program) -> list[str]:
    words = renamed_and_killed(mgmt)
    (mgmt.work / "photos" / "one.jpg").write_text("changed")
    return words[:1]


def killed_and_recovered(mgmt: Program) -> list[str]:
    words = _killed_at("mgmt.services.upload.record_proven")(mgmt)
    mgmt.ok("recover")
    return words


SITUATIONS = (
    new, excluded, with_a_fifo, taken, taken_skip, taken_rename, archived_before, archived_before_and_excluded,
    taken_by_something_else, finished, missing, everything_with_a_fifo, of_each_kind,
    one_key_same_contents, one_key_other_contents, one_key_skip, one_key_rename, one_place_for_all,
    unmoved, unmoved_keep, unmoved_tagged, unmoved_changed, unmoved_archive_gone, unmoved_partial, moved,
    moved_and_replaced, _killed_at("mgmt.services.upload.put_index"), _killed_at("mgmt.services.upload.record_proven"),
    renamed_and_killed, killed_and_recovered, moved_and_lost, unmoved_and_lost, unmoved_and_its_place_taken,
    finished_with_a_part_and_a_typo, renamed_and_killed_and_changed,
)  # fmt: skip


@pytest.mark.parametrize("before", SITUATIONS, ids=lambda before: before.__name__)
def test_a_dry_run_says_exactly_what_would_happen(mgmt: Program, before: Situation) -> None:
    words = before(mgmt)
    was = contents(mgmt.work), contents(mgmt.home / "store")
    operations = len(mgmt.json("log"))
    foreseen = mgmt.run("-o", "json", "upload", *words, "-n")
    assert (contents(mgmt.work), contents(mgmt.home / "store")) == was
    assert len(mgmt.json("log")) == operations
    done = mgmt.run("-o", "json", "upload", *words)
    assert foreseen.returncode == done.returncode, (foreseen.stderr, done.stderr)

    if done.returncode not in (0, 3):
        assert json.loads(foreseen.stderr)["error"]["message"] == json.loads(done.stderr)["error"]["message"]
    for plan, result in zip(json.loads(foreseen.stdout), json.loads(done.stdout), strict=True):
        assert plan["status"] == result["status"]
        assert plan.get("error_message") == result["error_message"] or "archived already" in plan["error_message"]
        if result["status"] in ("success", "partial"):
            assert plan["object"] == result["result_path"]
            if plan["error_message"] != "archived already":
                moved_to = re.sub(r"-\d{8}T[\d.]+Z", "-TIME", result["completed_dir_path"] or "")
                assert (plan["moved_to"] or "") == moved_to


@pytest.mark.sqlite
def test_a_dry_run_of_what_is_being_uploaded_is_refused_as_the_upload_would_be(mgmt: Program) -> None:
    path = folder(mgmt)
    with (
        closing(open_catalog(mgmt.records.url)) as catalog,
        catalog.journal.record(UploadRecord(target_path=str(path)), claim=claim(str(path))),
    ):
        foreseen, done = (mgmt.run("upload", "photos", *last) for last in (["-n"], []))
    assert (foreseen.returncode, done.returncode) == (11, 11)
    assert foreseen.stderr == done.stderr


def test_a_dry_run_finds_what_cannot_be_read(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(mgmt)
    opened = os.open

    def refused(path: object, *arguments: object, **options: object) -> int:
        if path in (b"two.tmp", b"closed"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refused)
    for last in ("-n", "--keep"):
        done = mgmt.run("upload", "photos", last)
        assert done.returncode == 3
        assert "1 left out" in done.stdout + done.stderr
    (mgmt.work / "closed").write_text("x")
    for last in ("-n", "--keep"):
        done = mgmt.run("upload", "closed", last)
        assert done.returncode == 1
        assert "unreadable: Permission denied" in done.stderr


@pytest.mark.sqlite
def test_a_skipped_target_is_listed_with_the_reason(mgmt: Program) -> None:
    words = taken_skip(mgmt)
    why = f"skipped   {mgmt.work}/photos: file://{mgmt.home}/store/photos.tar.gz already holds other contents\n"
    for last in (["-n"], []):
        assert why in mgmt.ok("-q", "upload", *words, *last)
    mgmt.ok("-q", "download", "photos", "--to", "out")
    for last in (["-n"], []):
        shown = mgmt.ok("-q", "download", "photos", "--to", "out", "--on-conflict", "skip", *last)
        assert f"photos.tar.gz: {mgmt.work}/out/photos exists" in shown.splitlines()[0]


@pytest.mark.sqlite
def test_a_dry_run_creates_no_catalog(mgmt: Program) -> None:
    folder(mgmt)
    mgmt.ok("upload", "photos", "-n")
    assert not mgmt.catalog.exists()


@pytest.mark.sqlite
def test_an_empty_list_is_done(mgmt: Program) -> None:
    (mgmt.work / "list").write_text("\r\n\n")
    assert mgmt.json("upload", "--files-from", "list") == []
    assert mgmt.json("upload", "--files-from", "list", "-n") == []


@pytest.mark.sqlite
def test_a_list_from_windows_is_understood(mgmt: Program) -> None:
    for name in ("a", "b c"):
        (mgmt.work / name).write_text(name)
    (mgmt.work / "list").write_bytes(b"\xef\xbb\xbfa\r\nb c\r\n")
    assert [each["target_name"] for each in mgmt.json("upload", "--files-from", "list")] == ["a", "b c"]


@pytest.mark.sqlite
def test_a_target_inside_another_is_archived_once_as_its_part(mgmt: Program) -> None:
    path = folder(mgmt)
    (mgmt.work / "list").write_text("photos/one.jpg\nphotos/\nphotos/two.tmp\nphotos\n")
    done = mgmt.run("upload", "--files-from", "list")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: photos/one.jpg is in photos/, and is archived as a part of it only, as ")
    assert [each["target_name"] for each in mgmt.json("log", "--type", "upload")] == ["photos"]
    assert sorted(os.listdir(mgmt.work / "completed" / "photos")) == ["one.jpg", "two.tmp"]
    assert not path.exists()


@pytest.mark.sqlite
def test_with_keep_it_is_an_archive_of_its_own(mgmt: Program) -> None:
    folder(mgmt)
    mgmt.ok("upload", "--keep", "photos", "photos/one.jpg")
    assert {each["path"] for each in mgmt.json("ls", "--location", "s3")} == {"photos.tar.gz", "one.jpg.tar.gz"}


@pytest.mark.sqlite
@pytest.mark.parametrize("reverse", [False, True])
def test_a_part_of_a_skipped_target_is_archived_by_itself(mgmt: Program, *, reverse: bool) -> None:
    taken(mgmt)
    mgmt.ok("upload", "--on-conflict", "skip", *sorted(["photos", "photos/one.jpg"], reverse=reverse))
    assert {each["path"] for each in mgmt.json("ls", "--location", "s3")} == {"photos.tar.gz", "one.jpg.tar.gz"}
    assert sorted(os.listdir(mgmt.work / "photos")) == ["completed", "two.tmp"]


@pytest.mark.sqlite
@pytest.mark.parametrize("reverse", [False, True])
def test_a_part_of_what_was_not_skipped_is_archived_with_it(mgmt: Program, *, reverse: bool) -> None:
    folder(mgmt)
    (mgmt.work / "link").symlink_to(".")
    mgmt.ok("upload", "--on-conflict", "skip", *sorted(["photos", "link/photos/one.jpg"], reverse=reverse))
    assert [each["path"] for each in mgmt.json("ls", "--location", "s3")] == ["photos.tar.gz"]
    assert sorted(os.listdir(mgmt.work / "completed" / "photos")) == ["one.jpg", "two.tmp"]


@pytest.mark.sqlite
def test_parts_of_parts_of_a_skipped_target_are_archived_once(mgmt: Program) -> None:
    taken(mgmt)
    (mgmt.work / "photos" / "sub").mkdir()
    (mgmt.work / "photos" / "sub" / "three.jpg").write_text("three")
    mgmt.ok("upload", "--on-conflict", "skip", "photos/sub/three.jpg", "photos", "photos/sub")
    assert {each["path"] for each in mgmt.json("ls", "--location", "s3")} == {"photos.tar.gz", "sub.tar.gz"}


def test_tags_of_an_archive_that_is_recognised_are_not_merged_silently(mgmt: Program) -> None:
    path = folder(mgmt)
    mgmt.ok("upload", "photos", "--keep", "--tag", "year=2025", "--tag", "who=ann")
    done = mgmt.run("upload", "photos", "--keep", "--tag", "year=2026", "--tag", "who=ann")
    assert "the record of photos.tar.gz gets the tags year=2026; the stored object keeps its own" in done.stderr
    (archive,) = mgmt.json("ls", "--location", "s3")
    assert archive["tags"] == {"year": "2026", "who": "ann"}
    assert mgmt.run("upload", "photos", "--keep", "--tag", "year=2026").stderr == ""
    assert path.exists()
