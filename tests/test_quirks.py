"""The server of tests/quirks.py is a sound S3 server without quirks, and each quirk convicts a careless client."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.careless import Careless
from tests.quirks import BUCKET, Endpoint, checksum_of, quirky
from tests.servers import Server

DATA = bytes(range(256)) * 40
PART = 1000


@pytest.fixture
def opened() -> Iterator[Any]:
    with ExitStack() as stack:

        def make(**quirks: Any) -> tuple[Endpoint, Careless]:
            endpoint = stack.enter_context(quirky(**quirks))
            client = Server("quirks", endpoint.endpoint_url, {}, os.getpid(), None).client()  # type: ignore[arg-type]
            stack.callback(client.close)
            return endpoint, Careless(client)

        yield make


def test_without_quirks_a_careless_client_does_well(opened: Any) -> None:
    endpoint, client = opened(page=3)
    assert client.store("a", DATA, "op-1", PART)
    assert client.is_ours("a", "op-1")
    assert client.read("a") == DATA
    for number in range(7):
        endpoint.put(f"{number}", b"x")
    assert client.keys() == [*map(str, range(7)), "a"]
    assert endpoint.uploads == {}


def test_a_sound_endpoint_refuses_what_is_wrong(opened: Any) -> None:
    endpoint, careless = opened()
    client, place = careless.client, {"Bucket": BUCKET, "Key": "a"}
    client.put_object(**place, Body=b"one", IfNoneMatch="*")
    upload = client.create_multipart_upload(**place)["UploadId"]
    part = {**place, "UploadId": upload, "PartNumber": 1, "Body": b"two"}
    wrong = checksum_of("md5", b"wrong")
    refused = [
        (client.put_object, {**place, "Body": b"two", "IfNoneMatch": "*"}, "PreconditionFailed"),
        (client.put_object, {**place, "Body": b"two", "ContentMD5": wrong}, "BadDigest"),
        (client.upload_part, {**part, "ChecksumSHA256": checksum_of("sha256", b"wrong")}, "BadDigest"),
        (client.upload_part, {**part, "ChecksumCRC64NVME": checksum_of("crc64nvme", b"wrong")}, "BadDigest"),
        (client.upload_part, {**part, "PartNumber": 10_001}, "InvalidArgument"),
        (client.get_object, {**place, "IfMatch": '"other"'}, "PreconditionFailed"),
        (client.get_object, {**place, "Range": "bytes=5-9"}, "InvalidRange"),
        (client.head_object, {**place, "Key": "b"}, "404"),
        (client.list_parts, {**place, "UploadId": "none"}, "NoSuchUpload"),
    ]
    for call, arguments, code in refused:
        with pytest.raises(ClientError) as raised:
            call(**arguments)
        assert raised.value.response["Error"]["Code"] == code
    assert client.get_object(**place)["Body"].read() == b"one"
    missing = {"Parts": [{"PartNumber": 9, "ETag": '"x"'}]}
    with pytest.raises(ClientError, match="InvalidPart"):
        client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=missing)
    assert [each["UploadId"] for each in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [upload]
    client.abort_multipart_upload(**place, UploadId=upload)
    assert endpoint.uploads == {}


def test_listings_of_parts_and_uploads_have_pages(opened: Any) -> None:
    _, careless = opened(page=2)
    client, place = careless.client, {"Bucket": BUCKET, "Key": "a"}
    uploads = [client.create_multipart_upload(**place)["UploadId"] for _ in range(5)]
    for number in range(1, 6):
        client.upload_part(**place, UploadId=uploads[0], PartNumber=number, Body=b"x")
    pages = client.get_paginator("list_parts").paginate(**place, UploadId=uploads[0])
    assert [part["PartNumber"] for page in pages for part in page["Parts"]] == [1, 2, 3, 4, 5]
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET)
    assert sorted(each["UploadId"] for page in pages for each in page["Uploads"]) == sorted(uploads)


def test_a_flipped_bit_is_believed(opened: Any) -> None:
    _, client = opened(flips="a", compares=frozenset())
    assert client.store("a", DATA, "op-1", PART)
    assert client.read("a") != DATA


@pytest.mark.parametrize("metadata", ["dropped", "underscored"])
def test_an_own_object_is_not_recognized(opened: Any, metadata: str) -> None:
    _, client = opened(metadata=metadata)
    client.store("a", DATA, "op-1", PART)
    assert not client.is_ours("a", "op-1")


def test_an_object_of_another_is_replaced(opened: Any) -> None:
    endpoint, client = opened(condition="ignored")
    endpoint.put("a", b"precious")
    client.store("a", DATA, "op-1", PART)
    assert client.read("a") == DATA


@pytest.mark.parametrize("quirks", [{"tokens": False}, {"only_v1": True}])
def test_a_listing_is_silently_short(opened: Any, quirks: dict[str, Any]) -> None:
    endpoint, client = opened(page=2, **quirks)
    for number in range(5):
        endpoint.put(f"{number}", b"x")
    assert client.keys() == ["0", "1"]


@pytest.mark.parametrize("field", ["ETag", "Size"])
def test_an_optional_field_is_a_traceback(opened: Any, field: str) -> None:
    endpoint, client = opened(omits=frozenset({field}))
    endpoint.put("a", b"x")
    with pytest.raises(KeyError):
        client.keys()


@pytest.mark.parametrize(
    "quirks",
    [{"condition": "400 InvalidArgument"}, {"max_parts": 3}, {"settles_after": 2}, {"weak": True}],
    ids=str,
)
def test_an_upload_fails(opened: Any, quirks: dict[str, Any]) -> None:
    _, client = opened(**quirks)
    with pytest.raises((ClientError, BotoCoreError)):
        client.store("a", DATA, "op-1", PART)


def test_parts_of_two_sizes_are_refused(opened: Any) -> None:
    _, careless = opened(equal_parts=True)
    client, place, parts = careless.client, {"Bucket": BUCKET, "Key": "a"}, []
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    for number, body in enumerate([b"xx", b"x", b"x"], start=1):
        parts.append({"PartNumber": number, "ETag": client.upload_part(**place, PartNumber=number, Body=body)["ETag"]})
    with pytest.raises(ClientError, match="same length"):
        client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


def test_uploads_are_listed_for_an_exact_key_only(opened: Any) -> None:
    _, careless = opened(exact_uploads=True)
    careless.client.create_multipart_upload(Bucket=BUCKET, Key="a/b")
    assert "Uploads" not in careless.client.list_multipart_uploads(Bucket=BUCKET, Prefix="a/")
    assert len(careless.client.list_multipart_uploads(Bucket=BUCKET, Prefix="a/b")["Uploads"]) == 1


def test_a_slow_completion_appears_late(opened: Any) -> None:
    endpoint, client = opened(settles_after=1)
    with pytest.raises((ClientError, BotoCoreError)):
        client.store("a", DATA, "op-1", PART)
    with pytest.raises(ClientError, match="404"):
        client.is_ours("a", "op-1")
    assert client.is_ours("a", "op-1")
    assert endpoint.objects["a"].body == DATA


def test_it_answers_as_told(opened: Any) -> None:
    endpoint, client = opened()
    endpoint.put("a", b"x")
    endpoint.tell(r"^HEAD /quirks/a$", "403 AccessDenied", times=1)
    with pytest.raises(ClientError, match="403"):
        client.is_ours("a", "op-1")
    assert not client.is_ours("a", "op-1")
    endpoint.tell(r"^DELETE ", "500 InternalError", "after all", acts=True)
    with pytest.raises(ClientError, match="after all"):
        client.client.delete_object(Bucket=BUCKET, Key="a")
    assert endpoint.objects == {}
    assert endpoint.count("^DELETE ") >= 1
