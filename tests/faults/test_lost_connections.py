"""Promises 2, 3 and 11 when the connection to a PostgreSQL catalog is cut at any request, before or after it is run."""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from mgmt.catalog.db import commit_recovery
from mgmt.catalog.db import postgresql as dialect
from mgmt.catalog.operations import heartbeat
from tests.catalogs import PostgreSQLCatalogs, catalogs_on
from tests.conftest import Figure
from tests.faults.history import look, violations
from tests.faults.postgresql_proxy import Cut, Proxy, proxy
from tests.faults.signal_at import forked
from tests.faults.test_crash_points import SCENARIOS, Scenario
from tests.postgresql import PostgreSQL
from tests.program import Done, Program

A_FEW = 2
"""Requests of each command that are tried by default, besides every COMMIT: in turns before and after they are run."""

NAMES = ("upload of a folder", "download", "delete", "recover a proven upload")
COMMANDS = [scenario for scenario in SCENARIOS if scenario.name in NAMES]
COMMIT = b"COMMIT\0"


@dataclass(frozen=True)
class Request:
    """The `nth` request of a command, and whether a transaction is open at that time."""

    nth: int
    text: bytes
    inside: bool
    connecting: bool
    sealing: bool
    """The command has done its work: operations that cannot be sealed now are sealed by the next command."""

    @property
    def is_commit(self) -> bool:
        return self.text.endswith(COMMIT)

    def ends(self, *, after: bool) -> tuple[int, ...]:
        """The exit statuses allowed when the connection is cut there."""
        if self.sealing:
            return (0,)
        if self.is_commit:
            return (0,) if after else (12,)
        if self.connecting:  # a connection made for a read is retried
            return (0, 12)
        return (12,) if self.inside else (0,)

    def __str__(self) -> str:
        return f"request {self.nth}: {self.text[5:90]!r}"


def requests(asked: list[bytes]) -> Iterator[Request]:
    inside = connecting = sealing = False
    for number, text in enumerate(asked, 1):
        if not text[:1].isalpha():
            connecting = True
        elif b"alembic_version" in text or b"pg_class" in text:
            connecting = False
        sealing = sealing or b"mgmt seals" in text
        if text[:1] != b"X":
            yield Request(number, text, inside, connecting, sealing)
        inside = inside or text[5:].startswith(b"BEGIN")  # what does not begin is begun again
        if text[5:].startswith((b"COMMIT", b"ROLLBACK")):
            inside = False


@pytest.fixture
def on_a_server(postgresql_server: PostgreSQL) -> Iterator[PostgreSQLCatalogs]:
    with catalogs_on(postgresql_server) as catalogs:
        yield catalogs


Beginning = Callable[[Scenario], Program]


@pytest.fixture
def beginning(tmp_path: Path, on_a_server: PostgreSQLCatalogs, monkeypatch: pytest.MonkeyPatch) -> Beginning:
    """Prepares a command, each time in a folder of its own."""
    numbers = count()

    def begin(scenario: Scenario) -> Program:
        home = tmp_path / str(next(numbers))
        for folder in ("store", "tmp"):
            (home / folder).mkdir(parents=True)
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        monkeypatch.setattr(dialect, "IDLE_SECONDS", 1e9)  # the same requests in each run, however slow it is
        monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 1e9)
        monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 1e9)
        program = Program(home, f"file://{home}/store", {"TMPDIR": str(home / "tmp")}, on_a_server)
        scenario.prepare(program)
        return program

    return begin


def assert_clear_error(done: Done) -> None:
    """One line reports the error, and one the next command."""
    error, step = (each for each in done.stderr.splitlines() if not each.startswith(("note: ", "       # ")))
    assert error.startswith("mgmt: the catalog postgresql"), done
    assert step.startswith("  try: "), done


@contextmanager
def through_a_proxy(program: Program, cut: Cut | None = None) -> Iterator[tuple[Program, Proxy]]:
    with proxy(program.records.url) as between:
        between.reset(cut)
        yield replace(program, environment={**program.environment, "MGMT_CATALOG": between.url}), between


def attempt(program: Program, scenario: Scenario, request: Request, *, after: bool) -> list[str]:
    """The violations when the connection is cut there once, and when the command is run again."""
    before = look(program)
    with through_a_proxy(program, Cut(request.nth, after=after)) as (through, between):
        done = forked(through, scenario.command, lambda: None)  # in a process that has ended afterwards
        assert between.met == 1
    found = violations(before, look(program), recovered=False)
    if done.returncode not in request.ends(after=after):
        found.append(f"10: {done}")
    if done.returncode == 12:
        assert_clear_error(done)
    again = program.run(*scenario.command)
    if again.returncode not in scenario.again:
        found.append(f"10: {scenario.command} again: {again}")
    found += violations(before, look(program), recovered=True)
    return found


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
@pytest.mark.parametrize("scenario", COMMANDS, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_a_connection_cut_at_any_request_breaks_no_promise(
    scenario: Scenario, few: bool, beginning: Beginning, on_a_server: PostgreSQLCatalogs, figure: Figure
) -> None:
    with through_a_proxy(beginning(scenario)) as (through, between):
        through.ok(*scenario.command)
    asked = list(requests(between.asked))
    commits = [request for request in asked if request.is_commit]
    assert commits
    if few:
        others = [request for request in asked if not request.is_commit]
        asked = commits + random.Random(scenario.name).sample(others, A_FEW)
    cuts = [(request, after) for request in asked for after in (False, True)]
    if few:
        both = scenario is COMMANDS[0]  # the others take turns for their COMMITs, too
        cuts = [cut for number, cut in enumerate(cuts) if (both and cut[0].is_commit) or number % 4 in (0, 3)]
    broken = []
    for request, after in cuts:
        program = beginning(scenario)
        found = attempt(program, scenario, request, after=after)
        broken += [f"{request}, {'after' if after else 'before'} it was run: {each}" for each in found]
        shutil.rmtree(program.home)
        on_a_server.forget(program.home)
    assert not broken, "\n".join(broken)
    figure("11", f"lost connections to PostgreSQL: {scenario.name}", tried=len(cuts), violations=0)


def test_a_commit_with_an_unknown_outcome_is_left_to_the_next_run(
    beginning: Beginning, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The server does not come back in time: the record stays as it is until `recover` runs."""
    monkeypatch.setattr(commit_recovery, "RECOVERY_SECONDS", 0.2)
    scenario = COMMANDS[0]
    with through_a_proxy(beginning(scenario)) as (through, between):
        through.ok(*scenario.command)
    asked = requests(between.asked)
    commits = [request for request in asked if request.is_commit and not request.sealing]
    for request in commits:
        program = beginning(scenario)
        before = look(program)
        with through_a_proxy(program, Cut(request.nth, after=True, times=10_000)) as (through, _):
            done = forked(through, scenario.command, lambda: None)
        assert done.returncode == 12, done
        assert "the connection was lost during COMMIT" in done.stderr, done
        assert "mgmt recover" in done.stderr
        assert violations(before, look(program), recovered=False) == []
        program.ok("recover")
        assert violations(before, look(program), recovered=True) == []
    figure("11", "COMMITs with an unknown outcome", tried=len(commits), violations=0)


def test_a_transaction_of_a_lost_client_is_ended_and_does_not_block_the_next_run(
    beginning: Beginning, on_a_server: PostgreSQLCatalogs
) -> None:
    """The COMMIT of a lost client never arrived: its transaction is terminated, not waited for."""
    import psycopg

    program = beginning(COMMANDS[0])
    lost = psycopg.connect(program.records.url)
    lost.execute("INSERT INTO endpoints (url, max_parts, probed_at) VALUES ('x', 1, now())")
    row = lost.execute("SELECT txid_current_if_assigned()").fetchone()
    assert row is not None
    connection = commit_recovery.RecoveringConnection.connect(program.records.url)
    connection.reconnect = lambda **options: psycopg.connect(program.records.url, **options)
    assert connection._was_committed(row[0]) is False
    connection.close()
    assert program.records.rows("SELECT * FROM endpoints WHERE url = 'x'") == []
    lost.close()


def test_keepalives_detect_a_server_that_disappears_silently(beginning: Beginning) -> None:
    """The options of libpq, unless the URL sets others."""
    from mgmt.catalog import open_catalog

    url = beginning(COMMANDS[0]).records.url
    for query, idle in (("", "30"), ("?keepalives_idle=7", "7")):
        catalog = open_catalog(url + query)
        with catalog.database.connection() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            assert driver.info.get_parameters()["keepalives_idle"] == idle
            assert driver.info.get_parameters()["tcp_user_timeout"] == "60000"
        catalog.close()
