import errno
import gc
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.errors import StoreError
from mgmt.storage import StoreOptions, part_data
from mgmt.storage.multipart import BYTES_IN_FLIGHT
from mgmt.storage.part_data import IN_MEMORY, MIB, InFile, InMemory, PartData, new_part
from mgmt.storage.s3_object import Body
from tests.servers import Server
from tests.storage.conftest import PART, fresh_url
from tests.storage.test_contract import KEY, content, interrupted, started
from tests.storage.test_multipart import Opened


@pytest.fixture(params=["memory", "file"])
def part(request: pytest.FixtureRequest, tmp_path: Path) -> PartData:
    return InMemory() if request.param == "memory" else InFile(str(tmp_path))


@given(st.lists(st.binary(max_size=100)))
def test_a_part_in_a_file_is_one_in_memory(pieces: list[bytes]) -> None:
    in_memory, in_file = new_part(IN_MEMORY, None), new_part(IN_MEMORY + 1, None)
    assert isinstance(in_memory, InMemory)
    assert isinstance(in_file, InFile)
    for part in (in_memory, in_file):
        for piece in pieces:
            part.append(memoryview(piece))
        part.complete()
        assert b"".join(part) == b"".join(part) == b"".join(pieces)
        assert part.size == len(b"".join(pieces))


def test_the_body_of_a_request_is_read_again_after_a_failure(part: PartData) -> None:
    whole = content(3 * MIB + 5)
    for begin in range(0, len(whole), MIB):
        part.append(memoryview(whole)[begin : begin + MIB])
    part.complete()
    body = Body(part)
    assert len(body) == len(whole)
    first = body.read()
    assert body.tell() == len(first) > 0
    body.seek(0)
    assert body.tell() == 0
    assert b"".join(iter(body.read, b"")) == whole
    assert body.tell() == len(whole)


def opened_in(folder: Path) -> list[str]:
    """What this process has open in `folder`."""
    links = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    return [name for name in (os.readlink(link) for link in links if os.path.lexists(link)) if str(folder) in name]


def test_the_file_has_no_name_and_is_gone_with_the_part(tmp_path: Path) -> None:
    part: PartData | None = InFile(str(tmp_path))
    assert part is not None
    part.append(b"content")
    assert list(tmp_path.iterdir()) == []
    assert len(opened_in(tmp_path)) == 1
    del part
    gc.collect()
    assert opened_in(tmp_path) == []


def test_a_full_disk_names_the_folder_and_the_way_out(tmp_path: Path) -> None:
    part = InFile(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(StoreError, match=str(tmp_path)) as error:
            part.append(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TMPDIR" in str(error.value.next_step)


def test_without_a_folder_to_write_to_the_store_has_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    with pytest.raises(StoreError, match="there is no folder for the large parts") as error:
        new_part(IN_MEMORY + 1, None)
    assert "TMPDIR" in str(error.value.next_step)
    with pytest.raises(StoreError, match="missing: No such file or directory"):
        new_part(IN_MEMORY + 1, str(tmp_path / "missing"))


def test_a_file_that_has_become_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = InFile(str(tmp_path))
    part.append(bytes(1000))
    os.ftruncate(part._fd, 400)
    with pytest.raises(StoreError, match="600 bytes are missing"):
        list(part)

    def broken(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(StoreError, match="cannot be read: Input/output error"):
        list(part)


@pytest.mark.parametrize("size", [100, 3 * PART + 7])
def test_parts_in_files_arrive(behind_proxy: Opened, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(part_data, "IN_MEMORY", 0)
    store, proxy = behind_proxy()
    upload = started(store)
    upload.write(content(size))
    sent = upload.finish()
    upload.complete()
    assert store.prove(KEY, sent) == "crc64nvme"
    assert b"".join(store.stream(KEY)) == content(size)
    assert proxy.count("^PUT ") == -(-size // PART)


def test_an_upload_of_parts_in_files_is_resumed(behind_proxy: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = behind_proxy()
    upload_id = interrupted(store, content(4 * PART)[: 2 * PART + 1])
    monkeypatch.setattr(part_data, "IN_MEMORY", 0)
    second = started(store, resume=upload_id)
    second.write(content(4 * PART))
    second.finish()
    second.complete()
    assert second.parts_skipped == 2
    assert b"".join(store.stream(KEY)) == content(4 * PART)


LARGE_PARTS = """
import resource, sys
from mgmt.storage import OPERATION, Attributes, StoreOptions, Transfer, open_store
store = open_store(sys.argv[1], StoreOptions())
upload = store.start_upload("large.tar.gz", Attributes({OPERATION: "op"}), Transfer(0, 96 << 20, folder=sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
piece = bytes(1 << 20)
for _ in range(300):
    upload.write(piece)
upload.complete()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_large_parts_need_no_memory(seaweed: Server, tmp_path: Path) -> None:
    url = fresh_url(seaweed)
    done = subprocess.run(
        [sys.executable, "-c", LARGE_PARTS, url, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40 * 1024  # kB


def test_what_waits_in_memory_is_little() -> None:
    threads = StoreOptions().threads
    in_flight = max(min(threads, BYTES_IN_FLIGHT // IN_MEMORY), 2)
    assert (in_flight + 1) * IN_MEMORY <= 100 * MIB
