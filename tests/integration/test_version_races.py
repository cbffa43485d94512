"""Deletions and undeletions at the same moment, of two processes, two catalogs, and interrupted ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.versioned import Versioned, versioned
from tests.moments import killed, meanwhile
from tests.program import Done
from tests.servers import Server


@pytest.fixture
def bucket(tmp_path: Path, seaweed: Server) -> Versioned:
    made = versioned(tmp_path, seaweed)
    made.upload()
    return made


def is_sound(bucket: Versioned) -> None:
    bucket.program.ok("recover")
    bucket.program.ok("verify", "--all")
    bucket.program.ok("audit", "verify")


def test_an_undelete_waits_for_the_deletion(bucket: Versioned) -> None:
    during: list[int] = []

    def undelete() -> None:
        during.append(bucket.program.run_process("undelete", "notes").returncode)

    with meanwhile("mgmt.services.delete.remove_archive", undelete, after=True):
        bucket.program.ok("delete", "notes", "--yes")
    assert during == [11]
    assert bucket.keys() == []
    is_sound(bucket)


def test_a_deletion_waits_for_the_undelete(bucket: Versioned) -> None:
    bucket.program.ok("delete", "notes", "--yes")
    during: list[int] = []

    def delete() -> None:
        during.append(bucket.program.run_process("delete", "notes", "--yes", "--purge").returncode)

    with meanwhile("mgmt.services.undelete.uncover", delete, after=True):
        bucket.program.ok("undelete", "notes")
    assert during == [11]
    assert len(bucket.keys()) == 2
    is_sound(bucket)


def test_an_upload_of_another_catalog_takes_the_key_first(bucket: Versioned) -> None:
    bucket.program.ok("delete", "notes", "--yes")
    other = replace(bucket, program=replace(bucket.program, home=bucket.program.home / "other"))
    with meanwhile("mgmt.services.undelete.uncover", lambda: other.upload(content="two"), after=True):
        done = bucket.program.run("undelete", "notes")
    assert done.returncode == 10, done.stderr
    other.program.ok("verify", "--all")
    assert len(bucket.keys()) == 2
    other.program.ok("download", "notes", "--to", "back")
    assert (other.program.work / "back/notes").read_text() == "two"


def test_a_deletion_of_another_catalog_is_noticed(bucket: Versioned) -> None:
    bucket.program.ok("delete", "notes", "--yes")

    def hide() -> None:
        bucket.client.delete_object(**bucket.key("notes.tar.gz"))

    with meanwhile("mgmt.services.undelete._confirmed", hide):
        done = bucket.program.run("undelete", "notes")
    assert done.returncode == 10
    assert bucket.keys() == []
    bucket.program.ok("undelete", "notes")
    is_sound(bucket)


@pytest.mark.parametrize(("at", "after"), [("uncover", False), ("uncover", True), ("_confirmed", False)])
def test_a_killed_undelete_is_finished_or_undone(bucket: Versioned, at: str, after: bool) -> None:
    bucket.program.ok("delete", "notes", "--yes")
    killed(bucket.program, "undelete", "notes", at=f"mgmt.services.undelete.{at}", after=after)
    is_sound(bucket)
    assert len(bucket.keys()) == (2 if at == "_confirmed" else 0)
    assert bucket.archive()["status"] == ("completed" if at == "_confirmed" else "deleted")
    bucket.program.ok("undelete", "notes")
    is_sound(bucket)


def test_a_killed_undelete_is_finished_by_the_same_command(bucket: Versioned) -> None:
    bucket.program.ok("delete", "notes", "--yes")
    killed(bucket.program, "undelete", "notes", at="mgmt.services.undelete._confirmed")
    bucket.program.ok("undelete", "notes")
    assert bucket.archive()["status"] == "completed"
    is_sound(bucket)


@pytest.mark.parametrize(
    ("at", "after"),
    [
        ("mgmt.services.delete.remove_archive", False),
        ("mgmt.services.delete.remove_archive", True),
        ("mgmt.services.steps.purge.remove_versions", True),
    ],
)
def test_a_killed_purge_is_finished_by_the_same_command(bucket: Versioned, at: str, after: bool) -> None:
    killed(bucket.program, "delete", "notes", "--yes", "--purge", at=at, after=after)
    is_sound(bucket)
    done: Done = bucket.program.run("delete", "notes", "--yes", "--purge")
    # Not found if `recover` has finished it, which `is_sound` runs.
    assert done.returncode in (0, 4), done.stderr
    assert bucket.versions() == []
    is_sound(bucket)


def test_a_killed_deletion_can_be_undeleted(bucket: Versioned) -> None:
    killed(bucket.program, "delete", "notes", "--yes", at="mgmt.services.delete.remove_archive", after=True)
    bucket.program.ok("recover")
    assert bucket.archive()["version_id"] is not None
    bucket.program.ok("undelete", "notes")
    is_sound(bucket)


def test_a_lost_answer_to_a_deletion_leaves_what_can_be_undeleted(bucket: Versioned) -> None:
    """A request that is sent again makes another delete marker."""
    twice = bucket.client.delete_object
    with meanwhile("mgmt.services.delete.remaining", lambda: twice(**bucket.key("notes.tar.gz"))):
        bucket.program.ok("delete", "notes", "--yes")
    bucket.program.ok("undelete", "notes")
    assert bucket.markers() == []
    is_sound(bucket)
