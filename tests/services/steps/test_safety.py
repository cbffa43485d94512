"""What is said of files after real commands, and how many queries that takes."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from mgmt.catalog import (
    MOST_COPIES,
    Catalog,
    FileRecord,
    FileStatus,
    FreeRecord,
    Location,
    Place,
    open_catalog,
    this_host,
)
from mgmt.errors import ExitStatus
from mgmt.services.steps.copies import content_claim
from mgmt.services.steps.safety import Level, safeties, safety_of
from tests.program import Program

Say = Callable[[str], str]


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "clip").write_text("clip")
    on_directory.ok("upload", "clip")
    return on_directory


@pytest.fixture
def say(mgmt: Program) -> Iterator[Say]:
    """The sentence about an archive, by its key, or about a file, by its path below the work folder."""
    opened: list[Catalog] = []

    def say(name: str) -> str:
        opened.append(open_catalog(mgmt.records.url))
        found = opened[-1].metadata.get_file_record(str(mgmt.work / name) if "/" in name else name)
        assert found is not None
        said = safety_of(found, opened[-1]).sentence
        return said.replace(mgmt.store, "STORE").replace(str(mgmt.work), "WORK")

    yield say
    for each in opened:
        each.close()


def test_an_archive_with_its_copy_may_be_freed(mgmt: Program, say: Say) -> None:
    both = "Safe: 2 proven copies (STORE, completed/), last verified today; may be freed"
    assert say("clip.tar.gz") == say("completed/clip") == both
    mgmt.ok("free", "clip", "--yes")
    alone = "Safe: 1 proven copy (STORE), last verified today; the original was freed"
    assert say("clip.tar.gz") == say("completed/clip") == alone
    mgmt.ok("download", "clip", "--to", "back")
    assert say("back/clip") == alone
    mgmt.ok("delete", "clip", "--yes", "--last-copy")
    assert say("clip.tar.gz") == "Deleted: no other copy is known"
    assert say("completed/clip") == "Deleted: no archive of it is stored"
    assert say("back/clip") == "At risk: no archive of it is stored; run mgmt upload --keep WORK/back/clip"


def test_a_kept_original_and_a_second_archive_are_told(mgmt: Program, say: Say) -> None:
    (mgmt.work / "kept").write_text("kept")
    mgmt.ok("upload", "kept", "--keep")
    first = "Safe: 1 proven copy (STORE), last verified today; a copy is at WORK/kept"
    assert say("kept.tar.gz") == first
    mgmt.ok("upload", "kept", "--key", "second.tar.gz")
    two = "Safe: 3 proven copies (2 in STORE, completed/), last verified today; may be freed"
    assert say("kept.tar.gz") == say("second.tar.gz") == two
    mgmt.ok("delete", "second.tar.gz", "--yes")
    assert say("second.tar.gz") == "Deleted: 2 proven copies remain (STORE, completed/)"


def test_what_verification_finds_is_at_risk_until_it_is_verified(mgmt: Program, say: Say) -> None:
    stored = mgmt.home / "store" / "clip.tar.gz"
    whole = stored.read_bytes()
    again = "mgmt --store STORE upload --keep --key clip.tar.gz WORK/completed/clip"
    advice = f"; 1 proven copy remains (completed/); run mgmt delete STORE/clip.tar.gz && {again}"
    stored.write_bytes(whole[:-1] + b"x")
    assert mgmt.run("verify", "clip").returncode == ExitStatus.INTEGRITY
    assert say("clip.tar.gz").startswith("At risk: STORE/clip.tar.gz ")
    assert say("clip.tar.gz").endswith(f" (found today){advice}")
    assert say("completed/clip") == say("clip.tar.gz")
    assert mgmt.run("free", "clip", "--yes").returncode == ExitStatus.INTEGRITY
    os.unlink(stored)
    assert mgmt.run("verify", "clip").returncode == ExitStatus.INTEGRITY
    assert say("clip.tar.gz") == f"At risk: STORE/clip.tar.gz is missing from the store (found today){advice}"
    stored.write_bytes(whole)
    mgmt.ok("verify", "clip", "--read-back")
    assert say("clip.tar.gz").endswith("may be freed")
    os.rename(mgmt.home / "store", mgmt.home / "away")
    assert mgmt.run("verify", "clip").returncode != 0
    assert say("clip.tar.gz").endswith("may be freed")  # a store that did not answer has told nothing


FOUND = (
    "WORK/completed/clip was found changed today; to archive it as it is now: "
    "run mgmt upload --keep --on-conflict rename WORK/completed/clip"
)


def test_a_copy_that_free_found_changed_counts_no_more_until_it_is_proven(mgmt: Program, say: Say) -> None:
    copy = mgmt.work / "completed" / "clip"
    copy.write_text("edited")
    assert mgmt.run("free", "clip", "--yes").returncode == ExitStatus.REFUSED
    assert say("clip.tar.gz") == f"Safe: 1 proven copy (STORE), last verified today; no other copy is known; {FOUND}"
    assert say("completed/clip") == f"Unproven: {FOUND}"
    assert "may be freed" not in mgmt.ok("ls", "-l") + mgmt.ok("status", "clip") + mgmt.ok("status", "completed/clip")
    history = mgmt.json("status", "completed/clip")["history"]
    assert [each["operation_type"] for each in history] == ["free", "upload"]
    assert history[0]["metadata"] == {"copy": "changed"}
    mgmt.ok("upload", "--keep", "--on-conflict", "rename", copy)
    assert say("completed/clip").endswith("; may be freed")
    assert "changed" not in say("clip.tar.gz")
    mgmt.ok("free", "completed/clip", "--yes")


def test_a_copy_that_delete_found_changed_counts_no_more(mgmt: Program, say: Say) -> None:
    mgmt.ok("upload", "completed/clip", "--keep", "--key", "second.tar.gz")
    (mgmt.work / "completed" / "clip").write_text("edited")
    mgmt.ok("delete", "second.tar.gz", "--yes")
    assert say("second.tar.gz") == f"Deleted: 1 proven copy remains (STORE); {FOUND}"
    assert mgmt.run("delete", "clip.tar.gz", "--yes").returncode == ExitStatus.REFUSED
    assert say("clip.tar.gz").startswith("Safe: 1 proven copy (STORE), ")
    assert say("clip.tar.gz").endswith(FOUND)
    assert say("completed/clip") == f"Unproven: {FOUND}"


def test_an_archive_that_could_not_be_proven_says_nothing_of_its_copy(mgmt: Program, say: Say) -> None:
    stored = mgmt.home / "store" / "clip.tar.gz"
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + b"x")
    assert mgmt.run("free", "clip", "--yes").returncode == ExitStatus.INTEGRITY
    stored.write_bytes(whole)
    mgmt.ok("verify", "clip")
    assert say("clip.tar.gz").endswith("; may be freed")


def test_a_damaged_archive_without_another_copy_is_not_advised_in_a_circle(mgmt: Program, say: Say) -> None:
    mgmt.ok("free", "clip", "--yes")
    stored = mgmt.home / "store" / "clip.tar.gz"
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    done = mgmt.run("verify", "clip")
    assert done.returncode == ExitStatus.INTEGRITY
    assert "mgmt status" not in done.stderr
    for command in ("mgmt verify", "mgmt delete --last-copy"):
        assert f"{command} {mgmt.store}/clip.tar.gz" in done.stderr
    advice = (
        "no other copy is known; restore the object from a backup of the store, then run mgmt verify "
        "STORE/clip.tar.gz; if it is lost for good: run mgmt delete --last-copy STORE/clip.tar.gz"
    )
    assert say("clip.tar.gz").endswith(advice)


def test_an_original_that_was_partly_archived_is_not_safe(mgmt: Program, say: Say) -> None:
    folder = mgmt.work / "part me"
    folder.mkdir()
    for name in ("one", "two.tmp"):
        (folder / name).write_text(name)
    assert mgmt.run("upload", "part me", "--exclude", "*.tmp").returncode == ExitStatus.PARTIAL
    again = "to archive all of it: run mgmt upload --on-conflict rename 'WORK/part me'"
    assert mgmt.json("status", str(folder))["sentence"].replace(str(mgmt.work), "WORK") == (
        f"Unproven: partly archived: 1 left out; {again}"
    )
    assert say("part me.tar.gz").startswith("Safe: 1 proven copy (STORE), ")
    assert say("part me.tar.gz").endswith("WORK/part me")
    mgmt.ok("upload", "part me", "--on-conflict", "rename", "--keep")
    assert mgmt.json("status", str(folder))["level"] == "safe"


def test_a_rebuilt_catalog_has_proven_nothing(mgmt: Program, say: Say) -> None:
    mgmt.records.remove()
    mgmt.ok("db", "rebuild")
    never = "STORE/clip.tar.gz was never verified; no other copy is known; run mgmt verify STORE/clip.tar.gz"
    assert say("clip.tar.gz") == f"Unproven: {never}"


def test_what_is_not_archived_is_not_safe(mgmt: Program) -> None:
    catalog = open_catalog(mgmt.records.url)
    file = FileRecord(path="/a b", location=Location.LOCAL, host=this_host(), digest="d")
    assert safety_of(catalog.metadata.save_file_record(file), catalog).sentence == (
        "Unproven: it is not archived; run mgmt upload '/a b'"
    )
    catalog.close()


def test_what_is_frozen_elsewhere_or_claimed_is_said(mgmt: Program) -> None:
    catalog = open_catalog(mgmt.records.url)

    def save(**facts: Any) -> FileRecord:
        return catalog.metadata.save_file_record(FileRecord(digest="d", kept="", status=FileStatus.COMPLETED, **facts))

    archive = save(
        path="k", s3_object_key="k", location=Location.S3, store="s3://b", archive_id="a", storage_class="GLACIER",
        proof="read-back",
    )  # fmt: skip
    copy = save(path="/c/k", location=Location.COMPLETED, host="nas")
    both = "Safe: 2 proven copies (s3://b, completed/ on nas); "
    read = f"{both}frozen; to free the copy, it has to be read: run mgmt restore s3://b/k"
    assert {each.sentence for each in safeties([archive, copy], catalog).values()} == {read}
    archive.proof, archive.object_checksum = "server-checksum crc64nvme", "crc64nvme:x"
    catalog.journal.checkpoint()
    assert safety_of(copy, catalog).sentence == f"{both}frozen; may be freed on nas"
    with catalog.journal.record(FreeRecord(target_path="/c/k"), claim=content_claim("d")):
        assert safety_of(archive, catalog).sentence == f"{both}frozen; another operation on it is not finished"
    copy.status = FileStatus.FAILED
    catalog.journal.checkpoint()
    assert safety_of(copy, catalog).sentence.endswith("frozen; its removal has begun: run mgmt free /c/k")
    catalog.close()


def test_days_are_counted_and_long_ago_is_a_date(mgmt: Program) -> None:
    catalog = open_catalog(mgmt.records.url)
    archive = catalog.metadata.require_file_record(Place(Location.S3, mgmt.store, "clip.tar.gz"))
    assert archive.proven_at is not None
    for days, said in ((1, "yesterday"), (2, "2 days ago"), (60, "60 days ago"), (61, "on "), (-1, "on ")):
        now = archive.proven_at + timedelta(days=days, seconds=1)
        assert f"last verified {said}" in safeties([archive], catalog, now=now)[archive.id].sentence
    catalog.close()


def test_a_page_takes_a_few_queries_and_an_empty_file_no_more(mgmt: Program) -> None:
    catalog = open_catalog(mgmt.records.url)
    with catalog.transaction():
        for number in range(300):
            catalog.metadata.save_file_record(
                FileRecord(
                    path=f"{number}.tar.gz", s3_object_key=f"{number}.tar.gz", location=Location.S3, store="s3://b",
                    digest="same" if number % 2 else f"d{number}", archive_id=str(number), proof="read-back",
                    proven_at=datetime.now(UTC), status=FileStatus.COMPLETED,
                    storage_class="GLACIER" if number % 3 else None,
                )
            )  # fmt: skip
    page = catalog.files.list_files(None, Location.S3, limit=400)
    queries: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        queries.append(statement)

    event.listen(catalog.database.bind(), "before_cursor_execute", count)
    found = safeties(page, catalog)
    assert len(found) == 301
    assert len(queries) <= 6, queries
    assert {each.level for each in found.values()} == {Level.SAFE}
    same = [found[each.id].sentence for each in page if each.digest == "same"]
    assert {each.partition(" proven copies (")[0] for each in same} <= {
        f"Safe: at least {MOST_COPIES}", f"Safe: at least {MOST_COPIES + 1}"
    }  # fmt: skip
    assert {each.endswith("last verified today; frozen") for each in same} == {True, False}
    catalog.close()
