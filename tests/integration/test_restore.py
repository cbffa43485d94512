"""Frozen archives: asked for once, waited for, brought back proven."""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgmt.services.steps import thaw
from tests.glacier import Glacier
from tests.program import Program
from tests.quirks import BUCKET, Endpoint, quirky
from tests.servers import Server, until


@pytest.fixture
def glacier() -> Iterator[Glacier]:
    with quirky(Glacier) as endpoint:
        yield endpoint


@pytest.fixture
def cold(tmp_path: Path, glacier: Glacier) -> Program:
    """A program whose store freezes."""
    return Program(tmp_path, f"s3://{BUCKET}/archive", glacier.environment)


def frozen(program: Program, *names: str, storage_class: str = "DEEP_ARCHIVE") -> None:
    """Archive files of these names, and free their copies."""
    for name in names:
        (program.work / name).write_text(f"the content of {name}")
    done = program.run("upload", *names, "--storage-class", storage_class)
    assert done.returncode == 0, done.stderr
    assert program.run("free", *names, "--yes").returncode == 0


def asked(glacier: Glacier) -> int:
    return glacier.count("^POST .*restore")


def test_download_asks_once_says_when_and_brings_it_back(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    first = cold.run("download", "notes", "--to", "back")
    assert first.returncode == 6
    assert "should end by" in first.stderr
    assert cold.run("download", "notes", "--to", "back").returncode == 6
    assert asked(glacier) == 1
    [restore] = cold.json("log", "--type", "restore")
    assert restore["status"] == "pending"
    expected = datetime.fromisoformat(restore["expected_at"]) - datetime.now(UTC)
    assert timedelta(hours=11) < expected < timedelta(hours=13)
    glacier.thaw()
    done = cold.run("download", "notes", "--to", "back")
    assert done.returncode == 0, done.stderr
    assert (cold.work / "back/notes").read_text() == "the content of notes"
    assert asked(glacier) == 1


def test_restore_is_pending_until_the_archive_can_be_read(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    [restore] = cold.json("restore", "notes", "--tier", "bulk", "--days", "3")
    assert (restore["status"], restore["tier"], restore["days"]) == ("pending", "Bulk", 3)
    [same] = cold.json("restore", "notes")
    assert same["operation_id"] == restore["operation_id"]
    glacier.thaw()
    [ready] = cold.json("restore", "notes")
    assert (ready["operation_id"], ready["status"]) == (restore["operation_id"], "success")
    assert datetime.fromisoformat(ready["expires_at"]) > datetime.now(UTC) + timedelta(days=2)
    assert cold.run("audit", "verify").returncode == 0


def test_restore_ready_downloads_what_can_be_read_and_was_not(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "a", "b", "c")
    assert cold.run("restore", "a", "b").returncode == 0
    assert cold.json("restore", "--ready", "--to", "back") == []
    glacier.thaw()
    assert cold.run("restore", "c").returncode == 0
    assert cold.run("restore", "--ready", "--to", "back").returncode == 0
    assert sorted(each.name for each in (cold.work / "back").iterdir()) == ["a", "b"]
    assert cold.json("restore", "--ready", "--to", "back") == []
    assert asked(glacier) == 3


def test_an_expired_thaw_is_asked_for_again_only_by_a_command(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes").returncode == 0
    glacier.thaw()
    glacier.expire()
    expired = cold.run("restore", "--ready")
    assert expired.returncode == 6
    assert "expired unread" in expired.stderr
    assert asked(glacier) == 1
    assert cold.run("download", "notes").returncode == 6
    assert asked(glacier) == 2


def test_nothing_but_a_typed_command_asks_for_a_thaw(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    [free] = cold.json("log", "--type", "free")
    assert cold.run("undo", free["operation_id"], "--yes").returncode == 6
    assert asked(glacier) == 0
    assert cold.run("download", "notes", "--to", "back").returncode == 6
    glacier.thaw()
    assert cold.run("restore", "--ready", "--to", "back").returncode == 0
    glacier.expire()
    assert cold.run("retry", "--failed").returncode == 0
    assert asked(glacier) == 1


def test_a_worker_does_not_ask_again_for_a_thaw_that_has_expired(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    download = cold.run("-q", "download", "notes", "--to", "back", "--later").stdout.strip()
    assert cold.run("worker", "--until-empty").returncode == 0
    glacier.thaw()
    assert cold.run("restore", "notes").returncode == 0
    glacier.expire()
    assert cold.run("worker", "--until-empty").returncode == 3
    assert cold.json("status", download)["operation"]["status"] == "failed"
    assert asked(glacier) == 1


def test_ready_never_asks_and_takes_no_other_archive_for_the_one_that_was_thawed(
    cold: Program, glacier: Glacier
) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes").returncode == 0
    glacier.thaw()
    assert cold.run("restore", "notes").returncode == 0
    assert cold.run("delete", "notes", "--last-copy", "--yes").returncode == 0
    glacier.thaws.clear()
    frozen(cold, "notes")
    assert cold.json("restore", "--ready", "--to", "back") == []
    assert asked(glacier) == 1


def test_ready_fetches_the_others_when_one_fails(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "a", "b")
    assert cold.run("restore", "a", "b").returncode == 0
    glacier.thaw()
    glacier.tell("/a.tar.gz", "500 InternalError")
    assert cold.run("restore", "--ready", "--to", "back").returncode == 3
    assert [each.name for each in (cold.work / "back").iterdir()] == ["b"]


def test_ready_leaves_what_a_worker_will_download(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("download", "notes", "--to", "back", "--later").returncode == 0
    assert cold.run("worker", "--until-empty").returncode == 0
    glacier.thaw()
    assert cold.json("restore", "--ready", "--to", "back") == []
    assert cold.run("worker", "--until-empty").returncode == 0
    assert (cold.work / "back/notes").exists()


def test_ready_can_be_planned(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes").returncode == 0
    glacier.thaw()
    [plan] = cold.json("restore", "--ready", "-n", "--to", "back")
    assert plan["object"].endswith("notes.tar.gz")
    assert not (cold.work / "back").exists()
    assert cold.json("log", "--type", "download") == []


def test_a_member_is_not_the_whole(cold: Program, glacier: Glacier) -> None:
    (cold.work / "shoot").mkdir()
    (cold.work / "shoot/a").write_text("a")
    assert cold.run("upload", "shoot", "--storage-class", "DEEP_ARCHIVE").returncode == 0
    assert cold.run("restore", "shoot").returncode == 0
    glacier.thaw()
    assert cold.run("download", "shoot", "--member", "a", "--to", "one").returncode == 0
    assert cold.run("restore", "--ready", "--to", "back").returncode == 0
    assert (cold.work / "back/shoot/a").exists()
    assert cold.json("restore", "--ready", "--to", "back") == []


def test_a_copy_can_be_kept_longer(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes", "--days", "1").returncode == 0
    glacier.thaw()
    [restore] = cold.json("restore", "notes", "--days", "30")
    assert datetime.fromisoformat(restore["expires_at"]) > datetime.now(UTC) + timedelta(days=29)


def test_a_class_that_is_only_a_label_can_be_read(cold: Program) -> None:
    with quirky(Endpoint) as labels:
        program = Program(cold.home / "labels", cold.store, labels.environment)
        frozen(program, "notes")
        assert program.run("verify", "notes", "--read-back").returncode == 0
        assert program.run("download", "notes", "--to", "back").returncode == 0
        assert (program.work / "back/notes").read_text() == "the content of notes"
        assert labels.count("^POST .*restore") == 0


def test_a_worker_downloads_a_frozen_archive_when_it_can_be_read(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    download = cold.run("-q", "download", "notes", "--to", "back", "--later").stdout.strip()
    assert cold.run("worker", "--until-empty").returncode == 0
    waiting = {each["operation_type"]: each for each in cold.json("queue")}
    assert waiting["download"]["after"] == [waiting["restore"]["operation_id"]]
    glacier.thaw()
    assert cold.run("run", waiting["restore"]["operation_id"]).returncode == 0
    assert cold.run("worker", "--until-empty").returncode == 0
    assert (cold.work / "back/notes").read_text() == "the content of notes"
    assert {each["operation_id"]: each["status"] for each in cold.json("log")}[download] == "success"
    assert asked(glacier) == 1


def test_wait_returns_when_it_can_be_read(cold: Program, glacier: Glacier, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen(cold, "notes")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            glacier.thaw()

    monkeypatch.setattr(thaw, "pause", pause)
    done = cold.run("download", "notes", "--to", "back", "--wait")
    assert done.returncode == 0, done.stderr
    assert (cold.work / "back/notes").read_text() == "the content of notes"
    assert len(pauses) == 3
    assert pauses[0] > 11 * 3600
    assert asked(glacier) == 1


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.torture)])
def test_a_restore_of_many_names_those_that_fail(count: int, cold: Program, glacier: Glacier) -> None:
    names = [f"n{number}" for number in range(count)]
    frozen(cold, *names)
    glacier.tell("^POST .*n[24].tar.gz.restore", "403 AccessDenied", "no")
    done = cold.run("restore", *names)
    assert done.returncode == 3
    assert [name for name in names if f"/{name}.tar.gz" in done.stderr] == ["n2", "n4"]
    restores = cold.json("log", "--type", "restore", "--limit", "1000")
    pending = {each["target_name"] for each in restores if each["status"] == "pending"}
    assert pending == {f"{name}.tar.gz" for name in names} - {"n2.tar.gz", "n4.tar.gz"}


def test_no_request_goes_to_a_frozen_key_for_what_the_catalog_knows(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    before = list(glacier.requests)
    of_the_catalog = (
        ["search", "notes"],
        ["ls"],
        ["ls", "-l"],
        ["ls", "--members", "notes"],
        ["cost"],
        ["db", "rebuild"],
    )
    for command in of_the_catalog:
        assert cold.run(*command).returncode == 0
    again = Program(cold.home / "another", cold.store, cold.environment)
    assert again.run("db", "rebuild").returncode == 0
    assert again.run("ls", "--members", "notes").returncode == 0
    assert [each for each in glacier.requests[len(before) :] if each.endswith("notes.tar.gz")] == []


@pytest.mark.parametrize("how", ["search", "batch"])
def test_archives_are_chosen_by_search_or_by_operation(how: str, cold: Program, glacier: Glacier) -> None:
    frozen(cold, "beach-1", "beach-2")
    frozen(cold, "town")
    [batch] = [each for each in cold.json("log", "--type", "batch") if "upload" in each["target_name"]]
    chosen = ["--search", "beach"] if how == "search" else ["--batch", batch["operation_id"]]
    assert cold.run("restore", *chosen).returncode == 0
    assert sorted(glacier.thaws) == ["archive/beach-1.tar.gz", "archive/beach-2.tar.gz"]


@pytest.mark.parametrize("how", ["search", "batch"])
def test_archives_are_chosen_when_a_request_runs(how: str, cold: Program, glacier: Glacier) -> None:
    frozen(cold, "beach-1", "beach-2")
    frozen(cold, "town")
    [batch] = [each for each in cold.json("log", "--type", "batch") if "upload" in each["target_name"]]
    chosen = ["--search", "beach"] if how == "search" else ["--batch", batch["operation_id"]]
    assert cold.run("restore", *chosen, "--tier", "bulk", "--later").returncode == 0
    assert asked(glacier) == 0
    cold.run("worker", "--until-empty")
    assert sorted(glacier.thaws) == ["archive/beach-1.tar.gz", "archive/beach-2.tar.gz"]
    assert [each["tier"] for each in cold.json("log", "--type", "restore")] == ["Bulk", "Bulk"]


def test_deep_archive_has_no_expedited_thaw(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes", "--tier", "Expedited").returncode == 2
    assert cold.json("log", "--type", "restore") == []
    assert asked(glacier) == 0


def test_a_dry_run_says_what_would_thaw(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    [plan] = cold.json("restore", "notes", "-n")
    assert (plan["state"], plan["storage_class"], plan["tier"]) == ("frozen", "DEEP_ARCHIVE", "Standard")
    assert asked(glacier) == 0
    assert cold.json("log", "--type", "restore") == []


def test_several_processes_at_once_ask_once(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    started = [
        subprocess.Popen(cold.command("restore", "notes"), env=cold.env(), cwd=cold.work, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [each.wait() for each in started] == [0, 0, 0]
    assert asked(glacier) == 1
    assert len(cold.json("log", "--type", "restore")) == 1


def test_a_killed_process_leaves_a_thaw_that_the_next_one_finds(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    waiting = subprocess.Popen(
        cold.command("download", "notes", "--to", "back", "--wait"), env=cold.env(), cwd=cold.work
    )
    until(lambda: asked(glacier) == 1, cold.home, "the thaw to be requested")
    waiting.kill()
    waiting.wait()
    assert cold.run("recover").returncode == 0
    assert cold.run("download", "notes", "--to", "back").returncode == 6
    glacier.thaw()
    assert cold.run("download", "notes", "--to", "back").returncode == 0
    assert asked(glacier) == 1
    assert cold.run("audit", "verify").returncode == 0


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda _cold, _glacier: None, "frozen"),
        (lambda cold, _glacier: cold.run("restore", "notes"), "thawing"),
        (lambda cold, glacier: (cold.run("restore", "notes"), glacier.thaw(), cold.run("restore", "notes")), "ready"),
    ],
    ids=["frozen", "thawing", "ready"],
)
def test_the_state_is_shown(
    act: Callable[[Program, Glacier], object], state: str, cold: Program, glacier: Glacier
) -> None:
    frozen(cold, "notes")
    act(cold, glacier)
    assert cold.json("status", "notes")["cold"] == state
    shown = {"thawing": "being restored", "ready": "restored"}.get(state, state)
    assert shown in cold.ok("ls", "-l", "--location", "s3")
    assert shown in cold.ok("status", "notes")


def test_doctor_warns_of_what_expires_unread(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes", "--days", "1").returncode == 0
    glacier.thaw()
    for each in glacier.thaws.values():
        each.until = datetime.now(UTC) + timedelta(hours=5)
    assert cold.run("restore", "notes").returncode == 0
    [found] = [each for each in cold.json("doctor") if each["what"] == "thaws"]
    assert (found["state"], found["next"]) == ("warning", "mgmt restore --ready")


def test_the_store_s_refusal_ends_the_restore(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    glacier.tell("^POST .*restore", "503 GlacierExpeditedRetrievalNotAvailable", "busy", times=1)
    busy = cold.run("restore", "notes")
    assert busy.returncode == 5
    [restore] = cold.json("log", "--type", "restore")
    assert restore["status"] == "failed"
    assert cold.run("restore", "notes").returncode == 0


def test_a_passing_failure_does_not_end_a_thaw_that_is_under_way(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes").returncode == 0
    glacier.tell("^HEAD .*notes.tar.gz$", "503 SlowDown", times=2)
    assert cold.run("restore", "--ready").returncode == 5
    glacier.told.clear()
    glacier.thaw()
    assert cold.run("restore", "--ready", "--to", "back").returncode == 0
    assert (cold.work / "back/notes").exists()
    assert asked(glacier) == 1


def test_another_archive_under_the_same_key_is_thawed_by_itself(cold: Program, glacier: Glacier) -> None:
    frozen(cold, "notes")
    assert cold.run("restore", "notes").returncode == 0
    assert cold.run("delete", "notes", "--last-copy", "--yes").returncode == 0
    glacier.thaws.clear()
    (cold.work / "notes").write_text("other notes")
    assert cold.run("upload", "notes", "--storage-class", "GLACIER").returncode == 0
    assert cold.run("restore", "notes").returncode == 0
    assert asked(glacier) == 2


def test_a_thaw_on_moto_goes_on_in_another_process(on_moto: Program) -> None:
    """moto verifies no checksum, so the archive is frozen after it was proven."""
    (on_moto.work / "notes").write_text("cold")
    [upload] = on_moto.json("upload", "notes")
    assert on_moto.run("free", "notes", "--yes").returncode == 0
    endpoint = on_moto.environment["AWS_ENDPOINT_URL"]
    client = Server("moto", endpoint, {}, 0, on_moto.home).client()
    bucket, _, prefix = on_moto.store.removeprefix("s3://").partition("/")
    key = f"{prefix}/{upload['s3_object_key']}"
    source = {"Bucket": bucket, "Key": key}
    client.copy_object(Bucket=bucket, Key=key, CopySource=source, StorageClass="GLACIER", MetadataDirective="COPY")
    progress = {"model_name": "s3::keyrestore", "transition": {"progression": "manual", "times": 4}}
    request = urllib.request.Request(
        f"{endpoint}/moto-api/state-manager/set-transition",
        data=json.dumps(progress).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    statuses: list[int] = []
    while not statuses or statuses[-1] == 6:
        done = subprocess.run(
            on_moto.command("download", "notes", "--to", "back"), env=on_moto.env(), cwd=on_moto.work, check=False
        )
        statuses.append(done.returncode)
        assert len(statuses) < 6
    assert statuses[0] == 6
    assert statuses[-1] == 0
    assert (on_moto.work / "back/notes").read_text() == "cold"
    assert len(on_moto.json("log", "--type", "restore")) == 1


def test_verify_records_the_class_that_a_lifecycle_rule_has_moved_an_archive_to(
    cold: Program, glacier: Glacier
) -> None:
    (cold.work / "notes").write_text("notes")
    assert cold.run("upload", "notes").returncode == 0
    glacier.freeze("GLACIER")
    assert cold.run("verify", "notes").returncode == 0
    [archive] = cold.json("ls", "--location", "s3")
    assert (archive["storage_class"], archive["stored_at"]) == ("GLACIER", None)
    assert cold.json("status", "notes")["cold"] == "frozen"
