"""Deleted archives in a versioned bucket: what remains, what brings it back, what removes it for good."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.errors import IntegrityError, StoreError
from tests.catalogs import Catalogs
from tests.integration.versioned import Versioned, versioned
from tests.program import Program
from tests.servers import Server


@pytest.fixture
def bucket(tmp_path: Path, seaweed: Server) -> Versioned:
    return versioned(tmp_path, seaweed)


def test_delete_says_what_remains_and_undelete_brings_the_same_version_back(bucket: Versioned) -> None:
    bucket.upload()
    before, keys = bucket.archive(), bucket.keys()
    [plan] = bucket.program.json("delete", "notes", "-n")
    assert plan["remains"] == before["version_id"]
    assert before["version_id"] == dict(bucket.versions())["notes.tar.gz"]
    priced = replace(bucket.program, environment={**bucket.program.environment, "MGMT_PRICE_REGION": "us-east-1"})
    done = priced.run("delete", "notes", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"as version {before['version_id']}" in done.stdout
    assert "a month" in done.stdout
    assert "mgmt undelete" in done.stdout
    [deletion] = bucket.program.json("log", "--type", "delete")
    assert deletion["metadata"]["version_id"] == before["version_id"]
    assert deletion["metadata"]["marker_id"] == dict(bucket.markers())["notes.tar.gz"]
    assert deletion["metadata"]["index_version_id"] in dict(bucket.versions()).values()
    assert bucket.keys() == []
    gone = bucket.program.run("download", "notes", "--to", "back")
    assert gone.returncode == 4
    assert "mgmt undelete" in gone.stderr

    [back] = bucket.program.json("undelete", "notes")
    assert (back["operation_type"], back["status"]) == ("undelete", "success")
    assert bucket.keys() == keys
    assert bucket.markers() == []
    after = bucket.archive()
    assert (after["version_id"], after["status"]) == (before["version_id"], "completed")
    bucket.program.ok("download", "notes", "--to", "back")
    assert (bucket.program.work / "back/notes").read_text() == "one"
    bucket.program.ok("verify", "--all")
    bucket.program.ok("audit", "verify")
    assert bucket.program.json("search", "notes")


def test_what_a_deletion_leaves_is_counted_as_cost(bucket: Versioned) -> None:
    size = bucket.upload(content="one" * 1000)["compressed_size"]
    bucket.program.ok("delete", "notes", "--yes")
    old, indexes, whole = bucket.program.json("cost")
    assert (old["group"], old["archives"], old["size"]) == ("(old versions)", 1, size)
    assert (indexes["archives"], whole["archives"]) == (1, 0)
    assert whole["size"] == old["size"] + indexes["size"]
    assert "(old versions)" in bucket.program.ok("cost", "--by", "folder", "--if", "DEEP_ARCHIVE")
    bucket.program.ok("undelete", "notes")
    assert [each["group"] for each in bucket.program.json("cost")] == ["STANDARD", "(indexes)", "(all)"]
    for more in ((), ("--purge",)):
        bucket.program.ok("delete", "notes", "--yes", *more)
    assert [each["group"] for each in bucket.program.json("cost")] == ["(indexes)", "(all)"]


@pytest.mark.parametrize("command", [["undelete", "notes"], ["lock", "notes", "--for", "2d", "--mode", "governance"]])
def test_undelete_and_lock_can_run_later(command: list[str], tmp_path: Path, seaweed: Server) -> None:
    locked = versioned(tmp_path, seaweed, locks=True)
    locked.upload()
    if command[0] == "undelete":
        locked.program.ok("delete", "notes", "--yes")
    [requested] = locked.program.json(*command, "--later")
    assert requested["status"] == "pending"
    locked.program.ok("worker", "--until-empty")
    [done] = locked.program.json("log", "--type", command[0])
    assert (done["operation_id"], done["status"]) == (requested["operation_id"], "success")
    assert locked.versions("notes.tar.gz")
    assert (locked.archive()["lock_mode"] == "GOVERNANCE") == (command[0] == "lock")


def test_a_later_lock_weakens_only_if_that_was_confirmed(tmp_path: Path, seaweed: Server) -> None:
    locked = versioned(tmp_path, seaweed, locks=True)
    locked.upload("notes", "--legal-hold")
    locked.program.ok("lock", "notes", "--no-legal-hold", "--later")
    assert locked.program.run("worker", "--until-empty").returncode == 3
    assert locked.archive()["legal_hold"] is True
    locked.program.ok("lock", "notes", "--no-legal-hold", "--later", "--yes")
    locked.program.ok("worker", "--until-empty")
    assert locked.archive()["legal_hold"] is False
    assert locked.program.run("lock", "notes", "--later").returncode == 2


def test_undelete_twice_changes_nothing(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    [plan] = bucket.program.json("undelete", "notes", "-n")
    assert plan["state"] == "deleted"
    assert bucket.keys() == []
    bucket.program.ok("undelete", "notes")
    [again] = bucket.program.json("undelete", "notes")
    assert again["metadata"]["markers"] == []
    [plan] = bucket.program.json("undelete", "notes", "-n")
    assert plan["state"] == "stored"


def test_undelete_by_the_id_of_the_deletion(bucket: Versioned) -> None:
    bucket.upload()
    [deletion] = bucket.program.json("delete", "notes", "--yes")
    bucket.program.ok("undelete", deletion["operation_id"])
    assert bucket.archive()["status"] == "completed"


def test_undelete_refuses_while_the_key_holds_another_archive(bucket: Versioned) -> None:
    first = bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    bucket.upload(content="two")
    before = bucket.versions()
    done = bucket.program.run("undelete", first["operation_id"])
    assert done.returncode == 10
    assert "holds another archive by now" in done.stderr
    assert bucket.versions() == before
    # The other one is deleted as well: what a name means is then what was deleted last.
    bucket.program.ok("delete", "notes.tar.gz", "--yes", "--last-copy")
    assert bucket.program.run("undelete", first["operation_id"]).returncode == 10
    bucket.program.ok("undelete", "notes.tar.gz")
    bucket.program.ok("download", "notes.tar.gz", "--to", "back")
    assert (bucket.program.work / "back/notes").read_text() == "two"


def test_undelete_removes_each_marker_that_hides_the_archive(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    for _ in range(2):
        bucket.client.delete_object(**bucket.key("notes.tar.gz"))
    assert len(bucket.markers("notes.tar.gz")) == 3
    bucket.program.ok("undelete", "notes")
    assert bucket.markers() == []
    bucket.program.ok("verify", "--all")


def test_undelete_without_versions_says_why_not(tmp_path: Path, on_seaweed: Program) -> None:
    for program, why in (
        (on_seaweed, "is not versioned"),
        (Program(tmp_path / "other", f"file://{tmp_path}/folder"), "is a directory"),
    ):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (program.work / "notes").write_text("one")
        program.ok("upload", "notes")
        program.ok("delete", "notes", "--yes")
        done = program.run("undelete", "notes")
        assert done.returncode == 7
        assert why in done.stderr
        assert "mgmt undo" in done.stderr
        assert program.run("delete", "--purge", "notes", "--yes").returncode == 4
        assert program.run("undelete", "nothing").returncode == 4


def test_purge_removes_all_versions_of_the_archive_and_its_index(bucket: Versioned) -> None:
    bucket.upload()
    [plan] = bucket.program.json("delete", "notes", "--purge", "-n")
    assert (plan["purge"], plan["remains"]) == (True, None)
    [record] = bucket.program.json("delete", "notes", "--purge", "--yes")
    assert record["metadata"]["purged"] == 2
    assert bucket.versions() == bucket.markers() == []
    assert bucket.archive()["version_id"] is None
    done = bucket.program.run("undelete", "notes")
    assert done.returncode == 7
    assert "purged" in done.stderr
    assert bucket.program.run("delete", "notes", "--purge", "--yes").returncode == 4
    bucket.program.ok("verify", "--all")


def test_purge_after_a_deletion(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    bucket.program.ok("delete", "notes", "--purge", "--yes")
    assert bucket.versions() == bucket.markers() == []


def test_purge_refuses_the_last_copy(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    copy = bucket.program.work / "completed/notes"
    copy.unlink()
    before = bucket.versions()
    done = bucket.program.run("delete", "notes", "--purge", "--yes")
    assert done.returncode == 7
    assert "last proven copy" in done.stderr
    assert "mgmt undelete" in done.stderr
    assert bucket.versions() == before
    bucket.program.ok("delete", "notes", "--purge", "--last-copy", "--yes")
    assert bucket.versions() == []


def test_purge_removes_no_other_archive_of_the_key(bucket: Versioned) -> None:
    first = bucket.upload()
    bucket.program.ok("delete", "notes.tar.gz", "--yes")
    second = bucket.upload(content="two", name="notes")
    bucket.program.ok("delete", first["operation_id"], "--purge", "--yes")
    bucket.program.ok("verify", "--all")
    assert sorted(key for key, _ in bucket.versions()) == bucket.keys()
    bucket.upload("other")
    bucket.program.ok("delete", "notes.tar.gz", "--yes")
    (bucket.program.work / "notes").write_text("three")
    bucket.program.ok("upload", "notes")
    bucket.program.ok("delete", "notes.tar.gz", "--yes")
    ambiguous = bucket.program.run("delete", "notes.tar.gz", "--purge", "--yes")
    assert ambiguous.returncode == 2
    assert second["operation_id"] in ambiguous.stderr
    bucket.program.ok("delete", second["operation_id"], "--purge", "--yes")
    assert len(bucket.versions("notes.tar.gz")) == 1
    bucket.program.ok("undelete", "notes.tar.gz")
    bucket.program.ok("download", "notes.tar.gz", "--to", "back")
    assert (bucket.program.work / "back/notes").read_text() == "three"


def test_what_a_foreign_marker_hides_is_missing_and_undelete_brings_it_back(bucket: Versioned) -> None:
    bucket.upload()
    key, index = sorted(bucket.keys(), key=len)
    bucket.client.delete_object(**bucket.key(key))
    done = bucket.program.run("verify", "notes")
    assert done.returncode == 8
    assert "missing" in done.stderr
    assert "mgmt undelete" in done.stderr
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("verify", "--all")
    bucket.client.delete_object(**bucket.key(index))
    done = bucket.program.run("verify", "notes")
    assert done.returncode == 8
    assert "mgmt undelete" in done.stderr
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("verify", "--all")


def test_rebuild_and_verify_know_markers_and_old_versions(bucket: Versioned) -> None:
    bucket.upload("kept")
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    bucket.program.ok("verify", "--all")
    bucket.program.ok("db", "rebuild")
    assert bucket.archive("kept.tar.gz")["version_id"] is not None
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("delete", "notes", "--yes")
    bucket.program.records.remove()
    bucket.program.ok("db", "rebuild")
    bucket.program.ok("verify", "--all")
    assert [each["name"] for each in bucket.program.json("ls")] == ["kept.tar.gz"]
    [back] = bucket.program.json("undelete", "notes")  # the catalog does not know it, the store does
    assert back["status"] == "success"
    bucket.program.ok("db", "rebuild")
    bucket.program.ok("verify", "--all")
    assert len(bucket.program.json("ls")) == 2


def test_undo_of_a_deletion_brings_the_version_back(bucket: Versioned) -> None:
    bucket.upload()
    before = bucket.versions()
    [deletion] = bucket.program.json("delete", "notes", "--yes")
    [part] = bucket.program.json("undo", deletion["operation_id"], "-n")
    assert part["action"] == "undelete"
    bucket.program.ok("undo", deletion["operation_id"], "--yes")
    assert (bucket.versions(), bucket.markers()) == (before, [])
    bucket.program.ok("verify", "--all")


def test_undo_of_a_purge_uploads_another_copy(bucket: Versioned) -> None:
    bucket.upload()
    [deletion] = bucket.program.json("delete", "notes", "--purge", "--yes")
    [part] = bucket.program.json("undo", deletion["operation_id"], "-n")
    assert part["action"] == "upload"


def test_a_deleted_archive_can_be_uploaded_again(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    bucket.upload()
    bucket.program.ok("verify", "--all")
    bucket.program.ok("delete", "notes.tar.gz", "--yes")
    bucket.program.ok("recover")
    bucket.program.ok("verify", "--all")


def test_purge_later_removes_what_was_meant(bucket: Versioned) -> None:
    bucket.upload()
    bucket.program.ok("delete", "notes", "--yes")
    bucket.program.ok("delete", "notes", "--purge", "--yes", "--later")
    bucket.program.ok("worker", "--until-empty")
    assert bucket.versions() == []


def test_a_suspended_bucket_keeps_nothing_new(bucket: Versioned) -> None:
    suspended = {"Status": "Suspended"}
    bucket.client.put_bucket_versioning(Bucket=bucket.bucket, VersioningConfiguration=suspended)
    bucket.upload()
    [deletion] = bucket.program.json("delete", "notes", "--yes")
    assert "version_id" not in deletion["metadata"]
    assert bucket.archive()["version_id"] is None
    assert bucket.program.run("undelete", "notes").returncode == 7
    bucket.program.ok("verify", "--all")
    [found] = [each for each in bucket.program.json("doctor") if each["what"] == "versions"]
    assert "suspended" in found["detail"]


def test_a_corrupt_upload_leaves_no_version(bucket: Versioned, monkeypatch: pytest.MonkeyPatch) -> None:
    def corrupt(*_: object) -> str:
        raise IntegrityError("corrupt")

    monkeypatch.setattr("mgmt.services.upload.prove", corrupt)
    (bucket.program.work / "notes").write_text("one")
    assert bucket.program.run("upload", "notes").returncode == 8
    assert bucket.versions("notes.tar.gz") == []
    assert (bucket.program.work / "notes").exists()


def test_either_catalog_knows_what_was_deleted(tmp_path: Path, seaweed: Server, catalogs: Catalogs) -> None:
    bucket = versioned(tmp_path, seaweed, locks=True, catalogs=catalogs)
    first = bucket.upload("notes", "--retain-for", "10d")
    bucket.program.ok("delete", "notes", "--yes")
    bucket.program.ok("undelete", "notes")
    bucket.program.ok("lock", "notes", "--for", "20d", "--legal-hold")
    bucket.program.ok("delete", first["operation_id"], "--yes")
    assert bucket.program.run("delete", "notes", "--purge", "--yes").returncode == 7
    assert bucket.archive()["legal_hold"] is True
    assert bucket.program.json("cost", "--by", "folder")[0]["group"] == "(old versions)"
    bucket.program.ok("undelete", "notes", "--later")
    bucket.program.ok("worker", "--until-empty")
    bucket.program.ok("lock", "notes", "--for", "30d", "--no-legal-hold", "--later", "--yes")
    bucket.program.ok("worker", "--until-empty")
    assert bucket.archive()["legal_hold"] is False
    bucket.program.ok("audit", "verify")


def suspend(bucket: Versioned, status: str = "Suspended") -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.bucket, VersioningConfiguration={"Status": status})


def test_where_versioning_is_suspended_no_marker_is_removed(bucket: Versioned) -> None:
    bucket.upload()
    suspend(bucket)
    bucket.client.delete_object(**bucket.key("notes.tar.gz"))
    before = bucket.versions(), bucket.markers()
    assert dict(bucket.markers())["notes.tar.gz"] == "null"
    for more in ((), ("-n",)):
        refused = bucket.program.run("undelete", "notes", *more)
        assert refused.returncode == 7
        assert "is suspended" in refused.stderr
        assert "enable versioning" in refused.stderr
    assert (bucket.versions(), bucket.markers()) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_where_versioning_is_suspended_nothing_is_purged(when: str, bucket: Versioned) -> None:
    if when == "before":
        suspend(bucket)
    bucket.upload()
    suspend(bucket)
    before = bucket.versions(), bucket.markers()
    for more in (("--yes",), ("-n",)):
        refused = bucket.program.run("delete", "--purge", "notes", *more)
        assert refused.returncode == 7
        assert "is suspended" in refused.stderr
    assert (bucket.versions(), bucket.markers()) == before
    suspend(bucket, "Enabled")
    bucket.program.ok("delete", "--purge", "notes", "--yes")
    assert (bucket.versions(), bucket.markers()) == ([], [])


def test_recover_finishes_an_interrupted_purge(bucket: Versioned, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.upload()

    def killed(*_: object) -> None:
        os._exit(9)

    def arm() -> None:
        monkeypatch.setattr("mgmt.services.delete.remove_all_versions", killed)

    with bucket.program.fork("delete", "--purge", "notes", "--yes", arm=arm) as child:
        assert child.wait() == 9
    assert len(bucket.versions()) == 2
    with monkeypatch.context() as patch:
        patch.setattr("mgmt.services.steps.purge.remove_versions", refuse)
        assert "versions of it are left" in bucket.program.ok("recover")
    [deletion] = bucket.program.json("log", "--type", "delete")
    assert deletion["status"] == "failed"
    bucket.program.ok("delete", "--purge", "notes", "--yes")
    assert (bucket.versions(), bucket.markers()) == ([], [])


def refuse(*_: object) -> None:
    raise StoreError("no")


def test_recover_purges_what_an_interrupted_purge_has_left(bucket: Versioned, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.upload()

    def arm() -> None:
        monkeypatch.setattr("mgmt.services.delete.remove_all_versions", lambda *_: os._exit(9))

    with bucket.program.fork("delete", "--purge", "notes", "--yes", arm=arm) as child:
        assert child.wait() == 9
    bucket.program.ok("recover")
    assert (bucket.versions(), bucket.markers()) == ([], [])
    [deletion] = bucket.program.json("log", "--type", "delete")
    assert (deletion["status"], deletion["metadata"]["purged"]) == ("success", 2)
    assert bucket.archive()["version_id"] is None
