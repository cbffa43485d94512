"""Fixtures for every test: real S3 servers on loopback, one of each kind a session (and a worker)."""

import itertools
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import pytest

from tests import servers, warm
from tests.catalogs import SQLITE, Catalogs, PostgreSQLCatalogs, catalogs_on
from tests.postgresql import PostgreSQL, postgresql
from tests.program import Program
from tests.servers import Server

_bucket_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no AWS settings but its own, and can reach no account by mistake."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in servers.NOBODY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session", autouse=True)
def _models_and_statements_are_shared() -> Iterator[None]:
    with warm.shared():
        yield


@pytest.fixture(scope="session", autouse=True)
def _catalogs_are_migrated_once(_models_and_statements_are_shared: None) -> Iterator[None]:
    """Who tries the migrations themselves overrides this."""
    with warm.migrated_once():
        yield


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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def catalogs(request: pytest.FixtureRequest) -> Iterator[Catalogs]:
    """Who asks for it, and each `Program` below does, is run with catalogs of either kind."""
    if request.param == "sqlite":
        yield SQLITE
    else:
        with catalogs_on(request.getfixturevalue("postgresql_server")) as made:
            yield made


@pytest.fixture(autouse=True)
def _catalogs_go_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server would be full of them soon."""
    made = request.getfixturevalue("catalogs") if "catalogs" in request.fixturenames else None
    with made.dropped() if isinstance(made, PostgreSQLCatalogs) else nullcontext():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `sqlite` is not run with another catalog; what is, is marked `postgresql`."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    left_out = {item for item in functions if _kind(item) == "postgresql" and item.get_closest_marker("sqlite")}
    for item in functions:
        if {"postgresql", "postgresql_server"} & {*_parameters(item).values(), *item.fixturenames}:
            item.add_marker("postgresql")
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _kind(item: pytest.Function) -> object:
    return _parameters(item).get("catalogs")


def _parameters(item: pytest.Function) -> dict[str, str]:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return {name: value for name, value in parameters.items() if isinstance(value, str)}


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


@pytest.fixture(scope="session")
def new_bucket() -> Callable[[Server], str]:
    """Makes a fresh, empty bucket on a server and returns its name."""

    def make(server: Server) -> str:
        name = f"bucket-{os.getpid()}-{next(_bucket_numbers)}"
        server.client().create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def on_seaweed(tmp_path: Path, seaweed: Server, new_bucket: Callable[[Server], str], catalogs: Catalogs) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(seaweed)}/archive", seaweed.environment, catalogs)


@pytest.fixture
def on_rclone(tmp_path: Path, rclone: Server, new_bucket: Callable[[Server], str], catalogs: Catalogs) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(rclone)}/archive", rclone.environment, catalogs)


@pytest.fixture
def on_moto(tmp_path: Path, moto: Server, new_bucket: Callable[[Server], str], catalogs: Catalogs) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(moto)}/archive", moto.environment, catalogs)


@pytest.fixture
def on_directory(tmp_path: Path, catalogs: Catalogs) -> Program:
    (tmp_path / "store").mkdir()
    return Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs)


@pytest.fixture(params=["on_seaweed", pytest.param("on_rclone", marks=pytest.mark.sqlite), "on_directory"])
def anywhere(request: pytest.FixtureRequest, catalogs: Catalogs) -> Program:
    """The command with a real server, with a dumb one, and with none."""
    program: Program = request.getfixturevalue(request.param)
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is no UTF-8 in what a test says: a worker could not send its report else, and would die of that."""
    report = yield
    report.sections = [(title, _sendable(text)) for title, text in report.sections]
    if report.longreprtext != _sendable(report.longreprtext):
        report.longrepr = _sendable(report.longreprtext)
    return report


def _sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class Figure(Protocol):
    """Notes what was tried of a promise, for the report of `make torture`."""

    def __call__(self, promise: int | str, what: str, *, tried: int, violations: int, note: str = "") -> None:
        """`promise` is its number in docs/promises.md (or "security"); the caller has asserted already."""
        ...


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Appends to the file that MGMT_FIGURES names; without it, nothing is noted."""

    def note(promise: int | str, what: str, *, tried: int, violations: int, note: str = "") -> None:
        if path := os.environ.get("MGMT_FIGURES"):
            row = {"promise": promise, "what": what, "tried": tried, "violations": violations, "note": note}
            with open(path, "a") as file:  # one short write: workers do not mix their lines
                file.write(json.dumps({**row, "test": request.node.nodeid}) + "\n")

    return note
