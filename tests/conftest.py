"""Fixtures for every test: real S3 servers on loopback, one of each kind a session (and a worker)."""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests import servers
from tests.servers import Server

_bucket_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no AWS settings but its own, and can reach no account by mistake."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in servers.NOBODY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Server]:
    with servers.seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[Server]:
    with servers.rclone() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    with servers.moto() as server:
        yield server


@pytest.fixture
def use_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Server]:
    """Give this test the endpoint and the credentials of a server, where boto3's own chain finds them."""

    def use(server: Server) -> Server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server

    return use


@pytest.fixture
def seaweed(seaweed_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """SeaweedFS, the real one."""
    return use_server(seaweed_server)


@pytest.fixture
def rclone(rclone_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """`rclone serve s3`, the dumb one."""
    return use_server(rclone_server)


@pytest.fixture
def moto(moto_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """moto, for frozen objects only."""
    return use_server(moto_server)


@pytest.fixture
def new_bucket() -> Callable[[Server], str]:
    """Makes a fresh, empty bucket on a server and returns its name."""

    def make(server: Server) -> str:
        name = f"bucket-{os.getpid()}-{next(_bucket_numbers)}"
        server.client().create_bucket(Bucket=name)
        return name

    return make
