"""Promises 1 to 8 when the command is killed at any system call that changes something, one after another."""

import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from mgmt.catalog import HEAD
from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.crash_points import killed_at, points, require_strace
from tests.faults.history import look, violations
from tests.faults.signal_at import Moment, run_signalled
from tests.faults.test_upgrade import old_catalog, state
from tests.program import Program
from tests.property.contents import beside, rehearse
from tests.servers import Server

POINTS = 2
"""Points tried by default in each scenario, chosen at random."""


def make_originals(program: Program) -> None:
    (program.work / "clip").write_bytes(b"a take of the third day\n" * 300)
    folder = program.work / "folder"
    (folder / "inside").mkdir(parents=True)
    (folder / "first").write_bytes(b"one")
    (folder / "inside" / "second").write_bytes(b"two" * 1000)


def several(program: Program) -> None:
    """Enough for two workers: the first is uploaded alone."""
    make_originals(program)
    for name in ("third", "fourth", "fifth"):
        (program.work / name).write_bytes(name.encode() * 100)


TWO_AT_A_TIME = ["upload", "--jobs", "2", "clip", "folder", "third", "fourth", "fifth"]


def archived_before(program: Program) -> None:
    make_originals(program)
    program.ok("upload", "clip", "folder")


def only_in_the_store(program: Program) -> None:
    archived_before(program)
    program.ok("free", "clip", "--yes")


def archived_and_kept(program: Program) -> None:
    make_originals(program)
    program.ok("upload", "--keep", "clip")


def large(program: Program) -> None:
    """Three parts, sent by threads."""
    (program.work / "clip").write_bytes(random.Random(3).randbytes(11 << 20))


def cut_off(moment: Moment) -> Callable[[Program], None]:
    def prepare(program: Program) -> None:
        make_originals(program)
        assert run_signalled(program, ["upload", "folder"], moment, signal.SIGKILL).returncode == -signal.SIGKILL

    return prepare


@dataclass(frozen=True)
class Scenario:
    """A command and the state it starts from; `again` holds the exit statuses allowed when it is run again."""

    name: str
    prepare: Callable[[Program], None]
    command: list[str]
    again: tuple[int, ...] = (0,)
    store: str = "directory"


DONE_ALREADY = (0, 3, 4)
"""Another run may find that the killed one had finished."""

SCENARIOS = [
    Scenario("upload of a file", make_originals, ["upload", "clip"], DONE_ALREADY),
    Scenario("upload of a folder", make_originals, ["upload", "folder", "--keep-archive", "../kept"], DONE_ALREADY),
    Scenario("upload of an archived file", archived_and_kept, ["upload", "clip"], DONE_ALREADY),
    Scenario("upload of two at a time", several, TWO_AT_A_TIME, DONE_ALREADY),
    Scenario("download", archived_before, ["download", "folder", "--to", "back"], (0, 10)),
    Scenario(
        "download of a member",
        archived_before,
        ["download", "folder", "--member", "folder/inside/second", "--to", "back"],
        (0, 10),
    ),
    Scenario("delete", archived_before, ["delete", "clip", "--yes"], DONE_ALREADY),
    Scenario("delete the last copy", only_in_the_store, ["delete", "clip", "--last-copy", "--yes"], DONE_ALREADY),
    Scenario("free", archived_before, ["free", "folder", "--yes"], DONE_ALREADY),
    Scenario("recover a half-sent upload", cut_off(Moment("put_index")), ["recover"]),
    Scenario("recover an upload with half an index", cut_off(Moment("DirectoryUpload.complete")), ["recover"]),
    Scenario("recover a sent upload", cut_off(Moment("prove")), ["recover"]),
    Scenario("recover a proven upload", cut_off(Moment("finish_upload")), ["recover"]),
    Scenario("upload to S3", make_originals, ["upload", "clip"], DONE_ALREADY, "seaweed"),
    Scenario("upload of parts to S3", large, ["upload", "clip"], DONE_ALREADY, "seaweed"),
    Scenario("upload of two at a time to S3", several, TWO_AT_A_TIME, DONE_ALREADY, "seaweed"),
    Scenario("download from S3", archived_before, ["download", "folder", "--to", "back"], (0, 10), "seaweed"),
    Scenario("delete from S3", archived_before, ["delete", "clip", "--yes"], DONE_ALREADY, "seaweed"),
]


Beginnings = Callable[[Scenario], Program]


@pytest.fixture
def beginning(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    catalogs: Catalogs,
) -> Beginnings:
    """Prepares a scenario, each time in a folder and below a prefix of its own."""
    numbers = count()
    empty = Program(tmp_path / "empty", f"file://{tmp_path}/empty/store", catalogs=catalogs)
    rehearse(beside(empty, "rehearsed"))  # so that children need not import all modules
    empty.ok("ls")

    def begin(scenario: Scenario) -> Program:
        home = tmp_path / str(next(numbers))
        for folder in ("store", "tmp"):
            (home / folder).mkdir(parents=True)
        catalogs.copy(empty.home, home)
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        if scenario.store == "directory":
            program = Program(home, f"file://{home}/store", {"TMPDIR": str(home / "tmp")}, catalogs)
        else:
            on_seaweed: Program = request.getfixturevalue("on_seaweed")
            environment = {**on_seaweed.environment, "TMPDIR": str(home / "tmp"), "MGMT_PART_SIZE": "5MiB"}
            program = Program(home, f"{on_seaweed.store}/{home.name}", environment, catalogs)
        scenario.prepare(program)
        return program

    return begin


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_a_kill_at_any_system_call_breaks_no_promise(
    scenario: Scenario,
    few: bool,
    beginning: Beginnings,
    catalogs: Catalogs,
    request: pytest.FixtureRequest,
    figure: Figure,
) -> None:
    require_strace()
    server: Server | None = request.getfixturevalue("seaweed") if scenario.store == "seaweed" else None
    rehearsed = beginning(scenario)
    tried = points(rehearsed, scenario.command, rehearsed.home / "log")
    if few:
        random.Random(scenario.name).shuffle(tried)
    kills, broken = 0, []
    for number, point in enumerate(tried):
        if few and kills == POINTS:  # not every run of several threads gets to each point
            break
        program = beginning(scenario)
        before = look(program, server)
        if not killed_at(point, program, scenario.command):
            continue
        kills += 1
        found = violations(before, look(program, server), recovered=False)
        for command in [["recover"], scenario.command] if number % 2 else [scenario.command]:
            done = program.run(*command)
            if done.returncode not in (scenario.again if command == scenario.command else (0,)):
                found.append(f"10: {command}: {done}")
            if scenario.command is TWO_AT_A_TIME:
                program.ok("recover")  # another run takes up the uploads, but not the batch
            found += violations(before, look(program, server), recovered=True)
        broken += [f"killed at {point}, then {'recover' if number % 2 else 'again'}: {each}" for each in found]
        shutil.rmtree(program.home)
        catalogs.forget(program.home)
    assert not broken, "\n".join(broken)
    assert kills >= (POINTS if few else len(tried) // 2 + 1)
    figure("2", f"kills at each system call: {scenario.name}", tried=kills, violations=0)


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.torture)], ids=["few", "all"])
def test_an_upgrade_killed_at_any_system_call_can_be_run_again(few: bool, tmp_path: Path, figure: Figure) -> None:
    """Promise 13: the upgrade is applied completely or not at all."""
    require_strace()
    upgrade = ["db", "upgrade"]
    program = Program(tmp_path / "home", f"file://{tmp_path}/store")

    def begin() -> None:
        shutil.rmtree(program.home, ignore_errors=True)
        program.home.mkdir()
        old_catalog(program.catalog, *([20, 20] if few else [200, 200]))

    begin()
    _, _, rows = state(program.catalog)
    program.ok(*upgrade)
    begin()
    tried = points(program, upgrade, tmp_path / "log")
    if few:
        tried = random.Random("upgrade").sample(tried, POINTS)
    kills = 0
    for point in tried:
        begin()
        if not killed_at(point, program, upgrade):
            continue
        kills += 1
        revision, verdict, now = state(program.catalog)
        assert (verdict, now) == ("ok", rows), point
        assert revision in ("0001", HEAD), point
        for backup in program.catalog.parent.glob("*.backup"):
            assert state(backup) == ("0001", "ok", rows), point
        program.ok(*upgrade)
        assert state(program.catalog) == (HEAD, "ok", rows), point
        program.ok("db", "check")
        left = [path.name for path in program.catalog.parent.iterdir() if path.suffix != ".backup"]
        assert sorted(left) == [program.catalog.name, f"{program.catalog.name}.lock"], point
    assert kills > len(tried) // 2
    figure("13", "kills at each system call: db upgrade", tried=kills, violations=0)


@pytest.mark.parametrize("first", [[], ["--keep"]], ids=["moving", "keeping"])
@pytest.mark.parametrize("then", [[], ["--keep"]], ids=["then-moving", "then-keeping"])
def test_a_proven_upload_is_finished_with_the_options_of_the_last_run(
    first: list[str], then: list[str], on_directory: Program
) -> None:
    make_originals(on_directory)
    killed = run_signalled(on_directory, ["upload", "clip", *first], Moment("finish_upload"), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    (upload,) = on_directory.json("upload", "clip", *then)
    assert upload["status"] == "success"
    assert (on_directory.work / "clip").exists() == (then == ["--keep"])
    assert (on_directory.work / "completed" / "clip").exists() == (then == [])
    assert len(on_directory.json("log", "--type", "upload")) == 1
