"""Frozen objects, on moto, the only test server that supports them."""

import json
import urllib.request

import pytest

from mgmt.errors import NotReadyError
from mgmt.storage import OPERATION, Attributes, Transfer, open_store
from tests.servers import Server
from tests.storage.conftest import fresh_url


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_frozen_object_is_thawing_and_then_thawed(moto: Server, storage_class: str) -> None:
    state = {"model_name": "s3::keyrestore", "transition": {"progression": "manual", "times": 2}}
    request = urllib.request.Request(
        f"{moto.endpoint_url}/moto-api/state-manager/set-transition",
        data=json.dumps(state).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()

    url = fresh_url(moto)
    store = open_store(url)
    upload = store.start_upload(
        "a.tar.gz",
        Attributes({OPERATION: "op"}, storage_class, {"project": "video/raw +1=@ a", "year": "2024"}),
        Transfer(6),
    )
    upload.write(b"frozen")
    there = upload.complete()
    assert there.storage_class == storage_class
    assert (there.frozen, there.thawing) == (True, False)
    assert next(iter(store.list())).frozen
    with pytest.raises(NotReadyError) as raised:
        store.read("a.tar.gz", 0, 1)
    assert raised.value.next_step
    with pytest.raises(NotReadyError):
        list(store.stream("a.tar.gz"))

    client = moto.client()
    place = {"Bucket": url.split("/")[2], "Key": url.split("/", 3)[3] + "/a.tar.gz"}
    client.restore_object(**place, RestoreRequest={"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}})
    polls = [store.head("a.tar.gz") for _ in range(5)]
    assert (polls[0].frozen, polls[0].thawing) == (True, True)
    assert (polls[-1].frozen, polls[-1].thawing) == (False, False)
    assert b"".join(store.stream("a.tar.gz")) == b"frozen"
    assert {tag["Key"]: tag["Value"] for tag in client.get_object_tagging(**place)["TagSet"]} == {
        "project": "video/raw +1=@ a",
        "year": "2024",
    }


def test_other_storage_classes_are_not_frozen(moto: Server) -> None:
    store = open_store(fresh_url(moto))
    for storage_class in (None, "STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING"):
        upload = store.start_upload(f"{storage_class}", Attributes({OPERATION: "op"}, storage_class), Transfer(1))
        upload.write(b"x")
        there = upload.complete()
        assert there.storage_class == (storage_class or "STANDARD")
        assert not there.frozen
        assert store.read(there.key, 0, 1) == b"x"
