"""A signal at each stage of each command: exit status 128 + n, no loss, and the same command succeeds afterwards."""

import dataclasses
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.catalogs import SQLITE, Catalogs
from tests.conftest import Figure
from tests.faults.signal_at import SIGNALS, Moment, copy_of, count_steps, run_signalled
from tests.program import Done, Program
from tests.trees import random_file

CONTENTS = {"clip/a": b"precious" * 999, "clip/b": b"b", "second": b"2" * 99, "other": b"other" * 999}


@dataclass(frozen=True)
class Command:
    """A command, and the functions before and after which it is signalled."""

    arguments: tuple[str, ...]
    around: tuple[str, ...]
    commits: int = 0
    before: tuple[tuple[str, ...], ...] = field(default=())
    finished: int = 0
    """The exit status when it is run again after success."""

    def moments(self) -> list[Moment]:
        sides = [Moment(each, side) for each in self.around for side in ("call", "return")]
        return sides + [
            Moment("Session.commit", side, nth) for nth in range(1, self.commits + 1) for side in ("call", "return")
        ]


COMMANDS = {
    "upload": Command(
        ("upload", "clip"),
        ("plan_upload", "Journal._begin", "DirectoryUpload.write", "_put_index", "DirectoryUpload.complete", "prove",
         "_move", "move", "rename_noreplace", "_record_completed", "Journal.close"),
        commits=5, finished=4,
    ),
    "batch": Command(("upload", "--all"), ("Journal._begin", "_attempt", "move", "Journal.close"), commits=8),
    "download": Command(
        ("download", "other", "--to", "back"),
        ("find_archive", "open_index", "Restoration.put", "FileThreads.settle", "Restoration.finish",
         "FileThreads.close", "rename_noreplace", "fsync_folder"),
        commits=3, before=(("upload", "other"),), finished=10,
    ),
    "delete": Command(
        ("delete", "other", "--last-copy", "--yes"), ("DirectoryStore.delete", "_confirm_deleted"),
        commits=3, before=(("upload", "other"),), finished=4,
    ),
    "verify": Command(
        ("verify", "--read-back", "other"), ("listen", "_check", "_status_of"),
        commits=3, before=(("upload", "other"),),
    ),
    "free": Command(
        ("free", "other", "--yes"), ("prove_again", "rename_noreplace", "finish_free"),
        commits=3, before=(("upload", "other"),), finished=4,
    ),
    "recover": Command(("recover",), ("Journal.take_up", "finish_upload", "move", "Journal.close"), commits=4),
}  # fmt: skip


class Trial:
    """One folder, restored to its state before each try."""

    def __init__(self, home: Path, name: str, catalogs: Catalogs) -> None:
        self.command = COMMANDS[name]
        self.program = Program(home, f"file://{home}/store", catalogs=catalogs)
        (home / "store").mkdir(parents=True)
        for path, data in CONTENTS.items():
            (self.program.work / path).parent.mkdir(exist_ok=True)
            (self.program.work / path).write_bytes(data)
        for arguments in self.command.before or [("ls",)]:
            self.program.ok(*arguments)
        shutil.copytree(home, copy_of(home), symlinks=True)
        catalogs.copy(home, copy_of(home))
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self.program.home)
        shutil.copytree(copy_of(self.program.home), self.program.home, symlinks=True)
        self.program.catalogs.copy(copy_of(self.program.home), self.program.home)
        if self.command.arguments == ("recover",):  # of an upload that was killed just before the move
            killed = run_signalled(self.program, ["upload", "clip"], Moment("move"), signal.SIGKILL)
            assert killed.returncode == -signal.SIGKILL

    def steps(self) -> int:
        try:
            return count_steps(self.program, list(self.command.arguments))
        finally:
            self.reset()

    def attempt(self, at: Moment | int, number: int, again: int = 0) -> bool:
        """Whether the signal interrupted the command; asserts that nothing is lost after it."""
        done = run_signalled(self.program, list(self.command.arguments), at, number, again)
        try:
            with _described(self.program, self.command, at, number, done):
                self._check(done, number)
        finally:
            self.reset()
        return done.returncode != 0

    def _check(self, done: Done, number: int) -> None:
        # -n: before mgmt has installed its handlers.
        assert done.returncode in (0, 128 + number, -number), "unexpected exit status"
        assert "Traceback" not in done.stderr
        if done.returncode == 128 + number:
            assert f"interrupted by {signal.Signals(number).name}" in done.stderr
            assert "run the same command again" in done.stderr
        self._check_originals()
        for record in self.program.json("log", "--limit", "100"):
            assert record["status"] in ("success", "cancelled", "running", "partial")
            assert (record["completed_at"] is None) == (record["status"] == "running")
        again = self.program.run(*self.command.arguments)
        assert again.returncode in ((0,) if done.returncode else (0, self.command.finished)), again.stderr
        self.program.ok("recover")
        assert self.program.json("recover") == []
        assert self.program.json("log", "--status", "running") == []
        for record in self.program.json("ls", "--location", "completed", "--status", "completed"):
            assert Path(record["path"]).exists()
        litter = [each for each in self.program.home.rglob("*") if ".mgmt-" in each.name or "uploads/" in str(each)]
        assert litter == []
        self._check_originals()
        work = self.program.work
        moved = {str(path.relative_to(work / "completed")).split("/")[0] for path in work.glob("completed/**/*")}
        known = {row["name"] for row in self.program.json("ls", "--location", "completed", "--status", "completed")}
        assert moved == known, "completed/ differs from its records"

    def _check_originals(self) -> None:
        """Each is intact in place or in completed/; freed files are in the store."""
        work, stored = self.program.work, self.program.home / "store"
        for path, data in CONTENTS.items():
            places = [place for place in (work / path, work / "completed" / path) if place.exists()]
            if not places:
                assert self.command.arguments[0] == "free"
                assert (stored / f"{path}.tar.gz").exists()
            for place in places:
                assert place.read_bytes() == data


@contextmanager
def _described(program: Program, command: Command, at: Moment | int, number: int, done: Done) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        where = f"signal {number}, {at if isinstance(at, Moment) else f'step {at}'} of {' '.join(command.arguments)}"
        raise AssertionError(f"{where}: {error}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}") from error


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_each_stage_loses_nothing(tmp_path: Path, catalogs: Catalogs, name: str, figure: Figure) -> None:
    """The signals take turns; `make torture` tries all of them everywhere."""
    trial = Trial(tmp_path / "home", name, catalogs)
    moments = trial.command.moments()
    chosen = moments[:: 3 if name != "batch" and catalogs is SQLITE else 6]
    stopped = [trial.attempt(moment, SIGNALS[turn % 3]) for turn, moment in enumerate(chosen)]
    assert any(stopped)
    figure(10, "signals at each stage", tried=len(stopped), violations=0)


@pytest.mark.torture
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_signal_at_every_stage_loses_nothing(
    tmp_path: Path, catalogs: Catalogs, name: str, number: int, figure: Figure
) -> None:
    trial = Trial(tmp_path / "home", name, catalogs)
    stopped = [trial.attempt(moment, number) for moment in trial.command.moments()]
    assert any(stopped)
    figure(10, "signals at each stage", tried=len(stopped), violations=0)


@pytest.mark.torture
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_between_any_two_calls_loses_nothing(
    tmp_path: Path, catalogs: Catalogs, name: str, figure: Figure
) -> None:
    """A signal at every 23rd of some thousand calls and returns of mgmt's functions."""
    trial = Trial(tmp_path / "home", name, catalogs)
    steps = range(1, trial.steps(), 23)
    stopped = [trial.attempt(step, SIGNALS[step % 3]) for step in steps]
    assert any(stopped)
    figure(10, "signals between any two calls", tried=len(steps), violations=0)


def test_a_second_ctrl_c_during_the_first_loses_nothing(tmp_path: Path, catalogs: Catalogs, figure: Figure) -> None:
    """Ctrl-C again, while the first one is being handled."""
    trial = Trial(tmp_path / "home", "upload", catalogs)
    steps = trial.steps()
    tried = [(step, later) for step in range(steps // 3, steps, steps // 4) for later in (1, 40)]
    stopped = [trial.attempt(step, signal.SIGINT, again=later) for step, later in tried]
    assert any(stopped)
    figure(10, "a second Ctrl-C during the first", tried=len(tried), violations=0)


@pytest.mark.torture
@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_ctrl_c_at_any_step_loses_nothing(
    tmp_path: Path, catalogs: Catalogs, name: str, figure: Figure
) -> None:
    trial = Trial(tmp_path / "home", name, catalogs)
    tried = [(step, 1 + step % 61) for step in range(1, trial.steps(), 61)]
    stopped = [trial.attempt(step, signal.SIGINT, again=later) for step, later in tried]
    assert any(stopped)
    figure(10, "a second Ctrl-C during the first", tried=len(tried), violations=0)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_a_multipart_upload_is_resumed(on_seaweed: Program, number: int, figure: Figure) -> None:
    """On a real server, with threads at work: the next run resumes with the parts that arrived."""
    program = dataclasses.replace(on_seaweed, environment={**on_seaweed.environment, "MGMT_PART_SIZE": str(5 << 20)})
    file = random_file(program.work / "clip.mov", 24 << 20)
    data = file.read_bytes()
    done = run_signalled(program, ["upload", "clip.mov"], Moment("MultipartUpload.finish"), number)
    assert done.returncode == 128 + number, done.stderr
    assert file.read_bytes() == data
    [record] = program.json("log", "--type", "upload")
    assert record["status"] == "cancelled"
    assert program.json("ls", "--live") == []
    [again] = program.json("upload", "clip.mov")
    assert again["metadata"]["parts_skipped"] > 0
    assert (program.work / "completed" / "clip.mov").read_bytes() == data
    assert program.json("recover") == []
    figure(10, "signals at each stage", tried=1, violations=0)
