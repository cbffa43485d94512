"""Interrupted uploads are resumed: only missing parts are sent, and the object is that of an uninterrupted upload."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.storage import open_store
from tests.behind import REOPENED
from tests.faults.proxy import Fault, proxy
from tests.moments import amid_upload, stay
from tests.program import Program
from tests.servers import Server, environment
from tests.trees import random_file

SIZE = 40 << 20
PART = 5 << 20


def parts_in(program: Program) -> int:
    """The number of parts of unfinished uploads in the store."""
    return sum(each.size or 0 for each in open_store(program.store).pending()) // PART


def stored(program: Program, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in open_store(program.store).stream(key):
        digest.update(chunk)
    return digest.hexdigest()


def interrupt(program: Program, file: Path, number: signal.Signals, after: Callable[[], bool]) -> int:
    """Upload the first five parts, wait until `after` is true, and send the signal; returns the exit status."""
    with amid_upload(5 * PART, stay), program.fork("upload", file, MGMT_PART_SIZE=str(PART)) as running:
        try:
            while not after():
                with pytest.raises(subprocess.TimeoutExpired):  # it must still be running
                    running.wait(0.05)
            running.send_signal(number)
        except BaseException:
            running.kill()
            raise
        return running.wait()


@pytest.mark.parametrize(
    ("where", "number", "command"),
    [
        ("on_seaweed", signal.SIGKILL, "upload clip.mov"),
        pytest.param("on_rclone", signal.SIGKILL, "upload clip.mov", marks=pytest.mark.sqlite),
        ("on_directory", signal.SIGKILL, "upload clip.mov"),
        pytest.param("on_seaweed", signal.SIGTERM, "upload clip.mov", marks=pytest.mark.sqlite),
        ("on_directory", signal.SIGINT, "upload clip.mov"),
        pytest.param("on_seaweed", signal.SIGTERM, "retry --failed", marks=pytest.mark.sqlite),
        pytest.param("on_directory", signal.SIGTERM, "retry --failed", marks=pytest.mark.sqlite),
    ],
)
@pytest.mark.usefixtures("catalogs")
def test_a_resumed_upload_sends_only_the_missing_parts(
    request: pytest.FixtureRequest, where: str, number: signal.Signals, command: str
) -> None:
    anywhere: Program = request.getfixturevalue(where)
    file = random_file(anywhere.work / "clip.mov", SIZE)
    before = hashlib.sha256(file.read_bytes()).hexdigest()

    status = interrupt(anywhere, file, number, lambda: parts_in(anywhere) >= 3)

    assert status == (-number if number == signal.SIGKILL else 128 + number)
    assert file.exists()
    assert list(anywhere.json("ls", "--live")) == []
    there = parts_in(anywhere)
    assert there >= 3

    os.environ["MGMT_PART_SIZE"] = str(PART)
    try:
        [record] = anywhere.json(*command.split())
    finally:
        del os.environ["MGMT_PART_SIZE"]
    assert record["status"] == "success"
    half = where == "on_directory"  # the part being written when it was killed is written again
    assert record["metadata"]["parts_skipped"] >= there - half
    assert record["metadata"]["parts_sent"] + record["metadata"]["parts_skipped"] == record["parts"]
    assert parts_in(anywhere) == 0
    first = stored(anywhere, "clip.mov.tar.gz")

    anywhere.ok("download", "clip.mov", "--to", "back")
    assert hashlib.sha256((anywhere.work / "back" / "clip.mov").read_bytes()).hexdigest() == before
    again = anywhere.work / "again"
    again.mkdir()
    os.rename(anywhere.work / "completed" / "clip.mov", again / "clip.mov")
    anywhere.ok("upload", again / "clip.mov", "--key", "uninterrupted.tar.gz")
    assert stored(anywhere, "uninterrupted.tar.gz") == first

    kept = [each["status"] for each in anywhere.json("log", "--type", "upload", "--target", "work/clip.mov")]
    assert kept == (["success"] if number == signal.SIGKILL else ["success", "cancelled"])


def test_recover_undoes_an_upload_that_is_not_resumed(anywhere: Program) -> None:
    file = random_file(anywhere.work / "clip.mov", SIZE)
    interrupt(anywhere, file, signal.SIGKILL, lambda: parts_in(anywhere) >= 3)

    assert [each["action"] for each in anywhere.json("recover", "-n")] != []
    assert parts_in(anywhere) >= 3
    [recovered] = anywhere.json("recover")
    assert recovered["action"] == "undone"
    assert parts_in(anywhere) == 0
    assert file.exists()
    assert anywhere.json("recover") == []
    assert [each["status"] for each in anywhere.json("log", "--type", "upload")] == ["cancelled"]


def test_recover_removes_the_parts_of_a_cancelled_upload(anywhere: Program) -> None:
    file = random_file(anywhere.work / "clip.mov", SIZE)
    interrupt(anywhere, file, signal.SIGTERM, lambda: parts_in(anywhere) >= 3)
    assert len(anywhere.json("recover")) == 1
    assert parts_in(anywhere) == 0


def test_recover_removes_half_an_index_of_a_failed_upload(on_directory: Program) -> None:
    """The state after an upload is killed while it stores its index, is resumed, and fails before that step."""
    file = random_file(on_directory.work / "clip.mov", SIZE)
    interrupt(on_directory, file, signal.SIGKILL, lambda: parts_in(on_directory) >= 1)
    on_directory.records.change("UPDATE operations SET status = 'failed' WHERE operation_type = 'upload'")
    [(key,)] = on_directory.records.rows("SELECT index_key FROM uploads")
    uploads = Path(on_directory.store.removeprefix("file://"), ".mgmt", "uploads")
    (uploads / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json").write_text(json.dumps({"key": key}))
    on_directory.ok("recover")
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize("then", [["recover"], ["upload", "clip.mov"]], ids=["recover", "again"])
@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_an_orphaned_multipart_upload_is_removed(
    on_seaweed: Program, seaweed: Server, status: str, then: list[str]
) -> None:
    """The state after a kill, or a signal, between the store's answer and the commit of the upload's id."""
    file = random_file(on_seaweed.work / "clip.mov", SIZE)
    interrupt(on_seaweed, file, signal.SIGKILL, lambda: parts_in(on_seaweed) >= 1)
    store = open_store(on_seaweed.store)
    for each in store.pending():
        store.abort(each.key, each.upload_id)
    bucket, _, prefix = on_seaweed.store.removeprefix("s3://").partition("/")
    seaweed.client().create_multipart_upload(Bucket=bucket, Key=f"{prefix}/clip.mov.tar.gz".lstrip("/"))
    on_seaweed.records.change("UPDATE uploads SET upload_id = NULL")
    on_seaweed.records.change("UPDATE operations SET status = ? WHERE operation_type = 'upload'", status)
    assert [each.key for each in store.pending()] == ["clip.mov.tar.gz"]
    on_seaweed.ok(*then)
    assert list(store.pending()) == []


def test_recover_finishes_an_announced_move(on_directory: Program) -> None:
    """The state after a kill between the rename and the last commit."""
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes")
    on_directory.records.change(
        f"UPDATE operations SET {REOPENED}, owner=replace(owner, ?, ?) WHERE operation_type = 'upload'",
        f"/{os.getpid()}/",
        "/999999/",
    )
    on_directory.records.change("DELETE FROM operation_files WHERE role = 'completed'")
    on_directory.records.change("DELETE FROM files WHERE location = 'completed'")
    [recovered] = on_directory.json("recover")
    assert recovered["status"] == "success"
    [upload] = on_directory.json("log", "--type", "upload")
    assert upload["status"] == "success"
    assert [each["path"] for each in on_directory.json("ls", "--location", "completed")] == [
        str(on_directory.work / "completed" / "notes")
    ]


@pytest.mark.parametrize("retry_with", ["again", "recover"])
def test_an_upload_that_the_store_refuses_leaves_nothing_there(
    retry_with: str, on_seaweed: Program, seaweed: Server
) -> None:
    file = random_file(on_seaweed.work / "clip.mov", 3000)
    store = open_store(on_seaweed.store)
    with proxy(seaweed) as between:
        between.faults.append(Fault(r"^(PUT|POST) .*clip\.mov\.tar\.gz(\?|$)", "403", times=99))
        through = replace(on_seaweed, environment=environment(between.endpoint_url))
        assert through.run("upload", file).returncode == 1
        assert len(list(store.list())) == 1, "the index is stored first"
    if retry_with == "again":
        on_seaweed.ok("upload", file)
    else:
        on_seaweed.ok("recover")
    left = sorted(each.key for each in store.list())
    assert len(left) == (2 if retry_with == "again" else 0), left
