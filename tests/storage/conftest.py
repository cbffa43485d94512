"""Stores to test with: each a fresh, empty one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from mgmt.storage import open_store
from mgmt.storage.s3 import Bucket, connect
from mgmt.storage.s3_store import S3Store
from mgmt.storage.store import Capabilities, ObjectStore, StoreOptions
from tests.faults.proxy import Proxy, proxy
from tests.servers import Server

MIB = 1 << 20
PART = 5 * MIB
"""The minimum of S3."""
BUCKET = "storage"


def fresh_url(server: Server) -> str:
    """A new prefix, in one bucket per server (creating a bucket takes SeaweedFS some time)."""
    client = server.client()
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/{uuid4().hex}"


def _nothing() -> None:
    """Permit every removal."""


@dataclass
class Connection:
    """One client for all tests of a session: creating one takes boto3 as long as a test."""

    bucket: Bucket
    capabilities: Capabilities

    @classmethod
    def to(cls, server: Server, endpoint_url: str | None = None) -> "Connection":
        _, _, bucket, prefix = fresh_url(server).split("/")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            made = connect(bucket, prefix, StoreOptions(endpoint_url))
            made.client.list_buckets()  # boto3 looks for the credentials now
        store = S3Store(made, StoreOptions(part_size=PART), capabilities=None, on_probed=None, before_removal=_nothing)
        return cls(made, store.capabilities())

    def store(self, *, threads: int = 4, capabilities: Capabilities | None = None) -> ObjectStore:
        return S3Store(
            Bucket(self.bucket.client, self.bucket.name, uuid4().hex),
            StoreOptions(threads=threads, part_size=PART),
            capabilities=capabilities or self.capabilities,
            on_probed=None,
            before_removal=_nothing,
        )


@pytest.fixture(scope="session")
def seaweed_connection(seaweed_server: Server) -> Connection:
    return Connection.to(seaweed_server)


@pytest.fixture(scope="session")
def rclone_connection(rclone_server: Server) -> Connection:
    return Connection.to(rclone_server)


@pytest.fixture(params=["seaweed", "rclone", "directory"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kinds of store that mgmt must work with."""
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if kind == "directory":
        return open_store(f"file://{tmp_path}/store")
    connection: Connection = request.getfixturevalue(f"{kind}_connection")
    return connection.store()


@pytest.fixture(scope="session")
def shared_proxy(seaweed_server: Server) -> Iterator[tuple[Proxy, Connection]]:
    with proxy(seaweed_server) as between:
        yield between, Connection.to(seaweed_server, between.endpoint_url)


@pytest.fixture
def behind_proxy(shared_proxy: tuple[Proxy, Connection]) -> Callable[..., tuple[ObjectStore, Proxy]]:
    """Opens stores on SeaweedFS through a proxy that counts and corrupts requests."""
    between, connection = shared_proxy

    def opened(*, threads: int = 4, capabilities: Capabilities | None = None) -> tuple[ObjectStore, Proxy]:
        between.reset()
        return connection.store(threads=threads, capabilities=capabilities), between

    return opened
