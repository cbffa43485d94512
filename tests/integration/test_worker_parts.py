"""An upload whose worker is killed goes on where it was."""

import os
import time
from dataclasses import replace

import pytest

from tests.program import Program
from tests.servers import Server
from tests.workers import SECONDS, kill_all_of, operation, requested, statuses, work_off

PART = 5 << 20


@pytest.mark.parametrize(
    ("parts", "rate"),
    [(4, "12M"), pytest.param(205, "60M", marks=[pytest.mark.torture, pytest.mark.sqlite], id="1 GiB")],
)
def test_an_upload_whose_worker_is_killed_twice_sends_no_part_again(
    on_seaweed: Program, seaweed: Server, parts: int, rate: str
) -> None:
    program = replace(on_seaweed, environment={**on_seaweed.environment, "MGMT_PART_SIZE": str(PART)})
    with (program.work / "clip.mov").open("wb") as file:
        for _ in range(parts):
            file.write(os.urandom(PART))
    ids = requested(program, "upload", "clip.mov", "--bwlimit", rate, "--then", "verify", "--then", "free")
    sent = 0
    for _ in range(2):
        worker = program.fork("worker", "--slots", "1")
        before = sent
        deadline = time.monotonic() + SECONDS
        while (sent := parts_of(program, seaweed)) <= before:
            assert time.monotonic() < deadline
            assert statuses(program)[ids[0]] in ("pending", "running")
        kill_all_of(worker)
    work_off(program)
    assert [statuses(program)[each] for each in ids] == ["success"] * 3
    details = operation(program, ids[0])["metadata"]
    assert details["parts_skipped"] >= sent
    assert details["parts_sent"] + details["parts_skipped"] == operation(program, ids[0])["parts"]
    assert [each["s3_object_key"] for each in program.json("ls", "--location", "s3")] == ["clip.mov.tar.gz"]
    program.ok("verify", "--all")


def parts_of(program: Program, server: Server) -> int:
    """How many parts the store has of the archive that is not complete; the probe of the endpoint is none."""
    client = server.client()
    bucket = program.store.split("/")[2]
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sum(
        len(client.list_parts(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"]).get("Parts", []))
        for each in uploads
        if each["Key"].endswith("clip.mov.tar.gz")
    )
