import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgmt.choices import DEFAULT_PART_SIZE, MAX_PART_SIZE, MIN_PART_SIZE
from mgmt.errors import StoreError
from mgmt.storage import OPERATION, Attributes, Capabilities, ObjectStore, StoreOptions, Transfer, open_store
from mgmt.storage.multipart import MIB, plan_part_size
from tests.faults.proxy import Proxy
from tests.storage.conftest import PART, fresh_url
from tests.storage.test_contract import KEY, content, interrupted, started

Opened = Callable[..., tuple[ObjectStore, Proxy]]
TIB = 1 << 40


@given(st.integers(0, 4 * TIB), st.sampled_from([1000, 10_000]), st.sampled_from([None, 1, 6 * MIB, 64 * MIB]))
@example(160_000 * MIB, 10_000, None)
@example(4 * TIB, 1000, None)
def test_the_part_size_leaves_parts_in_reserve(planned: int, max_parts: int, wanted: int | None) -> None:
    size = plan_part_size(planned, max_parts, wanted)
    assert MIN_PART_SIZE <= size <= MAX_PART_SIZE
    assert planned * 1.03 <= size * max_parts
    assert size >= (wanted or DEFAULT_PART_SIZE)
    if size > max(wanted or DEFAULT_PART_SIZE, MIN_PART_SIZE):
        assert size % MIB == 0
        assert planned * 1.05 > (size - MIB) * max_parts * 0.99  # and no larger than necessary


def test_the_default_part_size_suffices_for_75_gib() -> None:
    assert plan_part_size(75 << 30, 10_000) == DEFAULT_PART_SIZE
    assert plan_part_size(80 << 30, 10_000) > DEFAULT_PART_SIZE


def test_an_object_that_is_too_large_is_refused() -> None:
    with pytest.raises(StoreError, match="too many for one object"):
        plan_part_size(60 * TIB, 10_000)


def test_too_many_parts_are_reported(behind_proxy: Opened) -> None:
    store, _ = behind_proxy(capabilities=Capabilities("crc64nvme", max_parts=2))
    upload = started(store, planned_size=1)
    upload.write(content(2 * PART + 1))
    with pytest.raises(StoreError, match="more than 2 parts"):
        upload.finish()
    upload.abort()
    assert list(store.pending()) == []


@pytest.mark.parametrize("algorithm", ["sha256", "md5", None])
def test_an_endpoint_with_another_checksum(behind_proxy: Opened, algorithm: str | None) -> None:
    """SeaweedFS verifies all of them, so it can stand in for endpoints without CRC64NVME."""
    store, _ = behind_proxy(capabilities=Capabilities(algorithm))
    for size in (100, 2 * PART + 3):
        upload = started(store, f"{algorithm}-{size}")
        upload.write(content(size))
        sent = upload.finish()
        upload.complete()
        assert store.prove(f"{algorithm}-{size}", sent) == algorithm
    assert list(store.pending()) == []


def test_resuming_sends_only_missing_parts(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    upload_id = interrupted(store, content(4 * PART)[: 2 * PART + 1])
    assert proxy.count("^PUT ") == 2
    proxy.requests.clear()

    second = started(store, resume=upload_id)
    second.write(content(4 * PART))
    sent = second.finish()
    second.complete()
    assert proxy.count("^PUT ") == 2
    assert proxy.count(r"^PUT .*partNumber=[34]\b") == 2
    assert store.prove(KEY, sent) == "crc64nvme"


KILLED = """
import random, sys
from mgmt.storage import OPERATION, Attributes, StoreOptions, Transfer, open_store
def tell(*words): print(*words, flush=True)
store = open_store(sys.argv[1], StoreOptions(threads=1))
transfer = Transfer(0, part_size=5 << 20, on_started=tell, on_sent=tell)
upload = store.start_upload("folder/archive.tar.gz", Attributes({OPERATION: "op-1"}), transfer)
data = random.Random(1).randbytes(40 << 20)
upload.write(data)
"""


def test_an_upload_killed_midway_resumes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store" if kind == "directory" else fresh_url(request.getfixturevalue(kind))
    process = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    upload_id, part_size = process.stdout.readline().split()
    told = [process.stdout.readline() for _ in range(1 if kind == "directory" else 3)]
    process.kill()
    assert process.wait() == -9
    process.stdout.close()
    assert all(told)

    store = open_store(url, StoreOptions(part_size=PART))
    data = content(40 * MIB)
    upload = store.start_upload(
        KEY, Attributes({OPERATION: "op-1"}), Transfer(len(data), part_size=int(part_size), resume=upload_id)
    )
    for begin in range(0, len(data), MIB):
        upload.write(data[begin : begin + MIB])
    sent = upload.finish()
    upload.complete()
    assert upload.parts_skipped >= 3
    assert upload.parts_skipped + upload.parts_sent == 8
    assert store.prove(KEY, sent) == store.capabilities().checksum
    assert b"".join(store.stream(KEY)) == data
    assert list(store.pending()) == []
