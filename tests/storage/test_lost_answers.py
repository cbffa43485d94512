"""Requests and answers that are lost, corrupted or truncated (promises 1, 6 and 11)."""

import io
from collections.abc import Callable

import pytest

from mgmt.errors import ConflictError, IntegrityError, StoreUnavailableError
from mgmt.storage import publish
from mgmt.storage.store import OPERATION, ObjectStore, StoredObject
from tests.faults.proxy import Fault, Proxy
from tests.storage.conftest import PART
from tests.storage.test_contract import KEY, content, interrupted, started, uploaded

Opened = Callable[..., tuple[ObjectStore, Proxy]]

COMPLETE = r"^POST .*uploadId="
PUT = r"^PUT [^?]*$"
SEND = r"^PUT .*partNumber="
GET = r"^GET /storage/[0-9a-f]+/folder"
EVERY_TRY = 3
"""The number of attempts of botocore per request."""


@pytest.mark.parametrize("times", [1, EVERY_TRY])
@pytest.mark.parametrize(("size", "publishing"), [(2 * PART, COMPLETE), (100, PUT)])
def test_a_lost_answer_to_the_completion_is_settled(
    behind_proxy: Opened, size: int, publishing: str, times: int
) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(publishing, "lose-answer", times))
    sent, there = uploaded(store, content(size))
    assert there.metadata[OPERATION] == "op-1"
    assert proxy.count(publishing) == times + (times < EVERY_TRY)
    assert store.prove(KEY, sent) == "crc64nvme"
    assert b"".join(store.stream(KEY)) == content(size)
    assert list(store.pending()) == []


@pytest.mark.parametrize(("size", "publishing"), [(2 * PART, COMPLETE), (100, PUT)])
def test_a_race_for_a_key_has_one_winner(behind_proxy: Opened, size: int, publishing: str) -> None:
    """Another object appears between HEAD and Complete: the server rejects it, and HEAD shows why."""
    store, proxy = behind_proxy()
    upload = started(store)
    upload.write(content(size))
    upload.finish()
    proxy.faults.append(Fault(r"^HEAD ", "404"))
    uploaded(store, content(size, seed=2), operation="op-2")
    proxy.faults.append(Fault(r"^HEAD ", "404"))
    with pytest.raises(ConflictError):
        upload.complete()
    assert proxy.count(publishing) == 2
    upload.abort()
    assert b"".join(store.stream(KEY)) == content(size, seed=2)


@pytest.mark.parametrize(("size", "publishing"), [(2 * PART, COMPLETE), (100, PUT)])
def test_an_endpoint_without_if_none_match_never_overwrites(behind_proxy: Opened, size: int, publishing: str) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(publishing, "501"))
    sent, _ = uploaded(store, content(size))
    assert store.prove(KEY, sent) == "crc64nvme"
    with pytest.raises(ConflictError):
        uploaded(store, content(size), operation="op-2")
    assert proxy.count(publishing) == 2


def test_a_lost_answer_to_a_put_is_settled(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(PUT, "lose-answer", EVERY_TRY))
    there = store.put("i", io.BytesIO(b"index"), size=5, metadata={OPERATION: "op-1"})
    assert there.size == 5
    assert b"".join(store.stream("i")) == b"index"


def test_lost_answers_to_parts_are_retried(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(SEND, "lose-answer", 2))
    sent, _ = uploaded(store, content(2 * PART + 7))
    assert proxy.count(SEND) == 3 + 2
    assert store.prove(KEY, sent) == "crc64nvme"
    assert b"".join(store.stream(KEY)) == content(2 * PART + 7)


def test_a_part_sent_twice_is_resumed(behind_proxy: Opened) -> None:
    """SeaweedFS lists such a part twice."""
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(SEND, "lose-answer"))
    upload_id = interrupted(store, content(2 * PART + 1))
    assert next(iter(store.pending())).size == 2 * PART
    proxy.requests.clear()
    second = started(store, resume=upload_id)
    second.write(content(2 * PART + 1))
    sent = second.finish()
    second.complete()
    assert proxy.count(SEND) == 1
    assert store.prove(KEY, sent) == "crc64nvme"


def test_a_damaged_request_is_retried(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(SEND, "flip-request"))
    sent, _ = uploaded(store, content(2 * PART))
    assert proxy.count(SEND) == 3
    assert store.prove(KEY, sent) == "crc64nvme"
    assert b"".join(store.stream(KEY)) == content(2 * PART)


@pytest.mark.parametrize(("size", "sending"), [(2 * PART, SEND), (100, PUT)])
def test_a_request_that_is_always_damaged_fails(behind_proxy: Opened, size: int, sending: str) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(sending, "flip-request", 1000))
    upload = started(store)
    upload.write(content(size))
    with pytest.raises(IntegrityError, match="rejected"):
        upload.complete()
    upload.abort()
    assert list(store.list()) == []
    assert list(store.pending()) == []


def test_a_busy_store_is_retried(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    proxy.faults += [Fault(SEND, "503", 2), Fault(COMPLETE, "500"), Fault(r"^POST .*uploads", "503")]
    sent, _ = uploaded(store, content(2 * PART))
    assert store.prove(KEY, sent) == "crc64nvme"


def test_a_store_that_stays_busy_is_reported(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    proxy.faults.append(Fault(SEND, "503", 1000))
    upload = started(store)
    upload.write(content(PART + 1))
    with pytest.raises(StoreUnavailableError, match="busy"):
        upload.finish()
    proxy.faults.clear()
    upload.abort()
    assert list(store.pending()) == []


def test_an_upload_removed_in_progress_is_reported(behind_proxy: Opened) -> None:
    store, _ = behind_proxy()
    ids: list[str] = []
    upload = started(store, on_started=lambda upload_id, _: ids.append(upload_id))
    upload.write(content(PART + 1))
    store.abort(KEY, ids[0])
    with pytest.raises(StoreUnavailableError, match=r"removed|lost"):
        upload.complete()
    upload.close()


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupted_answer_is_resumed(behind_proxy: Opened, times: int) -> None:
    store, proxy = behind_proxy()
    data = content(PART)
    _, there = uploaded(store, data)
    proxy.faults.append(Fault(GET, "cut-answer", times))
    assert b"".join(store.stream(KEY, etag=there.etag)) == data
    assert proxy.count(GET) == 1 + times
    proxy.faults.append(Fault(GET, "cut-answer", times))
    assert store.read(KEY, 1000, PART - 7) == data[1000 : PART - 7]


def test_a_short_answer_is_an_error(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy()
    uploaded(store, b"x")
    proxy.faults.append(Fault(GET, "cut-answer", 1000))  # half of one byte is nothing
    with pytest.raises(StoreUnavailableError):
        list(store.stream(KEY))
    with pytest.raises(StoreUnavailableError):
        store.read(KEY, 0, 1)


def test_parts_are_sent_in_parallel_up_to_a_limit(behind_proxy: Opened) -> None:
    store, proxy = behind_proxy(threads=2)
    uploaded(store, content(4 * PART))
    assert proxy.most_at_once == 2


def test_a_part_and_a_small_object_take_one_request_each(behind_proxy: Opened) -> None:
    """Requests are billed: there are no others than these."""
    store, proxy = behind_proxy()
    uploaded(store, content(100))
    assert [request.split()[0] for request in proxy.requests] == ["HEAD", "PUT", "HEAD"]
    proxy.requests.clear()
    uploaded(store, content(2 * PART), "other")
    assert sorted(request.split()[0] for request in proxy.requests) == ["HEAD", "HEAD", "POST", "POST", "PUT", "PUT"]


@pytest.mark.parametrize(("unseen", "puts", "pauses"), [(0, 1, []), (1, 1, [0.2]), (3, 2, [0.2, 0.5])])
def test_what_was_stored_is_looked_for_at_once(
    monkeypatch: pytest.MonkeyPatch, unseen: int, puts: int, pauses: list[float]
) -> None:
    """A pause is for stores that do not show at once what they have taken."""
    slept: list[float] = []
    monkeypatch.setattr("mgmt.storage.publish.time.sleep", slept.append)
    there = StoredObject("k", 1, '"e"', metadata={OPERATION: "op-1"})
    answers = iter([None, *[None] * unseen, *[there] * 9])
    sent: list[int] = []
    stored = publish.publish_once(
        "s3://b/k", head=lambda: next(answers), publish=lambda: sent.append(1), is_ours=lambda it: it is there
    )
    assert (stored, len(sent), slept) == (there, puts, pauses)
