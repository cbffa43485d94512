"""Whatever commands in whatever order, some of them cut off: nothing is lost, nothing overwritten, each ends once."""

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
"""Failed, ambiguous, not there, refused, taken, busy: what a command may answer here. Never 8 or 12."""

names = st.sampled_from(NAMES)
commands = st.builds(lambda line, name: [word.format(name) for word in line], st.sampled_from(COMMANDS), names)


class Keeping(RuleBasedStateMachine):
    """Three originals, a directory store and a catalog; what the model knows is what the user put there."""

    folder: Path
    template: Program
    runs = 0
    steps = 0
    cut_off = 0

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
        self.owed: set[Content] = set()
        self.seen: dict[Path, bytes] = {}

    @initialize()
    def first(self) -> None:
        for name in NAMES:
            self.put(name)

    # What a user does

    @rule(name=names)
    def change(self, name: str) -> None:
        """Overwrite an original, or make another of the same name: that is the user's right."""
        self.put(name)

    @rule(line=commands)
    def run(self, line: list[str]) -> None:
        done = self.program.run(*line)
        self.judge(line, done)
        if done.returncode == 0 and line[0] == "upload":
            assert (self.work / line[1]).exists() == ("--keep" in line)

    @rule(line=commands, step=st.integers(1, 5500), number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def cut(self, line: list[str], step: int, number: int) -> None:
        """A command that is killed, or told to stop, at some step; it may have ended before."""
        done = run_signalled(self.program, line, step, number)
        if done.returncode in (-number, 128 + number):
            type(self).cut_off += 1
            if "--last-copy" in line:
                self.forget_what_was_deleted()
        else:
            self.judge(line, done)

    @rule(name=names)
    def upload_while_another_does(self, name: str) -> None:
        before = self.files()
        with another_uploads(self.program, self.work / name):
            assert self.program.run("upload", name).returncode == 11
        assert self.files() == before

    @rule()
    def recover(self) -> None:
        self.program.ok("recover")
        self.forget_what_was_deleted()
        assert self.rows("SELECT operation_id FROM operations WHERE status = 'running'") == []
        assert list(self.work.rglob(".mgmt-*")) == []
        assert list((self.store / ".mgmt").glob("uploads/*")) == []
        keys = [archive_key(path.name) for path in self.store.glob(f"*{SUFFIX}")]
        assert [key for key in keys if not (self.store / key).exists()] == []

    # What has to be true at any time

    @invariant()
    def nothing_is_lost(self) -> None:
        lost = self.owed - self.there()
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
    def what_is_recorded_is_there(self) -> None:
        """Unless an operation that was cut off has yet to say what it did."""
        live = "SELECT 1 FROM operation_files NATURAL JOIN operations WHERE file_id = files.id AND status = 'running'"
        recorded = f"SELECT location, path FROM files WHERE status = 'completed' AND NOT EXISTS ({live})"
        for location, path in self.rows(recorded):
            if location == "s3":
                assert (self.store / path).exists(), f"{path} is gone, and nobody deleted it"
            elif location == "completed":
                assert Path(path).exists(), f"{path} is gone, and nobody freed it"

    @invariant()
    def what_came_back_is_whole(self) -> None:
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
        self.owed -= before - self.there()
        self.owed.add(content_of(path))
        self.seen = self.files()

    def judge(self, line: list[str], done: Done) -> None:
        type(self).steps += 1
        assert done.returncode == 0 or done.returncode in REFUSALS, (line, done)
        assert "Traceback" not in done.stderr
        if done.returncode == 0 and "--last-copy" in line:
            self.forget_what_was_deleted()

    def forget_what_was_deleted(self) -> None:
        """`--last-copy` is the user's word: what that removed is owed no more. The record has to say it."""
        asked = "SELECT target_path FROM operations WHERE operation_type = 'delete'"
        keys = {path.rpartition("/")[2] for (path,) in self.rows(f"{asked} AND status IN ('success', 'running')")}
        paths = {self.store / key for key in keys}
        gone = {archived(data) for path, data in self.seen.items() if path in paths and not path.exists()}
        self.owed -= gone - self.there()

    def there(self) -> set[Content]:
        """Everything that is in place, in completed/, brought back, or proven to be in the store."""
        places = (self.work, self.work / "completed", self.work / "back")
        local = {content_of(path) for place in places for path in visible(place)}
        proven = {key for (key,) in self.rows("SELECT path FROM files WHERE location = 's3' AND proof IS NOT NULL")}
        return local | {archived(path.read_bytes()) for path in self.store.glob("*.tar.gz") if path.name in proven}

    def files(self) -> dict[Path, bytes]:
        """Every file that is a user's: not those of a temporary name, and of the store what is recorded.

        What a cut off upload has left there unproven, whoever goes on with that upload may replace.
        """
        local = [path for path in self.work.rglob("*") if not any(".mgmt" in part for part in path.parts)]
        return {path: path.read_bytes() for path in (*local, *self.recorded()) if path.is_file()}

    def recorded(self) -> set[Path]:
        """Archives that are, or were, recorded in the store, and their indexes."""
        keys = self.rows("SELECT path, index_key FROM files WHERE location = 's3'")
        return {self.store / key for both in keys for key in both if key is not None}

    def rows(self, query: str) -> list[Row]:
        return self.program.records.rows(query)


def visible(folder: Path) -> list[Path]:
    """What stands in a folder under a name of its own, but for the folders that are mgmt's."""
    if not folder.exists():
        return []
    own = ("completed", "back")
    return [path for path in folder.iterdir() if not path.name.startswith(".mgmt-") and path.name not in own]


@contextmanager
def another_uploads(program: Program, path: Path) -> Iterator[None]:
    """Another process has begun to upload `path`, for as long as the block lasts; then it dies."""
    from mgmt.catalog import UploadRecord, open_catalog
    from mgmt.services.steps.local_files import claim

    begun, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(go_on[1])
            catalog = open_catalog(program.records.url)
            upload = UploadRecord(target_path=str(path), store=program.store)
            with catalog.journal.record(upload, claim=claim(str(path))):
                os.write(begun[1], b"!")
                os.read(go_on[0], 1)
                os._exit(9)
        finally:
            os._exit(1)
    os.close(begun[1])
    try:
        assert os.read(begun[0], 1) == b"!"
        yield
    finally:
        for descriptor in (begun[0], *go_on):
            os.close(descriptor)
        os.waitpid(child, 0)


def keep(tmp_path: Path, catalogs: Catalogs, figure: Figure, bounds: settings) -> None:
    first = Program(tmp_path / "template", f"file://{tmp_path}/template/store", catalogs=catalogs)
    (tmp_path / "template" / "store").mkdir(parents=True)
    first.ok("ls")

    class Kept(Keeping):
        folder, template = tmp_path, first

    run_state_machine_as_test(Kept, settings=bounds)
    assert Kept.cut_off > 0
    tried = Kept.steps + Kept.cut_off
    figure("1-10", "commands in any order", tried=tried, violations=0, note=f"{Kept.cut_off:,} of them cut off")


def bounded(examples: int, steps: int, *, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_whatever_the_order(tmp_path: Path, catalogs: Catalogs, figure: Figure) -> None:
    keep(tmp_path, catalogs, figure, bounded(12, 12, derandomize=True))


@pytest.mark.torture
def test_whatever_the_order_many_times(tmp_path: Path, catalogs: Catalogs, figure: Figure) -> None:
    keep(tmp_path, catalogs, figure, bounded(200, 30, derandomize=False))
