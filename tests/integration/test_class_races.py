"""Moves to another storage class while something else happens to the archive: no content is lost."""

import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mgmt.storage import copying, s3_copy
from tests.integration.versioned import Versioned, versioned
from tests.moving import Mover
from tests.program import Program
from tests.quirks import BUCKET, quirky
from tests.servers import Server

KEY = "archive/notes.tar.gz"


@pytest.fixture
def mover() -> Iterator[Mover]:
    with quirky(Mover) as endpoint:
        yield endpoint


@pytest.fixture
def cold(tmp_path: Path, mover: Mover) -> Program:
    program = Program(tmp_path, f"s3://{BUCKET}/archive", {**mover.environment, "MGMT_PRICE_REGION": "us-east-1"})
    (program.work / "notes").write_bytes(b"content one" * 200)
    program.ok("upload", "notes")
    return program


def in_class(mover: Mover) -> str:
    return mover.objects[KEY].headers.get("x-amz-storage-class", "STANDARD")


@pytest.mark.parametrize("parts", [False, True], ids=["one request", "parts"])
def test_what_is_stored_during_the_copy_is_not_replaced(
    parts: bool, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        monkeypatch.setattr(copying, "LARGEST_COPY", 20)
        monkeypatch.setattr(copying, "PART_SIZE", 10)
    another = gzip.compress(b"content two")
    mover.at_copy = lambda: mover.put(KEY, another)
    done = cold.run("class", "notes", "GLACIER_IR")
    assert mover.objects[KEY].body == another
    assert done.returncode != 0


@pytest.mark.parametrize("refusal", ["501 NotImplemented", "400 InvalidRequest"])
@pytest.mark.parametrize("parts", [False, True], ids=["one request", "parts"])
def test_a_store_without_the_condition_moves_nothing_unless_it_keeps_versions(
    parts: bool, refusal: str, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        monkeypatch.setattr(copying, "LARGEST_COPY", 20)
        monkeypatch.setattr(copying, "PART_SIZE", 10)
    mover.target_condition = refusal
    refused = cold.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "on the condition that no other object replaces it" in refused.stderr
    assert (in_class(mover), mover.uploads) == ("STANDARD", {})
    monkeypatch.setattr(s3_copy, "_keeps_versions", lambda _: True)
    cold.ok("class", "notes", "GLACIER_IR")
    assert in_class(mover) == "GLACIER_IR"


def killed_in_the_copy(cold: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        os._exit(9)

    with cold.fork("class", "notes", "DEEP_ARCHIVE", arm=lambda: monkeypatch.setattr(s3_copy, "move", killed)) as child:
        assert child.wait() == 9
    monkeypatch.undo()


def test_recover_does_not_call_a_copy_undone_that_may_still_be_made(
    cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in_the_copy(cold, monkeypatch)
    for _ in range(2):
        assert "may still be copying" in cold.run_process("recover").stdout
        [left] = cold.json("log", "--type", "class")
        assert left["status"] == "running"
    assert cold.run("delete", "notes", "--yes").returncode == 11  # its key is not free for anything else
    later = datetime.now(UTC) - timedelta(hours=2)
    since = left["metadata"]["unsettled_since"]
    cold.records.change(f"UPDATE operations SET metadata = replace(metadata, '{since}', '{later.isoformat()}')")
    cold.ok("recover")
    [left] = cold.json("log", "--type", "class")
    assert left["status"] == "cancelled"
    cold.ok("class", "notes", "GLACIER_IR")
    assert in_class(mover) == "GLACIER_IR"


def test_a_copy_that_ends_after_its_process_is_finished_by_recover(
    cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in_the_copy(cold, monkeypatch)
    assert cold.run_process("recover").returncode == 0
    mover.objects[KEY].headers["x-amz-storage-class"] = "DEEP_ARCHIVE"
    cold.ok("recover")
    [settled] = cold.json("log", "--type", "class")
    assert settled["status"] == "success"


@pytest.mark.parametrize("lock", ["retention", "hold"])
def test_a_lock_that_the_store_does_not_show_is_not_lost(
    lock: str, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = (
        "legal_hold = 1" if lock == "hold" else "lock_mode = 'GOVERNANCE', locked_until = '2099-01-01 00:00:00.000000'"
    )
    cold.records.change(f"UPDATE files SET {change} WHERE location = 's3'")
    for more in ((), ("-n",)):
        refused = cold.run("class", "notes", "GLACIER_IR", *more)
        assert refused.returncode == 7
        assert "s3:GetObjectRetention" in refused.stderr
    assert in_class(mover) == "STANDARD"


RETAINED = {
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
    "x-amz-object-lock-legal-hold": "ON",
}


@pytest.mark.parametrize("parts", [False, True], ids=["one request", "parts"])
def test_a_lock_that_neither_the_object_nor_the_catalog_shows_is_kept(
    parts: bool, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        monkeypatch.setattr(copying, "LARGEST_COPY", 20)
        monkeypatch.setattr(copying, "PART_SIZE", 10)
    mover.object_lock = True
    mover.objects[KEY].headers |= RETAINED
    cold.ok("class", "notes", "GLACIER_IR")
    after = mover.objects[KEY].headers
    assert in_class(mover) == "GLACIER_IR"
    assert {name: after[name][:10] for name in RETAINED} == {name: value[:10] for name, value in RETAINED.items()}


def test_a_lock_that_a_copy_in_parts_does_not_get_is_set_again(
    on_moto: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto ignores the lock of an upload in parts."""
    client = Server("moto", on_moto.environment["AWS_ENDPOINT_URL"], {}, 0, on_moto.home).client()
    bucket = f"locked-{uuid4().hex}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    program = Program(on_moto.home / "locked", f"s3://{bucket}/archive", on_moto.environment)
    monkeypatch.setattr(copying, "LARGEST_COPY", 6 << 20)
    monkeypatch.setattr(copying, "PART_SIZE", 5 << 20)
    (program.work / "notes").write_bytes(os.urandom(12 << 20))
    program.ok("upload", "notes", "--retain-for", "30d", "--legal-hold")
    place: Any = {"Bucket": bucket, "Key": KEY}
    before: Any = client.head_object(**place)
    program.ok("class", "notes", "GLACIER_IR")
    after: Any = client.head_object(**place)
    assert (after["StorageClass"], after["VersionId"] != before["VersionId"]) == ("GLACIER_IR", True)
    assert [after.get(name) for name in s3_copy._LOCKS] == [before[name] for name in s3_copy._LOCKS]


def test_what_may_be_locked_stays_if_the_store_does_not_say_so(cold: Program, mover: Mover) -> None:
    mover.object_lock, mover.shows_locks = True, False
    mover.objects[KEY].headers |= RETAINED
    refused = cold.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "allow s3:GetObjectRetention and s3:GetObjectLegalHold" in refused.stderr
    assert in_class(mover) == "STANDARD"


def test_a_move_needs_no_permission_about_locks_where_there_are_none(cold: Program, mover: Mover) -> None:
    mover.tell("^GET .*object-lock", "403 AccessDenied")
    mover.tell("^GET .*(retention|legal-hold)", "403 AccessDenied")
    cold.ok("class", "notes", "GLACIER_IR")
    assert in_class(mover) == "GLACIER_IR"


@pytest.mark.parametrize("parts", [False, True], ids=["one request", "parts"])
def test_a_store_that_ignores_the_condition_moves_nothing(
    parts: bool, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        monkeypatch.setattr(copying, "LARGEST_COPY", 20)
        monkeypatch.setattr(copying, "PART_SIZE", 10)
    mover.target_condition = "ignored"
    refused = cold.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "it ignores If-Match" in refused.stderr
    assert (in_class(mover), mover.uploads, [each for each in mover.objects if "probe" in each]) == ("STANDARD", {}, [])
    monkeypatch.setattr(s3_copy, "_keeps_versions", lambda _: True)
    cold.ok("class", "notes", "GLACIER_IR")
    assert in_class(mover) == "GLACIER_IR"


def test_a_move_records_the_locks_that_the_store_shows(cold: Program, mover: Mover) -> None:
    mover.objects[KEY].headers["x-amz-object-lock-legal-hold"] = "ON"
    cold.ok("class", "notes", "GLACIER_IR")
    assert cold.json("status", "notes")["file"]["legal_hold"] is True


def test_a_lock_that_is_over_is_not_given_again(cold: Program, mover: Mover) -> None:
    mover.objects[KEY].headers |= {
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2001-01-01T00:00:00Z",
    }
    cold.ok("class", "notes", "GLACIER_IR")
    assert "x-amz-object-lock-mode" not in mover.objects[KEY].headers


@pytest.fixture
def bucket(tmp_path: Path, moto: Server) -> Versioned:
    return versioned(tmp_path, moto)


def damaged(bucket: Versioned) -> str:
    """Put a damaged version of the archive over it; return the id of the good one."""
    place: Any = bucket.key("notes.tar.gz")
    there = bucket.client.head_object(**place)
    body = bytearray(bucket.client.get_object(**place)["Body"].read())
    body[len(body) // 2] ^= 1
    bucket.client.put_object(**place, Body=bytes(body), Metadata=there["Metadata"], StorageClass="STANDARD_IA")
    return str(there["VersionId"])


def test_after_a_damaged_copy_the_older_version_is_named(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("free", "notes", "--yes")
    good = damaged(bucket)
    for _ in range(2):
        done = bucket.program.run("class", "notes", "STANDARD_IA")
        assert done.returncode == 8
        assert "try: aws s3api copy-object" in done.stderr
        assert f"notes.tar.gz?versionId={good}" in done.stderr


def test_undelete_does_not_call_a_damaged_version_back(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("free", "notes", "--yes")
    good = damaged(bucket)
    for hidden in (False, True):
        if hidden:
            bucket.client.delete_object(**bucket.key("notes.tar.gz"))
        markers = bucket.markers()
        refused = bucket.program.run("undelete", "notes")
        assert refused.returncode == 7
        assert f"?versionId={good}" in refused.stderr
        assert bucket.markers() == markers
    place = bucket.key("notes.tar.gz")
    bucket.client.copy_object(**place, CopySource={**place, "VersionId": good})
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("verify", "notes", "--read-back")
