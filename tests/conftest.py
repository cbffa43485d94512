"""Fixtures for all tests: real S3 servers on loopback, one of each kind for a session (and worker)."""

import itertools
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests import memory, servers, warm
from tests.catalogs import SQLITE, Catalogs, PostgreSQLCatalogs, catalogs_on
from tests.postgresql import PostgreSQL, postgresql
from tests.program import Program
from tests.servers import Server

_bucket_numbers = itertools.count(1)

CATALOG = Path(__file__).parent / "catalog"
EACH, EACH_OF_MANY, MANY = 4, 16, 100
"""Of how many variants of a test with a PostgreSQL catalog one is tried by default; `make torture` tries all."""

SHARING = {"test_worker", "test_run", "test_dead_hosts", "test_many_hosts", "test_many_processes", "test_two_at_a_time"}
"""Modules about processes that share a catalog: all their tests are tried with both kinds."""

# No example has to be quick: the machine may be slow, or busy.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _hide_the_users_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees only its own AWS settings, and cannot reach an account by mistake."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in servers.NO_USER_SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session", autouse=True)
def _share_models_and_statements() -> Iterator[None]:
    with warm.shared():
        yield


_garbage = warm.Garbage()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    _garbage.keep()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    _garbage.collect()


@pytest.fixture(scope="session", autouse=True)
def _reuse_migrated_catalogs(_share_models_and_statements: None) -> Iterator[None]:
    """Tests of the migrations undo this."""
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
    """Runs a test with both kinds of catalogs, if it requests this fixture or one of the programs below."""
    if request.param == "sqlite":
        yield SQLITE
    else:
        with catalogs_on(request.getfixturevalue("postgresql_server")) as made:
            yield made


@pytest.fixture(autouse=True)
def _drop_catalogs_after_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without this, the server would soon be full."""
    made = request.getfixturevalue("catalogs") if "catalogs" in request.fixturenames else None
    with made.dropped() if isinstance(made, PostgreSQLCatalogs) else nullcontext():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give tests a folder in memory, unless `--basetemp` names another. What a test that passes wrote is removed."""
    if config.option.basetemp is None:  # a worker has one
        folder = ExitStack()
        config.option.basetemp = folder.enter_context(memory.folder())
        config.add_cleanup(folder.close)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run tests marked `sqlite` only with SQLite; mark all that use PostgreSQL as `postgresql`."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    left_out = {item for item in functions if _catalog_kind(item) == "postgresql" and item.get_closest_marker("sqlite")}
    for item in functions:
        if {"postgresql", "postgresql_server"} & {*_parameters(item).values(), *item.fixturenames}:
            item.add_marker("postgresql")
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    for item in _repeated_with_postgresql(item for item in functions if item not in left_out):
        item.add_marker(pytest.mark.torture)


def _repeated_with_postgresql(functions: Iterable[pytest.Function]) -> Iterator[pytest.Function]:
    """What is tried with both kinds of catalog, except for the first and each further `EACH` of a test.

    Tests without variants take turns. Tests of the catalog are not among them: no other part of mgmt knows which kind
    it has.
    """
    variants: dict[tuple[Path, str], dict[str, list[pytest.Function]]] = defaultdict(lambda: defaultdict(list))
    for item in functions:
        kind = _catalog_kind(item)
        if isinstance(kind, str) and CATALOG not in item.path.parents and not item.get_closest_marker("torture"):
            variants[item.path, item.originalname][kind].append(item)
    for (path, name), kinds in variants.items():
        each = EACH if len(kinds["postgresql"]) < MANY else EACH_OF_MANY
        first = zlib.crc32(name.encode()) % 2 if len(kinds["postgresql"]) == 1 and path.stem not in SHARING else 0
        if kinds["sqlite"]:
            yield from (item for number, item in enumerate(kinds["postgresql"], first) if number % each)


def _catalog_kind(item: pytest.Function) -> object:
    return _parameters(item).get("catalogs")


def _parameters(item: pytest.Function) -> dict[str, str]:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return {name: value for name, value in parameters.items() if isinstance(value, str)}


@pytest.fixture
def use_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Server]:
    """Set the endpoint and the credentials of a server where boto3's own chain finds them."""

    def use(server: Server) -> Server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server

    return use


@pytest.fixture
def seaweed(seaweed_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """SeaweedFS, which verifies checksums and supports conditional requests."""
    return use_server(seaweed_server)


@pytest.fixture
def rclone(rclone_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """`rclone serve s3`, which ignores both."""
    return use_server(rclone_server)


@pytest.fixture
def moto(moto_server: Server, use_server: Callable[[Server], Server]) -> Server:
    """moto, only for frozen objects."""
    return use_server(moto_server)


@pytest.fixture(scope="session")
def new_bucket() -> Callable[[Server], str]:
    """Returns a function that creates an empty bucket on a server and returns its name."""

    def make(server: Server) -> str:
        name = f"bucket-{os.getpid()}-{next(_bucket_numbers)}"
        server.create_bucket(name)
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
    """mgmt with SeaweedFS, with rclone, and with a directory as its store."""
    program: Program = request.getfixturevalue(request.param)
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape all text of a report that is not UTF-8: a worker that cannot send its report dies."""
    report = yield
    report.sections = [(title, _escaped(text)) for title, text in report.sections]
    if report.longreprtext != _escaped(report.longreprtext):
        report.longrepr = _escaped(report.longreprtext)
    return report


def _escaped(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class Figure(Protocol):
    """Notes how often a promise was tested, for the report of `make torture`."""

    def __call__(self, promise: int | str, what: str, *, tried: int, violations: int, note: str = "") -> None:
        """`promise` is its number in docs/promises.md (or "security"); the caller has already asserted it."""
        ...


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Appends to the file that MGMT_FIGURES names; does nothing without it."""

    def note(promise: int | str, what: str, *, tried: int, violations: int, note: str = "") -> None:
        if path := os.environ.get("MGMT_FIGURES"):
            row = {"promise": promise, "what": what, "tried": tried, "violations": violations, "note": note}
            with open(path, "a") as file:  # one short write, so that lines of workers do not mix
                file.write(json.dumps({**row, "test": request.node.nodeid}) + "\n")

    return note
