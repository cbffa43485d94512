"""Archives that move to another storage class: at any time there, proven, recorded, and at a known price."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mgmt.storage import copying
from tests.forked import Forked
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
    environment = {**mover.environment, "MGMT_PRICE_REGION": "us-east-1"}
    return Program(tmp_path, f"s3://{BUCKET}/archive", environment)


def archive(program: Program, name: str = "notes", *options: str, size: int = 20) -> None:
    (program.work / name).write_bytes(os.urandom(size))
    program.ok("upload", name, *options)


def of(program: Program, name: str = "notes.tar.gz") -> dict[str, Any]:
    """What is recorded of an archive."""
    [found] = [each for each in program.json("ls", "-l") if each["path"] == name]
    return dict(found)


def in_class(mover: Mover, key: str = KEY) -> str:
    return mover.objects[key].headers.get("x-amz-storage-class", "STANDARD")


def as_if_stored(program: Program, days: int) -> None:
    """Let all archives be in their class for so many days."""
    when = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
    program.records.change(f"UPDATE files SET stored_at = '{when}' WHERE location = 's3'")


def test_an_archive_moves_with_all_that_it_has(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--tag", "year=2024")
    mover.objects[KEY].headers |= {
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
        "x-amz-object-lock-legal-hold": "ON",
    }
    before = dict(mover.objects[KEY].headers)
    [moved] = cold.json("class", "notes", "DEEP_ARCHIVE")
    assert (moved["status"], moved["from_class"], moved["to_class"]) == ("success", "STANDARD", "DEEP_ARCHIVE")
    after = dict(mover.objects[KEY].headers)
    assert after.pop("x-amz-storage-class") == "DEEP_ARCHIVE"
    assert {name: value[:10] for name, value in after.items()} == {name: value[:10] for name, value in before.items()}
    assert mover.tags(KEY) == {"year": "2024"}
    found = of(cold)
    assert (found["storage_class"], found["proof"]) == ("DEEP_ARCHIVE", "server-checksum crc64nvme")
    assert found["etag"] == mover.objects[KEY].etag
    assert moved["estimated_cost_micros"] is not None
    assert cold.run("verify", "notes").returncode == 0
    assert cold.run("audit", "verify").returncode == 0


def test_the_same_again_changes_nothing(cold: Program, mover: Mover) -> None:
    archive(cold)
    cold.ok("class", "notes", "GLACIER_IR")
    assert "is in GLACIER_IR already" in cold.ok("class", "notes", "glacier_ir")
    assert mover.count("^PUT .*notes.tar.gz$") == 2


def test_a_large_archive_is_copied_in_parts(cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LARGEST_COPY", 1000)
    monkeypatch.setattr(copying, "PART_SIZE", 300)
    archive(cold, "notes", "--tag", "year=2024", size=2000)
    body = mover.objects[KEY].body
    mover.objects[KEY].headers["x-amz-object-lock-legal-hold"] = "ON"
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    assert mover.objects[KEY].body == body
    assert mover.count("^PUT .*notes.*partNumber") == -(-len(body) // 300)
    assert (in_class(mover), mover.tags(KEY)) == ("DEEP_ARCHIVE", {"year": "2024"})
    assert mover.objects[KEY].headers["x-amz-object-lock-legal-hold"] == "ON"
    assert cold.run("verify", "notes").returncode == 0
    assert mover.uploads == {}


def test_parts_of_a_copy_that_failed_are_removed(cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LARGEST_COPY", 1000)
    monkeypatch.setattr(copying, "PART_SIZE", 300)
    archive(cold, size=2000)
    mover.tell("^PUT .*partNumber=2", "403 AccessDenied", "no", times=1)
    mover.tell("^DELETE .*uploadId", "503 SlowDown", "later", times=1)
    assert cold.run("class", "notes", "DEEP_ARCHIVE").returncode == 1
    assert (in_class(mover), len(mover.uploads)) == ("STANDARD", 1)
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    assert (in_class(mover), mover.uploads) == ("DEEP_ARCHIVE", {})


def test_a_copy_that_differs_is_not_called_done(cold: Program, mover: Mover) -> None:
    archive(cold)
    assert of(cold)["proof"] == "server-checksum crc64nvme"
    mover.quirks.flips = "notes.tar.gz$"
    done = cold.run("class", "notes", "GLACIER_IR")
    assert done.returncode == 8
    assert "checksum mismatch" in done.stderr
    assert "try: mgmt delete" in done.stderr  # the copy in completed/ replaces it
    assert of(cold)["proof"] is None
    again = cold.run("class", "notes", "GLACIER_IR")
    assert (again.returncode, "try: mgmt delete" in again.stderr) == (8, True)
    [_, failed] = cold.json("log", "--type", "class")
    assert failed["status"] == "failed"
    assert cold.run("verify", "notes").returncode == 8
    mover.quirks.flips = None
    cold.ok("delete", "notes", "--yes")  # as it says: the copy is proven, and holds all of it


def test_a_copy_in_parts_that_differs_never_gets_the_key(
    cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LARGEST_COPY", 1000)
    monkeypatch.setattr(copying, "PART_SIZE", 300)
    archive(cold, size=2000)
    before = mover.objects[KEY]

    copied = Mover._copy_part

    def corrupt(self: Mover, request: object) -> object:
        answer = copied(self, request)  # type: ignore[arg-type]
        for part in self.uploads[request.query["uploadId"]].parts.values():  # type: ignore[attr-defined]
            part.body = b"x" + part.body[1:]
        return answer

    monkeypatch.setattr(Mover, "_copy_part", corrupt)
    assert cold.run("class", "notes", "DEEP_ARCHIVE").returncode == 8
    assert mover.objects[KEY] is before
    assert cold.run("verify", "notes").returncode == 0


def test_a_lost_answer_is_no_failure(cold: Program, mover: Mover) -> None:
    archive(cold)
    mover.tell("^PUT .*notes.tar.gz$", "500 InternalError", "lost", times=1, acts=True)
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    assert of(cold)["storage_class"] == "DEEP_ARCHIVE"


def test_a_failure_after_the_copy_is_finished_by_the_same_command(cold: Program, mover: Mover) -> None:
    archive(cold)
    mover.tell("^HEAD .*notes.tar.gz$", "503 SlowDown", "later", times=0)
    puts = mover.count("^PUT .*notes.tar.gz$")

    acts = mover._act

    def fails_after(request: object) -> object:
        answer = acts(request)  # type: ignore[arg-type]
        if "x-amz-copy-source" in request.headers:  # type: ignore[attr-defined]
            mover.told[0].times = 1 << 30
        return answer

    mover._act = fails_after  # type: ignore[method-assign, assignment]
    assert cold.run("class", "notes", "DEEP_ARCHIVE").returncode == 5
    assert (in_class(mover), of(cold)["storage_class"]) == ("DEEP_ARCHIVE", "STANDARD")
    mover.told.clear()
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    assert (of(cold)["storage_class"], of(cold)["etag"]) == ("DEEP_ARCHIVE", mover.objects[KEY].etag)
    assert mover.count("^PUT .*notes.tar.gz$") == puts + 1


@pytest.mark.parametrize("by", ["command", "recover"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_move_is_finished(
    by: str, when: str, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(cold)
    from mgmt.storage import s3_copy

    moved = s3_copy.move

    def killed(*arguments: object) -> object:
        if when == "after":
            moved(*arguments)  # type: ignore[arg-type]
        os._exit(9)

    with cold.fork("class", "notes", "DEEP_ARCHIVE", arm=lambda: monkeypatch.setattr(s3_copy, "move", killed)) as child:
        assert child.wait() == 9
    assert in_class(mover) == ("DEEP_ARCHIVE" if when == "after" else "STANDARD")
    [left] = cold.json("log", "--type", "class")
    assert left["status"] == "running"
    if by == "recover":
        assert cold.run_process("recover").returncode == 0
        [settled] = cold.json("log", "--type", "class")
        assert settled["status"] == ("success" if when == "after" else "running")
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    found = of(cold)
    assert (found["storage_class"], found["etag"]) == ("DEEP_ARCHIVE", mover.objects[KEY].etag)
    assert cold.run("verify", "notes").returncode == 0
    assert cold.run("audit", "verify").returncode == 0


def test_a_frozen_archive_is_thawed_first(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--storage-class", "DEEP_ARCHIVE")
    as_if_stored(cold, 200)
    waits = cold.run("class", "notes", "STANDARD")
    assert waits.returncode == 6
    assert "should end by" in waits.stderr
    mover.thaw()
    cold.ok("class", "notes", "STANDARD")
    assert (in_class(mover), of(cold)["storage_class"]) == ("STANDARD", "STANDARD")
    assert mover.count("^POST .*restore") == 1


def test_too_early_is_refused_with_the_price_and_the_days(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--storage-class", "GLACIER_IR")
    as_if_stored(cold, 10)
    early = cold.run("class", "notes", "STANDARD")
    assert early.returncode == 7
    assert "80 days before its minimum duration ends" in early.stderr
    assert "about 0.00" in early.stderr
    assert "--yes" in early.stderr
    assert in_class(mover) == "GLACIER_IR"
    [plan] = cold.json("class", "notes", "STANDARD", "-n")
    assert (plan["days_left"], plan["from_class"], plan["to_class"]) == (80, "GLACIER_IR", "STANDARD")
    cold.ok("class", "notes", "STANDARD", "--yes")
    assert in_class(mover) == "STANDARD"


def test_when_the_minimum_duration_is_over_it_is_not_early(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--storage-class", "GLACIER_IR")
    as_if_stored(cold, 91)
    cold.ok("class", "notes", "STANDARD")
    assert in_class(mover) == "STANDARD"


def test_a_dry_run_changes_nothing(cold: Program, mover: Mover) -> None:
    archive(cold)
    before = mover.objects[KEY]
    [plan] = cold.json("class", "notes", "DEEP_ARCHIVE", "-n")
    assert plan["cost"]["once"] > 0
    assert plan["cost"]["currency"] == "USD"
    assert mover.objects[KEY] is before
    assert cold.json("log", "--type", "class") == []


def test_what_a_lifecycle_rule_has_moved_is_only_recorded(cold: Program, mover: Mover) -> None:
    archive(cold)
    mover.freeze("GLACIER")
    puts = mover.count("^PUT .*notes.tar.gz$")
    cold.ok("class", "notes", "GLACIER")
    assert of(cold)["storage_class"] == "GLACIER"
    assert mover.count("^PUT .*notes.tar.gz$") == puts


def test_another_object_under_the_key_is_not_moved(cold: Program, mover: Mover) -> None:
    archive(cold)
    mover.objects[KEY].headers["x-amz-meta-mgmt-operation"] = "another"
    assert cold.run("class", "notes", "GLACIER_IR").returncode == 8
    assert in_class(mover) == "STANDARD"


def test_what_could_not_be_proven_when_frozen_is_refused(cold: Program, mover: Mover) -> None:
    mover.quirks.compares = frozenset()
    archive(cold)
    refused = cold.run("class", "notes", "DEEP_ARCHIVE")
    assert refused.returncode == 7
    assert "could not be proven" in refused.stderr
    assert in_class(mover) == "STANDARD"
    cold.ok("class", "notes", "GLACIER_IR")
    assert of(cold)["proof"] == "read-back"


def test_a_move_can_run_later(cold: Program, mover: Mover) -> None:
    for name in ("notes", "more"):
        archive(cold, name)
    cold.ok("class", "notes", "more", "DEEP_ARCHIVE", "--later")
    cold.ok("worker", "--until-empty")
    assert [in_class(mover, f"archive/{name}.tar.gz") for name in ("notes", "more")] == ["DEEP_ARCHIVE"] * 2


def test_a_later_move_of_a_frozen_archive_waits_for_its_thaw(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--storage-class", "DEEP_ARCHIVE")
    cold.ok("class", "notes", "STANDARD", "--later", "--yes")
    cold.ok("worker", "--until-empty")
    waiting = {each["operation_type"]: each for each in cold.json("queue")}
    assert waiting["class"]["after"] == [waiting["restore"]["operation_id"]]
    mover.thaw()
    assert cold.run("run", waiting["restore"]["operation_id"]).returncode == 0
    cold.ok("worker", "--until-empty")
    assert in_class(mover) == "STANDARD"


def versioned(program: Program) -> Program:
    """moto ignores the condition on what a copy replaces, so that only a bucket with versions will do."""
    client = Server("moto", program.environment["AWS_ENDPOINT_URL"], {}, 0, program.home).client()
    bucket = program.store.removeprefix("s3://").partition("/")[0]
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return program


def test_a_real_server_that_ignores_the_condition_is_found_out(on_moto: Program) -> None:
    archive(on_moto)
    refused = on_moto.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "it ignores If-Match" in refused.stderr
    assert on_moto.run("verify", "notes").returncode == 0


def test_moto_moves_an_archive(on_moto: Program) -> None:
    versioned(on_moto)
    archive(on_moto, "notes", "--tag", "year=2024")
    on_moto.ok("class", "notes", "GLACIER_IR")
    assert of(on_moto)["storage_class"] == "GLACIER_IR"
    assert on_moto.run("verify", "notes").returncode == 0


def test_moto_moves_an_archive_in_parts(on_moto: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LARGEST_COPY", 6 << 20)
    monkeypatch.setattr(copying, "PART_SIZE", 5 << 20)
    archive(versioned(on_moto), "notes", "--tag", "year=2024", size=12 << 20)
    on_moto.ok("class", "notes", "GLACIER_IR")
    assert of(on_moto)["storage_class"] == "GLACIER_IR"
    assert on_moto.run("verify", "--read-back", "notes").returncode == 0


def test_a_store_that_does_not_do_it_says_so(on_seaweed: Program) -> None:
    archive(on_seaweed)
    refused = on_seaweed.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "the store does not move" in refused.stderr
    assert on_seaweed.run("verify", "notes").returncode == 0


@pytest.mark.parametrize("by", ["option", "setting", "rule"])
def test_a_class_means_nothing_in_a_directory(by: str, on_directory: Program) -> None:
    if by == "rule":
        config = on_directory.home / "config/mgmt/config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text('[[rules]]\nstorage_class = "DEEP_ARCHIVE"\n')
    elif by == "setting":
        on_directory.ok("config", "set", "storage_class", "DEEP_ARCHIVE")
    options = ["--storage-class", "DEEP_ARCHIVE"] if by == "option" else []
    (on_directory.work / "notes").write_text("notes")
    [plan] = on_directory.json("upload", "notes", "-n", *options)
    assert (plan["storage_class"], plan["storage_class_by"]) == (None, None)
    on_directory.ok("upload", "notes", *options)
    assert of(on_directory)["storage_class"] is None


def test_a_directory_has_no_classes(on_directory: Program) -> None:
    archive(on_directory)
    refused = on_directory.run("class", "notes", "GLACIER_IR")
    assert refused.returncode == 7
    assert "no storage classes" in refused.stderr


def test_an_early_move_stays_refused_when_it_is_repeated(cold: Program, mover: Mover) -> None:
    archive(cold, "notes", "--storage-class", "GLACIER_IR")
    cold.ok("class", "notes", "STANDARD", "--later")
    assert cold.run("worker", "--until-empty").returncode == 3
    [refused] = cold.json("log", "--type", "class")
    assert refused["status"] == "failed"
    assert cold.run("retry", refused["operation_id"]).returncode == 7
    assert in_class(mover) == "GLACIER_IR"


def test_a_move_is_not_undone_but_says_how(cold: Program, mover: Mover) -> None:
    archive(cold)
    [moved] = cold.json("class", "notes", "GLACIER_IR")
    refused = cold.run("undo", moved["operation_id"], "--yes")
    assert refused.returncode == 7
    assert "notes.tar.gz STANDARD -n" in refused.stderr
    assert in_class(mover) == "GLACIER_IR"


def test_one_process_at_a_time_works_on_a_content(cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(cold)
    from mgmt.storage import s3_copy

    moved, (begun, tell_begun), (go, tell_go) = s3_copy.move, os.pipe(), os.pipe()

    def waiting(*arguments: Any) -> str | None:
        os.write(tell_begun, b".")
        os.read(go, 1)
        return moved(*arguments)

    with cold.fork(
        "class", "notes", "DEEP_ARCHIVE", arm=lambda: monkeypatch.setattr(s3_copy, "move", waiting)
    ) as child:
        os.read(begun, 1)
        for command in (["class", "notes", "GLACIER_IR"], ["tag", "notes", "a=1"], ["delete", "notes", "--yes"]):
            assert cold.run(*command).returncode == 11, command
        os.write(tell_go, b".")
        assert child.wait() == 0
    for each in (begun, tell_begun, go, tell_go):
        os.close(each)
    assert of(cold)["storage_class"] == in_class(mover) == "DEEP_ARCHIVE"


def test_an_interrupted_copy_removes_its_parts(cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "LARGEST_COPY", 1000)
    monkeypatch.setattr(copying, "PART_SIZE", 300)
    archive(cold, size=2000)
    copied, children = Mover._copy_part, list[Forked]()

    def interrupts(self: Mover, request: Any) -> Any:
        if self.count("^PUT .*notes.*partNumber") == 3:
            children[0].send_signal(signal.SIGINT)
        return copied(self, request)

    monkeypatch.setattr(Mover, "_copy_part", interrupts)
    mover.tell("^POST .*notes.*uploadId", "503 SlowDown", "not before the signal")
    with cold.fork("class", "notes", "DEEP_ARCHIVE") as child:
        children.append(child)
        status = child.wait()
    mover.told.clear()
    assert (status, in_class(mover), mover.uploads) == (130, "STANDARD", {})
    cold.ok("class", "notes", "DEEP_ARCHIVE")
    assert (in_class(mover), mover.uploads) == ("DEEP_ARCHIVE", {})
