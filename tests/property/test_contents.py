"""No content is lost by any commands in any order, whatever the user does in between."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from mgmt.services.steps import orphans
from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.program import Program
from tests.property.contents import Worlds
from tests.property.independent_draws import INDEPENDENT_DRAWS
from tests.property.repeats import THEMES as REPEATED
from tests.property.repeats import Repeats
from tests.property.state import ViolationError
from tests.property.world import World

PATHS = ("a", "a", "other/a")
COPIES = ("completed/a", "completed/a", "other/completed/a")
NAMES = ("a", "a", "a.tar.gz", "k.tar.gz", "other/a")
"""In half of the worlds `a` is `f`, a folder. Few names, so that each is reused for another content."""

CONTENTS = ("same", "same", "two", "one")
"""Contents to write before an upload where there is no file; `same` is a copy of another file."""

OPTIONS = (
    "--keep",
    "--key k.tar.gz",
    "--on-conflict rename",
    "--on-conflict skip",
    "--xattrs --owners",
    "--xattrs",
    "--keep-archive kept",
    "--key k.tar.gz --xattrs --owners",
    "--keep --on-conflict rename --xattrs",
)

FIRST = ("note a x", "copy a other/a", "write other/a two")
ORDINARY = ("mgmt delete a --yes", "mgmt free completed/a --yes", "mgmt free --all --yes", "mgmt upload a")
"""Removals that need a proof, and an upload: two people run them at once, or one while a copy changes."""

THEMES = ("keeping", "killing", "at once", "editing", "older catalogs", "other stores and hosts", "several", *REPEATED)
"""A sequence has one or two themes: a violation takes several matching commands, which random ones rarely are."""

_NAME = re.compile(r"\ba\b")


def lines(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(form.format, *parts)


paths, copies, names, contents = map(st.sampled_from, (PATHS, COPIES, NAMES, CONTENTS))
edits = lines("edit {} three", copies) | lines("add {} three", copies)
changes = (
    lines("write {} {}", paths, st.sampled_from(("one", "two")))
    | lines("edit {} three", paths)
    | lines("copy {} {}", paths | copies, paths)
    | st.sampled_from(("move a other/a", "move other/a a"))
    | lines("remove {}", paths)
    | lines("note {} {}", paths | copies, st.sampled_from(("x", "y")))
    | lines("give {} {}", paths, st.sampled_from(("0", "1234")))
)
plain_uploads = lines("mgmt upload {}", paths)
with_options = lines("mgmt upload {} {}", paths, st.sampled_from(OPTIONS))
to_other_store = lines("mgmt --store OTHER upload {}", paths)
uploads = st.one_of([plain_uploads] * 6 + [with_options] * 3 + [to_other_store])
several = lines("mgmt upload a b other/a other/b --jobs 2 {}", st.sampled_from(("", "--on-conflict rename", "--keep")))
deletions = lines("mgmt delete {} --yes{}", names, st.sampled_from(("", " --last-copy")))
frees = lines("mgmt free {} --yes", st.just("--all") | copies | names)
removals = deletions | frees
others = (
    lines("mgmt verify {}", names | st.just("--all"))
    | lines("mgmt download {} --to back --on-conflict rename", names)
    | st.just("mgmt recover")
    | st.just("mgmt db rebuild")
)
commands = uploads | removals | others
looks = st.integers(1, 4).map("look {}".format)
moments = (
    st.integers(1, 130).map(str)
    | looks
    | st.sampled_from(("indexed", "stored", "stored", "moved", "in finish_upload"))
    | st.sampled_from(("past 1", "past 2"))
)

early = st.integers(1, 60).map(str) | st.sampled_from(("look 1", "look 2", "past 1", "past 2"))
ordinary = st.sampled_from(ORDINARY)


class Machine(Repeats):
    """Each rule plays a line with `World.play`, which checks it."""

    worlds: Worlds
    sequences = tried = cut_off = 0

    def __init__(self) -> None:
        super().__init__()
        self.world: World = self.worlds.new()
        self.is_over = self.is_folder = False
        self.themes: set[str] = set()

    @initialize(
        is_folder=st.booleans(),
        others=st.lists(st.sampled_from(FIRST), max_size=2, unique=True),
        themes=st.sets(st.sampled_from(THEMES), min_size=1, max_size=2),
    )
    def begin(self, is_folder: bool, others: list[str], themes: set[str]) -> None:
        self.is_folder, self.themes = is_folder, themes
        for line in ("write a one", *others):
            self.play(line)

    @rule(line=changes | edits)
    def change(self, line: str) -> None:
        self.play(line)

    @rule(line=plain_uploads, content=contents)
    def upload(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("keeping"))
    @rule(line=with_options | with_options | to_other_store, content=contents)
    def upload_in_some_way(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.has_archives())
    @rule(line=deletions)
    def delete(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.has_copies())
    @rule(line=frees)
    def free(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.has_copies())
    @rule()
    def delete_what_is_copied(self) -> None:
        self.play("mgmt delete a --yes")

    @precondition(lambda self: self.has_copies())
    @rule()
    def free_all(self) -> None:
        self.play("mgmt free --all --yes")

    @precondition(lambda self: self.is_about("other stores and hosts"))
    @rule(line=others | lines("on nas: {}", commands), content=contents)
    def do_another_thing(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("killing"))
    @rule(line=lines("kill {}: {}", moments, uploads), content=contents)
    def kill_an_upload(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("several"))
    @rule(line=several | lines("kill {}: {}", moments, several), content=contents)
    def upload_several_at_a_time(self, line: str, content: str) -> None:
        for path in ("b", "other/b"):
            if not (self.world.work / path).exists():
                self.play(f"write {path} two")
        self.play(line, content)

    @precondition(lambda self: self.is_about("killing") and self.has_archives())
    @rule(line=lines("kill {}: {}", moments, removals | others))
    def kill(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("at once") and self.has_copies())
    @rule(line=lines("stop {}: {} | {}", moments, removals, removals | commands), content=contents)
    def two_at_once(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("at once") and self.has_copies())
    @rule(line=lines("stop {}: {} | {}", early, ordinary, ordinary), content=contents)
    def two_ordinary_ones_at_once(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("editing") and self.has_copies())
    @rule(line=lines("stop {}: {} | {}", looks, ordinary, edits))
    def edit_meanwhile(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("at once"))
    @rule(line=lines("stop {}: {} | {}", moments, uploads, commands | changes), content=contents)
    def upload_meanwhile(self, line: str, content: str) -> None:
        self.play(line, content)

    @precondition(lambda self: self.is_about("older catalogs"))
    @rule(line=lines("stop {}: {} | {}", moments, plain_uploads | with_options, st.sampled_from(("backup", "export"))))
    def save_meanwhile(self, line: str) -> None:
        self.play(line, "same")

    @precondition(lambda self: self.is_about("older catalogs"))
    @rule(line=st.sampled_from(("backup", "export", "lose")))
    def save(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: bool(self.world.backups or self.world.exports))
    @rule(line=st.sampled_from(("restore", "restore", "import", "import", "switch")))
    def use_what_was_saved(self, line: str) -> None:
        self.play(line)

    def is_about(self, theme: str) -> bool:
        return theme in self.themes

    def has_copies(self) -> bool:
        return bool(self.world.copies())

    def has_archives(self) -> bool:
        return bool(self.world.objects())

    def play(self, line: str, content: str = "one") -> None:
        """Play a line, with names replaced so that they exist."""
        if self.is_over:
            return
        if self.is_folder:
            line = _NAME.sub("f", line)
        try:
            line = re.sub(r"(other/)?completed/\w", self._existing_copy, line)
            for path in re.findall(r"upload (\S+)", line):
                if not (self.world.work / path).exists():
                    self._put(path, content)
            self.world.play(line)
        except BaseException as error:
            self.is_over = True
            self.violated(error)

    def violated(self, error: BaseException) -> None:
        for line in self.world.script:
            note(line)
        if isinstance(error, ViolationError):
            error.script = list(self.world.script)
        raise error

    def teardown(self) -> None:
        try:
            if not self.is_over:
                self.world.end()
        except ViolationError as error:
            self.violated(error)
        finally:
            type(self).sequences += 1
            type(self).tried += self.world.commands
            type(self).cut_off += self.world.cut_off
            self.worlds.forget(self.world)

    def _existing_copy(self, found: re.Match[str]) -> str:
        there = self.world.copies()
        return found[0] if found[0] in there or not there else there[0]

    def _put(self, path: str, content: str) -> None:
        others = [each for each in (*self.world.copies(), path[-1], f"other/{path[-1]}") if each != path]
        source = next((each for each in others if (self.world.work / each).exists()), None)
        if content == "same" and source is not None:
            self.world.play(f"copy {source} {path}")
        else:
            self.world.play(f"write {path} {content.replace('same', 'one')}")


def bounded(examples: int, steps: int, *, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        backend=INDEPENDENT_DRAWS,
        phases=[Phase.generate],  # `shortest` is quicker
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if possible, as fsync is free there; only processes are killed, so nothing is lost."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="mgmt-played-", dir="/dev/shm"))
    except OSError:
        folder = tmp_path / "played"
        folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def check(worlds: Worlds, figure: Figure, bounds: settings, machine: type[Machine] = Machine) -> None:
    class Played(machine):  # type: ignore[misc,valid-type]
        pass

    Played.worlds = worlds
    try:
        run_state_machine_as_test(Played, settings=bounds)
    except ViolationError as error:
        raise worlds.shortest(error) from None
    assert Played.tried > 0
    note_text = f"{Played.sequences:,} sequences, {Played.cut_off:,} commands cut off"
    figure(18, "commands in any order", tried=Played.tried, violations=0, note=note_text)


@pytest.fixture
def worlds(request: pytest.FixtureRequest, folder: Path, catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch) -> Worlds:
    monkeypatch.setattr(orphans, "OLD", timedelta(0))  # no world lasts an hour
    if request.param == "directory":
        return Worlds(Program(folder, f"file://{folder}/stores", catalogs=catalogs))
    program: Program = request.getfixturevalue(f"on_{request.param}")
    return Worlds(replace(program, home=folder), request.getfixturevalue(request.param))


@pytest.mark.parametrize(
    ("worlds", "examples"),
    [
        ("directory", 6),
        pytest.param("seaweed", 5, marks=pytest.mark.sqlite),
        pytest.param("rclone", 4, marks=pytest.mark.sqlite),
    ],
    indirect=["worlds"],
)
def test_no_sequence_of_commands_loses_a_content(worlds: Worlds, figure: Figure, examples: int) -> None:
    check(worlds, figure, bounded(examples, 12, derandomize=True))


@pytest.mark.torture
@pytest.mark.parametrize(
    ("worlds", "examples"), [("directory", 1200), ("seaweed", 300), ("rclone", 300)], indirect=["worlds"]
)
def test_no_long_sequence_of_commands_loses_a_content(worlds: Worlds, figure: Figure, examples: int) -> None:
    check(worlds, figure, bounded(examples, 16, derandomize=False))
