"""Stores to test with: each a fresh, empty one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mgmt.storage import open_store
from mgmt.storage.store import ObjectStore
from tests.servers import Server
from tests.storage.proxy import Proxy, proxy

MIB = 1 << 20
PART = 5 * MIB
BUCKET = "storage"


def fresh_url(server: Server) -> str:
    """A prefix that nothing else uses, in one bucket a server (a bucket costs SeaweedFS some time)."""
    client = server.client()
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture
def seaweed_store(seaweed: Server) -> ObjectStore:
    return open_store(fresh_url(seaweed), part_size=PART)


@pytest.fixture
def directory_store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture(params=["seaweed", "rclone", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """One of each kind of store that mgmt must work with."""
    if request.param == "directory":
        return open_store(f"file://{tmp_path}/store")
    return open_store(fresh_url(request.getfixturevalue(request.param)), part_size=PART)


@pytest.fixture
def behind_proxy(
    seaweed: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[ObjectStore, Proxy]]]:
    """Opens stores on SeaweedFS through a proxy that counts and spoils requests."""
    with proxy(seaweed) as between:
        for name, value in between.environment().items():
            monkeypatch.setenv(name, value)

        def opened(**options: Any) -> tuple[ObjectStore, Proxy]:
            url = options.pop("url", None) or fresh_url(seaweed)
            store = open_store(url, part_size=PART, **options)
            store.capabilities()
            between.requests.clear()
            return store, between

        yield opened
