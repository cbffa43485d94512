"""Restores that are asked for again: by the same command, after a kill, by an undo."""

import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from mgmt.catalog.operations.thaws import Thaws
from tests.glacier import Glacier
from tests.integration.test_restore import asked, cold, frozen, glacier
from tests.program import Program

__all__ = ["cold", "glacier"]


def test_options_that_a_pending_restore_ignores_are_named(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    cold.ok("restore", "notes", "--tier", "Bulk", "--days", "3")
    assert "unchanged" not in cold.ok("restore", "notes")
    said = cold.ok("restore", "notes", "--tier", "Standard", "--days", "9")
    assert "is being restored already (Bulk, 3 days): --tier and --days changed nothing" in said
    assert asked(glacier) == 1


def test_a_restore_of_what_can_be_read_says_so(cold: Program, glacier: Glacier) -> None:
    (cold.work / "warm").write_text("warm")
    cold.ok("upload", "warm")
    assert "warm.tar.gz can be read: nothing had to be restored" in cold.ok("restore", "warm")
    frozen(cold, "notes")
    cold.ok("restore", "notes")
    glacier.thaw()
    assert "nothing had to" not in cold.ok("restore", "notes")
    again = cold.ok("restore", "notes")
    assert "notes.tar.gz can be read until 20" in again
    assert asked(glacier) == 1


def killed_at_the_request(cold: Program, glacier: Glacier) -> None:
    """Let a process ask the store for a restore, and be killed before it records the answer."""

    def killed(*_: object) -> None:
        os._exit(9)

    with (
        pytest.MonkeyPatch.context() as patch,
        cold.fork("restore", "notes", arm=lambda: patch.setattr(Thaws, "note_requested", killed)) as child,
    ):
        assert child.wait() == 9
    assert asked(glacier) == 1
    [left] = cold.json("log", "--type", "restore")
    assert (left["status"], left["requested_at"]) == ("pending", None)


def test_a_restore_that_was_requested_but_not_recorded_is_not_requested_again(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    killed_at_the_request(cold, glacier)
    [restore] = cold.json("restore", "notes")
    assert restore["status"] == "pending"
    assert restore["requested_at"] is not None
    glacier.thaw()
    assert cold.run("download", "notes", "--to", "back").returncode == 0
    assert (asked(glacier), len(cold.json("log", "--type", "restore"))) == (1, 1)


def test_within_an_hour_a_frozen_archive_was_not_requested(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    killed_at_the_request(cold, glacier)
    glacier.thaws.clear()  # the store never got the request, as far as this tells
    assert cold.run("restore", "notes").returncode == 0
    assert asked(glacier) == 2


def test_after_an_hour_it_may_have_been_requested_and_have_expired(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    killed_at_the_request(cold, glacier)
    [left] = cold.json("log", "--type", "restore")
    asking = left["metadata"]["asking"]
    long_ago = (datetime.fromisoformat(asking) - timedelta(hours=2)).isoformat()
    cold.records.change(f"UPDATE operations SET metadata = replace(metadata, '{asking}', '{long_ago}')")
    glacier.thaw()
    glacier.expire()
    doubtful = cold.run("restore", "notes")
    assert doubtful.returncode == 6
    assert "may have been requested" in doubtful.stderr
    assert asked(glacier) == 1
    assert cold.run("restore", "notes").returncode == 0
    assert asked(glacier) == 2


def test_the_plan_of_an_undo_says_that_the_archive_is_frozen(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    [free] = cold.json("log", "--type", "free")
    priced = replace(cold, environment={**cold.environment, "MGMT_PRICE_REGION": "us-east-1"})
    [part] = priced.json("undo", free["operation_id"], "-n")
    assert part["action"] == "download"
    assert "is frozen (DEEP_ARCHIVE)" in part["why"]
    assert "USD" in part["why"]
    undone = priced.run("undo", free["operation_id"], "--yes")
    assert (undone.returncode, asked(glacier)) == (6, 0)
    assert "USD" in undone.stderr
    cold.ok("restore", "notes")
    glacier.thaw()
    assert cold.json("undo", free["operation_id"], "-n")[0]["why"] is None
    cold.ok("undo", free["operation_id"], "--yes")
    again = cold.run("undo", free["operation_id"], "--yes")
    assert "is undone already" in again.stderr
    assert "download  " not in again.stdout
