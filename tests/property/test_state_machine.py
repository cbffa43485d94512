"""Commands in any order, some interrupted: nothing is lost or overwritten, and each operation ends once."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mgmt.services.steps.index_keys import SUFFIX, archive_key
from tests.catalogs import Catalogs, Row
from tests.conftest import Figure
from tests.faults.history import Content, archived, content_of
from tests.faults.signal_at import run_signalled
from tests.program import Done, Program

NAMES = ("clip", "notes", "folder")
COMMANDS = (
    ("upload", "{}"),
    ("upload", "{}", "--keep"),
    ("upload", "{}", "--on-conflict", "rename"),
    ("download", "{}", "--to", "back", "--on-conflict", "rename"),
    ("download", "folder", "--member", "folder/inside", "--to", "back", "--on-conflict", "rename"),
    ("delete", "{}", "--yes"),
    ("delete", "{}", "--yes", "--last-copy"),
    ("free", "{}", "--yes"),
    ("verify", "{}", "--read-back"),
    ("recover",),
)
REFUSALS = {1, 2, 4, 7, 10, 11}
"""Failed, ambiguous, not found, refused, conflict, busy: the allowed errors. Never 8 or 12."""

names = st.sampled_from(NAMES)
commands = st.builds(lambda line, name: [word.format(name) for word in line], st.sampled_from(COMMANDS), names)


class Machine(RuleBasedStateMachine):
    """Three originals, a directory store and a catalog; the model knows the contents that the user has written."""

    folder: Path
    template: Program
    runs = 0
    steps = 0
    interrupted = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        home = self.folder / str(self.runs)
        shutil.copytree(self.template.home, home)
        self.template.catalogs.copy(self.template.home, home)
        self.program = replace(self.template, home=home, store=f"file://{home}/store")
        self.work, self.store = self.program.work, home / "store"
        self.versions = 0
        self.known: set[Content] = set()
        self.required: set[Content] = set()
        self.seen: dict[Path, bytes] = {}

    @initialize()
    def first(self) -> None:
        for name in NAMES:
            self.put(name)

    # Actions of the user

    @rule(name=names)
    def change(self, name: str) -> None:
        """Overwrite an original, or make another of the same name, as the user may."""
        self.put(name)

    @rule(line=commands)
    def run(self, line: list[str]) -> None:
        done = self.program.run(*line)
        self.check(line, done)
        if done.returncode == 0 and line[0] == "upload":
            assert (self.work / line[1]).exists() == ("--keep" in line)

    @rule(line=commands, step=st.integers(1, 5500), number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def interrupt(self, line: list[str], step: int, number: int) -> None:
        """A command that is killed or terminated at some step; it may have ended before."""
        done = run_signalled(self.program, line, step, number)
        if done.returncode in (-number, 128 + number):
            type(self).interrupted += 1
            if "--last-copy" in line:
                self.forget_deleted_contents()
        else:
            self.check(line, done)

    @rule(name=names)
    def upload_while_another_does(self, name: str) -> None:
        before = self.files()
        with another_uploads(self.program, self.work / name):
            assert self.program.run("upload", name).returncode == 11
        assert self.files() == before

    @rule()
    def recover(self) -> None:
        self.program.ok("recover")
        self.forget_deleted_contents()
        assert self.rows("SELECT operation_id FROM operations WHERE status = 'running'") == []
        assert list(self.work.rglob(".mgmt-*")) == []
        assert list((self.store / ".mgmt").glob("uploads/*")) == []
        keys = [archive_key(path.name) for path in self.store.glob(f"*{SUFFIX}")]
        assert [key for key in keys if not (self.store / key).exists()] == []

    # What must always hold

    @invariant()
    def nothing_is_lost(self) -> None:
        lost = self.required - self.held()
        assert not lost

    @invariant()
    def nothing_is_overwritten(self) -> None:
        now = self.files()
        changed = [path for path, data in self.seen.items() if now.get(path, data) != data]
        assert changed == []
        self.seen = now

    @invariant()
    def each_ends_once(self) -> None:
        assert self.rows("SELECT * FROM operations WHERE (status = 'running') != (completed_at IS NULL)") == []
        twice = "SELECT claim FROM operations WHERE status = 'running' AND claim IS NOT NULL GROUP BY claim"
        assert self.rows(f"{twice} HAVING count(*) > 1") == []

    @invariant()
    def recorded_files_exist(self) -> None:
        """Unless an interrupted operation has yet to be recovered."""
        live = "SELECT 1 FROM operation_files NATURAL JOIN operations WHERE file_id = files.id AND status = 'running'"
        recorded = f"SELECT location, path FROM files WHERE status = 'completed' AND NOT EXISTS ({live})"
        for location, path in self.rows(recorded):
            if location == "s3":
                assert (self.store / path).exists(), f"{path} is gone, but was not deleted"
            elif location == "completed":
                assert Path(path).exists(), f"{path} is gone, but was not freed"

    @invariant()
    def downloads_are_whole(self) -> None:
        inside = {(("", data),) for content in self.known for _, data in content}
        for path in visible(self.work / "back"):
            assert content_of(path) in self.known | inside

    def teardown(self) -> None:
        self.recover()
        self.nothing_is_lost()
        for line in (["log", "--limit", "500"], ["ls"]):
            self.program.ok(*line)
        shutil.rmtree(self.program.home)
        self.program.catalogs.forget(self.program.home)

    # The model

    def put(self, name: str) -> None:
        self.versions += 1
        path = self.work / name
        before = {content_of(path)} if path.exists() else set()
        data = f"{name}, version {self.versions}\n".encode() * 200
        if name == "folder":
            path.mkdir(exist_ok=True)
            (path / "inside").write_bytes(data)
            (path / "beside").write_bytes(b"the same in each")
        else:
            path.write_bytes(data)
        self.known.add(content_of(path))
        self.required -= before - self.held()
        self.required.add(content_of(path))
        self.seen = self.files()

    def check(self, line: list[str], done: Done) -> None:
        type(self).steps += 1
        assert done.returncode == 0 or done.returncode in REFUSALS, (line, done)
        assert "Traceback" not in done.stderr
        if done.returncode == 0 and "--last-copy" in line:
            self.forget_deleted_contents()

    def forget_deleted_contents(self) -> None:
        """Content removed with `--last-copy` is no longer required, if the removal is recorded."""
        asked = "SELECT target_path FROM operations WHERE operation_type = 'delete'"
        keys = {path.rpartition("/")[2] for (path,) in self.rows(f"{asked} AND status IN ('success', 'running')")}
        paths = {self.store / key for key in keys}
        gone = {archived(data) for path, data in self.seen.items() if path in paths and not path.exists()}
        self.required -= gone - self.held()

    def held(self) -> set[Content]:
        """All contents in place, in completed/, downloaded, or proven in the store."""
        places = (self.work, self.work / "completed", self.work / "back")
        local = {content_of(path) for place in places for path in visible(place)}
        proven = {key for (key,) in self.rows("SELECT path FROM files WHERE location = 's3' AND proof IS NOT NULL")}
        return local | {archived(path.read_bytes()) for path in self.store.glob("*.tar.gz") if path.name in proven}

    def files(self) -> dict[Path, bytes]:
        """The user's files, without temporary ones, and the recorded objects of the store.

        An unproven object of an interrupted upload may be replaced when that upload is resumed.
        """
        local = [path for path in self.work.rglob("*") if not any(".mgmt" in part for part in path.parts)]
        return {path: path.read_bytes() for path in (*local, *self.recorded()) if path.is_file()}

    def recorded(self) -> set[Path]:
        """The objects of all archives ever recorded, and of their indexes."""
        keys = self.rows("SELECT path, index_key FROM files WHERE location = 's3'")
        return {self.store / key for both in keys for key in both if key is not None}

    def rows(self, query: str) -> list[Row]:
        return self.program.records.rows(query)


def visible(folder: Path) -> list[Path]:
    """The entries of a folder, without temporary ones and mgmt's own folders."""
    if not folder.exists():
        return []
    own = ("completed", "back")
    return [path for path in folder.iterdir() if not path.name.startswith(".mgmt-") and path.name not in own]


@contextmanager
def another_uploads(program: Program, path: Path) -> Iterator[None]:
    """Another process is uploading `path` as long as the block lasts; then it dies."""
    from mgmt.catalog import UploadRecord, open_catalog
    from mgmt.services.steps.local_files import claim

    begun, may_exit = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(may_exit[1])
            catalog = open_catalog(program.records.url)
            upload = UploadRecord(target_path=str(path), store=program.store)
            with catalog.journal.record(upload, claim=claim(str(path))):
                os.write(begun[1], b"!")
                os.read(may_exit[0], 1)
                os._exit(9)
        finally:
            os._exit(1)
    os.close(begun[1])
    try:
        assert os.read(begun[0], 1) == b"!"
        yield
    finally:
        for descriptor in (begun[0], *may_exit):
            os.close(descriptor)
        os.waitpid(child, 0)


def check_sequences(tmp_path: Path, catalogs: Catalogs, figure: Figure, bounds: settings) -> None:
    first = Program(tmp_path / "template", f"file://{tmp_path}/template/store", catalogs=catalogs)
    (tmp_path / "template" / "store").mkdir(parents=True)
    first.ok("ls")

    class Kept(Machine):
        folder, template = tmp_path, first

    run_state_machine_as_test(Kept, settings=bounds)
    assert Kept.interrupted > 0
    tried = Kept.steps + Kept.interrupted
    figure("1-10", "commands in any order", tried=tried, violations=0, note=f"{Kept.interrupted:,} of them interrupted")


def bounded(examples: int, steps: int, *, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_commands_in_any_order_break_no_promise(tmp_path: Path, catalogs: Catalogs, figure: Figure) -> None:
    check_sequences(tmp_path, catalogs, figure, bounded(8, 12, derandomize=True))


@pytest.mark.torture
def test_many_commands_in_any_order_break_no_promise(tmp_path: Path, catalogs: Catalogs, figure: Figure) -> None:
    check_sequences(tmp_path, catalogs, figure, bounded(200, 30, derandomize=False))
