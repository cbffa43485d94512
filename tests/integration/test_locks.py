"""Object lock: retention and legal hold, at upload and later, and what they prevent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.versioned import Versioned, versioned
from tests.moments import killed
from tests.program import Program
from tests.servers import Server


@pytest.fixture
def bucket(tmp_path: Path, seaweed: Server) -> Versioned:
    return versioned(tmp_path, seaweed, locks=True)


def lock_of(bucket: Versioned, ending: str) -> tuple[str | None, float | None, str | None]:
    """The mode, the days that are left and the hold of the one version of a key that ends so, as S3 says."""
    [(key, version)] = bucket.versions(ending)
    head: Any = bucket.client.head_object(**bucket.key(key), VersionId=version)
    until = head.get("ObjectLockRetainUntilDate")
    left = None if until is None else (until - datetime.now(UTC)) / timedelta(days=1)
    return head.get("ObjectLockMode"), left and round(left), head.get("ObjectLockLegalHoldStatus")


@pytest.mark.parametrize("size", [1, 12 << 20], ids=["one request", "parts"])
def test_upload_locks_the_archive_and_its_index(bucket: Versioned, size: int) -> None:
    (bucket.program.work / "notes").write_bytes(bytes(i * 7919 % 251 for i in range(1000)) * (size // 1000 + 1))
    done = bucket.program.run("upload", "notes", "--retain-for", "10d", "--legal-hold")
    assert done.returncode == 0, done.stderr
    assert "locked    until" in done.stdout
    assert "and by a legal hold" in done.stdout
    for ending in ("notes.tar.gz", ".index.jsonl.gz"):
        assert lock_of(bucket, ending) == ("GOVERNANCE", 10, "ON")
    status = bucket.program.json("status", "notes")
    assert (status["file"]["lock_mode"], status["file"]["legal_hold"]) == ("GOVERNANCE", True)
    assert status["stored"]["locked_until"] == status["file"]["locked_until"]


def test_a_purge_says_until_when_and_who_may_lift_the_lock(bucket: Versioned) -> None:
    bucket.upload("notes", "--retain-for", "10d")
    before = bucket.versions()
    refused = bucket.program.run("delete", "notes", "--purge", "--yes")
    assert refused.returncode == 7
    assert "(GOVERNANCE)" in refused.stderr
    assert "s3:BypassGovernanceRetention" in refused.stderr
    assert f"{datetime.now(UTC) + timedelta(days=10):%Y-%m-%d}" in refused.stderr
    assert (bucket.versions(), bucket.markers()) == (before, [])
    bucket.program.ok("delete", "notes", "--yes")  # it is hidden, and kept
    bucket.program.ok("lock", "notes", "--legal-hold")
    refused = bucket.program.run("delete", "notes", "--purge", "--yes")
    assert refused.returncode == 7
    assert "mgmt lock --no-legal-hold" in refused.stderr
    bucket.program.ok("lock", "notes", "--no-legal-hold", "--yes")
    bucket.program.ok("lock", "notes", "--mode", "compliance")
    refused = bucket.program.run("delete", "notes", "--purge", "--yes", "--last-copy")
    assert refused.returncode == 7
    assert "nobody can remove it before" in refused.stderr
    assert bucket.versions() == before
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("verify", "--all")


def test_a_lock_in_compliance_only_becomes_longer(bucket: Versioned) -> None:
    bucket.upload()
    [record] = bucket.program.json("lock", "notes", "--for", "10d", "--mode", "compliance")
    assert (record["operation_type"], record["mode"]) == ("lock", "COMPLIANCE")
    assert lock_of(bucket, "notes.tar.gz") == lock_of(bucket, ".index.jsonl.gz") == ("COMPLIANCE", 10, "OFF")
    for words in (["--for", "5d"], ["--for", "20d", "--mode", "governance"], ["--mode", "governance"]):
        refused = bucket.program.run("lock", "notes", "--yes", *words)
        assert refused.returncode == 7
        assert "can only become later" in refused.stderr
    bucket.program.ok("lock", "notes", "--for", "20d")
    assert lock_of(bucket, ".index.jsonl.gz") == ("COMPLIANCE", 20, "OFF")
    assert bucket.archive()["lock_mode"] == "COMPLIANCE"


def test_a_lock_in_governance_becomes_shorter_when_confirmed(bucket: Versioned) -> None:
    bucket.upload("notes", "--retain-for", "10d")
    asked = bucket.program.run("lock", "notes", "--for", "5d")
    assert asked.returncode == 7
    assert "removed earlier" in asked.stderr
    [plan] = bucket.program.json("lock", "notes", "--for", "5d", "-n")
    assert plan["weakens"] is True
    assert lock_of(bucket, "notes.tar.gz")[1] == 10
    bucket.program.ok("lock", "notes", "--for", "5d", "--yes")
    assert lock_of(bucket, "notes.tar.gz") == lock_of(bucket, ".index.jsonl.gz") == ("GOVERNANCE", 5, "OFF")


def test_lock_refuses_what_makes_no_sense(bucket: Versioned) -> None:
    bucket.upload()
    for words in ([], ["--for", "1d", "--until", "2040-01-01"], ["--until", "2020-01-01"], ["--mode", "compliance"]):
        assert bucket.program.run("lock", "notes", *words).returncode == 2
    assert bucket.program.run("lock", "nothing", "--for", "1d").returncode == 4


def test_the_default_retention_of_a_bucket_is_recognised(bucket: Versioned) -> None:
    retention = {"Mode": "COMPLIANCE", "Days": 3}
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    bucket.client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=rule)
    record = bucket.upload()
    assert record["metadata"]["lock_mode"] == "COMPLIANCE"
    assert bucket.archive()["lock_mode"] == "COMPLIANCE"
    assert lock_of(bucket, ".index.jsonl.gz")[:2] == ("COMPLIANCE", 3)
    other = bucket.upload("other", "--retain-for", "10d")
    assert other["metadata"]["lock_mode"] == "COMPLIANCE"
    anchor = bucket.program.json("audit", "anchor")
    assert anchor["locked_until"] is not None
    [found] = [each for each in bucket.program.json("doctor") if each["what"] == "versions"]
    assert "COMPLIANCE" in found["detail"]


def test_an_anchor_is_retained_as_asked(bucket: Versioned) -> None:
    bucket.upload()
    first = bucket.program.json("audit", "anchor", "--retain-for", "10d")
    assert datetime.fromisoformat(first["locked_until"]) > datetime.now(UTC) + timedelta(days=9)
    again = bucket.program.json("audit", "anchor", "--retain-for", "5d")  # no lock becomes shorter
    assert again["locked_until"] == first["locked_until"]
    bucket.program.ok("audit", "verify")


def test_a_store_without_object_lock_refuses_before_anything_is_sent(tmp_path: Path, on_seaweed: Program) -> None:
    (tmp_path / "folder").mkdir()
    for program in (on_seaweed, Program(tmp_path / "other", f"file://{tmp_path}/folder")):
        (program.work / "notes").write_text("one")
        for words in (["--retain-for", "1d"], ["--legal-hold"], ["--retain-until", "2040-01-01", "-n"]):
            refused = program.run("upload", "notes", *words)
            assert refused.returncode == 7
            assert "no object lock" in refused.stderr
        program.ok("upload", "notes")
        assert program.run("lock", "notes", "--for", "1d").returncode == 7
        assert program.run("audit", "anchor", "--retain-for", "1d").returncode == 7
        assert program.run("upload", "x", "--retain-for", "1d", "--retain-until", "2040-01-01").returncode == 2
        [found] = [each for each in program.json("doctor") if each["what"] == "versions"] or [None]
        assert (found is None) is program.store.startswith("file:")


def test_an_upload_that_finds_its_archive_locks_it(bucket: Versioned) -> None:
    bucket.upload("notes", "--keep")
    bucket.program.ok("upload", "notes", "--keep", "--retain-for", "10d", "--key", "notes.tar.gz")
    assert lock_of(bucket, "notes.tar.gz") == lock_of(bucket, ".index.jsonl.gz") == ("GOVERNANCE", 10, "OFF")


def test_a_killed_lock_is_seen_and_finished_by_the_same_command(bucket: Versioned) -> None:
    bucket.upload()
    killed(bucket.program, "lock", "notes", "--for", "10d", at="mgmt.services.lock.index_of")
    bucket.program.ok("recover")
    assert bucket.archive()["lock_mode"] == "GOVERNANCE"
    assert lock_of(bucket, ".index.jsonl.gz")[1] is None
    killed(bucket.program, "lock", "notes", "--for", "12d", at="mgmt.services.lock.index_of")
    bucket.program.ok("lock", "notes", "--for", "12d")
    assert lock_of(bucket, ".index.jsonl.gz")[1] == 12
    bucket.program.ok("verify", "--all")
    bucket.program.ok("audit", "verify")


def test_an_upload_that_was_begun_without_a_lock_gets_one(bucket: Versioned) -> None:
    (bucket.program.work / "notes").write_text("one")
    killed(bucket.program, "upload", "notes", at="mgmt.services.upload.record_proven")
    bucket.program.ok("upload", "notes", "--retain-for", "10d")
    assert lock_of(bucket, "notes.tar.gz")[1] == lock_of(bucket, ".index.jsonl.gz")[1] == 10
    bucket.program.ok("verify", "--all")
