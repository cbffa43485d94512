"""The contract of mgmt/storage/store.py, on each kind of store."""

import functools
import io
import queue
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from mgmt.errors import ConfigurationError, ConflictError, IntegrityError, NotFoundError, StoreUnavailableError
from mgmt.storage import OPERATION, Attributes, ObjectStore, Sent, StoredObject, Transfer, Upload, open_store
from tests.servers import Server

MIB = 1 << 20
PART = 5 * MIB
KEY = "folder/archive.tar.gz"


@functools.lru_cache(maxsize=8)
def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def started(store: ObjectStore, key: str = KEY, operation: str = "op-1", **options: object) -> Upload:
    transfer = Transfer(**{"planned_size": 0, "part_size": PART} | options)  # type: ignore[arg-type]
    return store.start_upload(key, Attributes({OPERATION: operation}), transfer)


def uploaded(store: ObjectStore, data: bytes, key: str = KEY, operation: str = "op-1") -> tuple[Sent, StoredObject]:
    upload = started(store, key, operation)
    upload.write(data)
    return upload.finish(), upload.complete()


def interrupted(store: ObjectStore, data: bytes) -> str:
    """Upload all parts of `data` but the last, stop there, and return the upload id."""
    ids: list[str] = []
    counts: queue.SimpleQueue[int] = queue.SimpleQueue()
    upload = started(store, on_started=lambda upload_id, _: ids.append(upload_id), on_sent=counts.put)
    upload.write(data)
    expected = (len(data) - 1) // PART * PART
    while expected > 0:
        expected -= counts.get(timeout=600)
    upload.close()
    return ids[0]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART, 2 * PART + 12345])
def test_an_uploaded_object_reads_back_unchanged(store: ObjectStore, size: int) -> None:
    data = content(size)
    upload = started(store)
    for begin in range(0, size, 700_001):
        upload.write(memoryview(data)[begin : begin + 700_001])
    sent = upload.finish()
    there = upload.complete()

    assert sent.size == there.size == size
    assert sent.parts == max(1, -(-size // PART))
    assert upload.parts_sent == sent.parts
    assert upload.parts_skipped == 0
    assert b"".join(store.stream(KEY)) == data
    assert b"".join(store.stream(KEY, etag=there.etag)) == data
    assert store.head(KEY) == there
    assert there.metadata[OPERATION] == "op-1"
    assert list(store.pending()) == []


def test_prove_detects_another_size_or_checksum(store: ObjectStore, kind: str) -> None:
    expected = {"seaweed": "crc64nvme", "rclone": "md5", "directory": None}
    large, _ = uploaded(store, content(2 * PART + 1))
    small, _ = uploaded(store, content(100), "small")
    assert store.capabilities().checksum == expected[kind]
    assert store.prove(KEY, large) == expected[kind]
    assert store.prove("small", small) == expected[kind]
    with pytest.raises(IntegrityError, match="bytes"):
        store.prove(KEY, replace(large, size=large.size - 1))
    with pytest.raises(NotFoundError):
        store.prove("nothing", large)


def test_a_buffer_can_be_reused_after_write(store: ObjectStore) -> None:
    buffer = bytearray(content(PART + 10))
    upload = started(store)
    upload.write(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    upload.finish()
    upload.complete()
    assert b"".join(store.stream(KEY)) == content(PART + 10)


@pytest.mark.parametrize("size", [10, PART + 10])
def test_nothing_is_visible_before_complete(store: ObjectStore, size: int) -> None:
    upload = started(store)
    upload.write(content(size))
    upload.finish()
    with pytest.raises(NotFoundError):
        store.head(KEY)
    assert list(store.list()) == []
    upload.complete()
    assert [each.key for each in store.list()] == [KEY]


def test_progress_and_the_upload_id_are_reported(store: ObjectStore) -> None:
    ids: list[tuple[str, int]] = []
    counts: list[int] = []
    upload = started(
        store, on_started=lambda upload_id, part_size: ids.append((upload_id, part_size)), on_sent=counts.append
    )
    upload.write(content(2 * PART + 5))
    upload.finish()
    upload.complete()
    assert sum(counts) == 2 * PART + 5
    assert len(ids) == 1
    assert ids[0][1] == PART


def test_an_upload_whose_id_cannot_be_saved_is_not_left_behind(store: ObjectStore) -> None:
    """When the upload id cannot be recorded (a full disk, say), the caller aborts, and nothing is left."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        started_and_written(store, fail)
    assert list(store.pending()) == []


def started_and_written(store: ObjectStore, on_started: Callable[[str, int], None]) -> None:
    upload = started(store, on_started=on_started)
    try:
        upload.write(content(PART + 1))
    except ZeroDivisionError:
        upload.abort()
        raise


def test_a_stream_can_be_longer_than_planned(store: ObjectStore) -> None:
    upload = started(store, planned_size=1)
    upload.write(content(2 * PART))
    upload.complete()
    assert store.head(KEY).size == 2 * PART


@pytest.mark.parametrize("size", [10, PART + 10])
def test_a_key_is_never_overwritten(store: ObjectStore, size: int) -> None:
    uploaded(store, content(size))
    late = started(store, operation="op-2")
    late.write(content(size, seed=2))
    with pytest.raises(ConflictError, match="exists"):
        late.complete()
    late.abort()
    with pytest.raises(ConflictError):
        store.put(KEY, io.BytesIO(b"index"), size=5, metadata={OPERATION: "op-3"})
    assert b"".join(store.stream(KEY)) == content(size)
    assert list(store.pending()) == []


@pytest.mark.parametrize("size", [10, PART + 10])
def test_the_same_operation_again_succeeds(store: ObjectStore, size: int) -> None:
    _, first = uploaded(store, content(size))
    _, second = uploaded(store, content(size))
    assert second == first
    assert list(store.pending()) == []


def test_the_same_operation_with_another_size_is_a_conflict(store: ObjectStore) -> None:
    uploaded(store, content(10))
    again = started(store)
    again.write(content(11))
    with pytest.raises(ConflictError):
        again.complete()
    again.abort()


def test_put_stores_a_small_object(store: ObjectStore) -> None:
    metadata = {OPERATION: "op-1", "host": "Zoë's 100% café\n"}
    first = store.put("i", io.BytesIO(b"index"), size=5, metadata=metadata)
    assert first.metadata["host"] == metadata["host"]
    assert store.put("i", io.BytesIO(b"index"), size=5, metadata=metadata) == first
    with pytest.raises(ConflictError):
        store.put("i", io.BytesIO(b"INDEX"), size=5, metadata=metadata)
    with pytest.raises(ConflictError):
        store.put("i", io.BytesIO(b"index"), size=5, metadata={OPERATION: "op-2"})
    assert b"".join(store.stream("i")) == b"index"
    assert list(store.pending()) == []


def test_list_is_complete_and_below_the_prefix(store: ObjectStore, kind: str) -> None:
    keys = ["a-b", "a.b", "a/b-c", "a/b/c", "a0", "b", "ä", "é/ü 100%+&?#=~.tar.gz", "\uffee", "\U0001f4f7"]
    for key in random.Random(1).sample(keys, len(keys)):
        store.put(key, io.BytesIO(key.encode()), size=len(key.encode()), metadata={OPERATION: "op"})
    listed = [each.key for each in store.list()]
    assert keys == sorted(keys, key=str.encode)
    assert sorted(listed, key=str.encode) == keys
    if kind == "directory":
        assert listed == keys
    assert {each.key for each in store.list("a/")} == {"a/b-c", "a/b/c"}
    assert [each.key for each in store.list("a/b-")] == ["a/b-c"]
    assert list(store.list("nothing/")) == []
    for key in listed:
        assert b"".join(store.stream(key)) == key.encode()
        assert store.location(key) == f"{store.url}/{key}"
        store.delete(key)
    assert list(store.list()) == []


def test_ranges_are_read_exactly(store: ObjectStore) -> None:
    data = content(3 * MIB)
    _, there = uploaded(store, data)
    for start, end in [(0, 1), (0, len(data)), (5, 5), (1000, 2 * MIB + 7), (len(data) - 1, len(data))]:
        assert store.read(KEY, start, end) == data[start:end]
        assert store.read(KEY, start, end, etag=there.etag) == data[start:end]
    for start, end in [(0, len(data) + 1), (len(data), len(data) + 1), (len(data) + 5, len(data) + 9)]:
        with pytest.raises(IntegrityError):
            store.read(KEY, start, end)


def test_a_replaced_object_is_not_read(store: ObjectStore) -> None:
    _, there = uploaded(store, content(100))
    store.delete(KEY)
    uploaded(store, content(100, seed=2), operation="op-2")
    with pytest.raises(IntegrityError):
        store.read(KEY, 0, 10, etag=there.etag)
    with pytest.raises(IntegrityError):
        list(store.stream(KEY, etag=there.etag))


def test_a_missing_object_is_reported(store: ObjectStore) -> None:
    uploaded(store, content(10), "other")
    reads: list[Callable[[], object]] = [
        lambda: store.head(KEY),
        lambda: store.read(KEY, 0, 1),
        lambda: list(store.stream(KEY)),
    ]
    for read in reads:
        with pytest.raises(NotFoundError):
            read()
    store.delete(KEY)
    store.abort(KEY, "0" * 32)


def test_pending_uploads_are_listed_and_aborted(store: ObjectStore) -> None:
    ids: list[str] = []
    upload = started(store, on_started=lambda upload_id, _: ids.append(upload_id))
    upload.write(content(2 * PART + 1))
    upload.finish()
    upload.close()
    other = started(store, "other")
    other.write(content(PART + 1))
    other.finish()

    [pending] = store.pending("folder/")
    assert (pending.key, pending.upload_id, pending.size) == (KEY, ids[0], 2 * PART + 1)
    assert pending.started_at is not None
    assert {each.key for each in store.pending()} == {KEY, "other"}
    store.abort(KEY, ids[0])
    assert [each.key for each in store.pending()] == ["other"]
    store.abort(KEY, ids[0])
    other.abort()
    other.abort()
    assert list(store.pending()) == []
    assert list(store.list()) == []


def test_an_interrupted_upload_resumes(store: ObjectStore) -> None:
    data = content(3 * PART + 99)
    upload_id = interrupted(store, data[: 2 * PART + 1])
    ids: list[str] = []
    counts: list[int] = []
    second = started(
        store, resume=upload_id, on_started=lambda upload_id, _: ids.append(upload_id), on_sent=counts.append
    )
    for begin in range(0, len(data), MIB):
        second.write(data[begin : begin + MIB])
    sent = second.finish()
    second.complete()
    assert (second.parts_skipped, second.parts_sent) == (2, 2)
    assert ids == []
    assert sum(counts) == len(data)
    assert store.prove(KEY, sent) == store.capabilities().checksum
    assert b"".join(store.stream(KEY)) == data
    assert list(store.pending()) == []


@pytest.mark.parametrize("size", [2 * PART + 1, PART + 5])
def test_changed_parts_are_sent_again(store: ObjectStore, size: int, kind: str) -> None:
    upload_id = interrupted(store, content(2 * PART + 1))
    data = (content(2 * PART + 1)[:PART] + content(PART, seed=2) + b"x")[:size]
    second = started(store, resume=upload_id)
    if kind == "rclone":  # it cannot replace a part, so the next run starts over
        second.write(data)
        with pytest.raises(StoreUnavailableError, match="changed"):
            second.finish()
        second.close()
        second = started(store, resume=upload_id)
    second.write(data[:PART])
    second.write(data[PART:])
    sent = second.finish()
    second.complete()
    assert second.parts_sent + second.parts_skipped == -(-size // PART)
    assert store.prove(KEY, sent) == store.capabilities().checksum
    assert b"".join(store.stream(KEY)) == data
    assert list(store.pending()) == []


def test_a_lost_upload_starts_over(store: ObjectStore) -> None:
    ids: list[str] = []
    first = started(store, on_started=lambda upload_id, _: ids.append(upload_id))
    first.write(content(2 * PART + 1))
    first.abort()
    second = started(store, resume=ids[0], on_started=lambda upload_id, _: ids.append(upload_id))
    second.write(content(2 * PART + 1))
    second.complete()
    assert len(set(ids)) == 2
    assert second.parts_skipped == 0
    assert b"".join(store.stream(KEY)) == content(2 * PART + 1)


def test_a_completed_upload_started_over_is_settled(store: ObjectStore) -> None:
    """A run died between completing and recording: the next one resumes an upload that no longer exists."""
    ids: list[str] = []
    first = started(store, on_started=lambda upload_id, _: ids.append(upload_id))
    first.write(content(2 * PART + 1))
    there = first.complete()
    second = started(store, resume=ids[0])
    second.write(content(2 * PART + 1))
    assert second.complete() == there
    assert list(store.pending()) == []


def test_an_anchor_is_written_once_and_not_listed(store: ObjectStore) -> None:
    assert list(store.anchors()) == []
    first = store.anchor("0000000001-ab", b"one")
    assert first.size == 3
    assert first.key == ".mgmt/anchors/0000000001-ab"
    assert store.anchor("0000000001-ab", b"one") == first
    with pytest.raises(ConflictError):
        store.anchor("0000000001-ab", b"two")
    store.anchor("0000000002-cd", b"two")
    assert sorted(store.anchors()) == ["0000000001-ab", "0000000002-cd"]
    uploaded(store, b"ours")
    assert [each.key for each in store.list()] == [KEY]
    assert list(store.pending()) == []
    with pytest.raises(ConfigurationError):
        store.anchor("../x", b"one")
    for call in (lambda: store.head(first.key), lambda: store.delete(first.key)):
        with pytest.raises(ConfigurationError, match="reserved for mgmt"):
            call()


def test_a_history_is_written_once_and_not_listed(store: ObjectStore) -> None:
    data = content(3 << 20)
    first = store.keep("a.jsonl.gz", io.BytesIO(data), size=len(data))
    assert (first.key, first.size) == (".mgmt/history/a.jsonl.gz", len(data))
    assert store.keep("a.jsonl.gz", io.BytesIO(data), size=len(data)) == first
    with pytest.raises(ConflictError):
        store.keep("a.jsonl.gz", io.BytesIO(data[1:]), size=len(data) - 1)
    assert [*store.list(), *store.pending(), *store.anchors()] == []
    with pytest.raises(ConfigurationError):
        store.keep("../x", io.BytesIO(b""), size=0)


@pytest.mark.parametrize("key", ["/a", "a/", "a//b", "../a", "a/../../b", "a\\b", "a\nb", "", "x" * 901])
def test_no_call_leaves_the_store(store: ObjectStore, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: started(store, key),
        lambda: store.put(key, io.BytesIO(b""), size=0, metadata={OPERATION: "op"}),
        lambda: store.head(key),
        lambda: store.read(key, 0, 1),
        lambda: list(store.stream(key)),
        lambda: store.delete(key),
        lambda: store.prove(key, Sent(0, None, 1, PART)),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError):
            call()


def test_a_bucket_that_never_had_an_upload(
    store: ObjectStore, kind: str, new_bucket: Callable[[Server], str], request: pytest.FixtureRequest
) -> None:
    if kind != "directory":
        store = open_store(f"s3://{new_bucket(request.getfixturevalue(kind))}")
    assert list(store.pending()) == []
    assert list(store.list()) == []
