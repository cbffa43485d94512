"""Whatever commands in whatever order, with whatever the user does between: no content is lost."""

import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.conftest import Figure
from tests.program import Program
from tests.property.contents import ViolationError, Worlds
from tests.servers import Server

PATHS = ("a", "other/a")
COPIES = ("completed/a", "completed/a", "other/completed/a")
KEYS = ("a.tar.gz", "k.tar.gz")
WORDS = ("one", "two")
OPTIONS = (
    "",
    "",
    "",
    "--keep",
    "--key k.tar.gz",
    "--on-conflict rename",
    "--on-conflict skip",
    "--xattrs --owners",
    "--xattrs",
    "--keep-archive kept",
    "--keep --on-conflict rename --xattrs --owners",
)

paths, copies, words = st.sampled_from(PATHS), st.sampled_from(COPIES), st.sampled_from(WORDS)
names = st.sampled_from((*PATHS, *KEYS))


_NAME = re.compile(r"\ba\b")


def lines(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda *given: form.format(*given).strip(), *parts)


edits = lines("edit {} three", copies) | lines("add {} three", copies)
changes = (
    lines("write {} {}", paths, words)
    | lines("edit {} {}", paths, words)
    | edits
    | lines("copy {} {}", paths | copies, paths)
    | lines("move {} {}", paths, paths)
    | lines("remove {}", paths)
    | lines("note {} {}", paths | copies, st.sampled_from(("x", "y")))
    | lines("give {} {}", paths, st.sampled_from(("0", "1234")))
)
uploads = lines("mgmt {}upload {} {}", st.sampled_from(("", "", "", "--store OTHER ")), paths, st.sampled_from(OPTIONS))
plain_uploads = lines("mgmt upload {}", paths)
deletions = lines("mgmt delete {} --yes{}", names, st.sampled_from(("", "", " --last-copy")))
frees = lines("mgmt free {} --yes", st.just("--all") | copies | names)
removals = deletions | frees
others = (
    lines("mgmt verify {}", names | st.just("--all"))
    | lines("mgmt download {} --to back --on-conflict rename", names)
    | st.just("mgmt recover")
    | st.just("mgmt db rebuild")
)
commands = uploads | removals | frees | others

steps = st.integers(1, 130).map(str)
looks = st.integers(1, 4).map("look {}".format)
moments = steps | looks | st.just("stored")
deeds = st.sampled_from(("backup", "restore", "export", "import", "switch", "lose"))
taken_meanwhile = st.sampled_from(("backup", "export"))


class Playing(RuleBasedStateMachine):
    """Each rule plays a line of `World.play`; that judges it."""

    worlds: Worlds
    only_delete_removes = True
    sequences = tried = cut_off = 0

    def __init__(self) -> None:
        super().__init__()
        self.world = self.worlds.new(only_delete_removes=self.only_delete_removes)
        self.is_over = self.is_folder = False

    @initialize(is_folder=st.booleans())
    def begin(self, is_folder: bool) -> None:
        self.is_folder = is_folder
        self.play("write a one")

    def play(self, line: str, word: str = "one") -> None:
        """Play a line, of a folder `f` instead of `a` in some worlds, about what is there rather than what is not."""
        if self.is_over:
            return
        if self.is_folder:
            line = _NAME.sub("f", line)
        line = re.sub(r"\S*completed/\w", self.one_that_is_there, line)
        try:
            for path in re.findall(r"upload (\S+)", line):
                if not (self.world.work / path).exists():
                    self.world.play(f"write {path} {word}")
            self.world.play(line)
        except BaseException as error:
            self.is_over = True
            self.violated(error)

    def one_that_is_there(self, copy: re.Match[str]) -> str:
        if (self.world.work / copy[0]).exists():
            return copy[0]
        name = copy[0][-1]
        return next((each for each in self.world.copies() if each.endswith(name)), copy[0])

    def violated(self, error: BaseException) -> None:
        if isinstance(error, ViolationError):
            raise ViolationError(error.kind, "\n".join([str(error), *self.world.script])) from error
        raise error

    @rule(line=changes)
    def change(self, line: str) -> None:
        self.play(line)

    @rule(line=uploads, word=words)
    def upload(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=plain_uploads, word=words)
    def upload_plainly(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=deletions)
    def delete(self, line: str) -> None:
        self.play(line)

    @rule(line=frees)
    def free(self, line: str) -> None:
        self.play(line)

    @rule(line=frees)
    def free_again(self, line: str) -> None:
        self.play(line)

    @rule(line=others)
    def other(self, line: str) -> None:
        self.play(line)

    @rule(line=lines("on nas: {}", commands), word=words)
    def elsewhere(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=lines("kill {}: {}", moments, uploads | removals | others), word=words)
    def kill(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=lines("stop {}: {} | {}", moments, uploads | removals, commands), word=words)
    def two_at_once(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=lines("stop {}: {} | {}", looks, removals, edits))
    def edit_meanwhile(self, line: str) -> None:
        self.play(line)

    @rule(line=lines("stop {}: {} | {}", moments, uploads, changes), word=words)
    def change_meanwhile(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=lines("stop {}: {} | {}", moments, uploads, taken_meanwhile), word=words)
    def take_meanwhile(self, line: str, word: str) -> None:
        self.play(line, word)

    @rule(line=deeds)
    def administrate(self, line: str) -> None:
        self.play(line)

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


def bounded(examples: int, steps: int, *, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def keep(program: Program, server: Server | None, figure: Figure, bounds: settings) -> None:
    class Played(Playing):
        worlds = Worlds(program, server)

    run_state_machine_as_test(Played, settings=bounds)
    assert Played.cut_off > 0
    note = f"{Played.sequences:,} sequences, {Played.cut_off:,} commands cut off"
    figure(18, "commands in any order", tried=Played.tried, violations=0, note=note)
