"""Lines that undo, retry, replay and cancel operations, or request them to run later."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

THEMES = ("undoing", "undoing", "requesting")

REMOVING = frozenset({"delete", "undo", "retry", "replay", "run", "worker"})
"""The commands that may remove an archive: `delete`, and what does the work of one again, or takes back an upload."""

REPEATING = frozenset({"retry", "replay", "run", "worker"})

REQUESTS = (
    "mgmt upload a --later",
    "mgmt upload a --then verify --then free",
    "mgmt free --all --yes --later",
    "mgmt delete a --yes --later",
    "mgmt verify --all --later",
)
"""Nothing with `--last-copy`: it may remove a content at any later time."""

Run = Callable[..., Any]
numbers = st.integers(1, 5).map("OP{}".format)


def lines(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(form.format, *parts)


undos = lines("mgmt undo {} --yes", numbers)
retries = lines("mgmt retry {} --yes", numbers) | st.just("mgmt retry --failed --yes")
replays = lines("mgmt replay {} --yes", numbers)
ends = lines("mgmt cancel {}", numbers) | lines("mgmt run {}", numbers)


def is_number(word: str) -> bool:
    """Whether `word` stands for one of the newest operations, such as OP2."""
    return word.startswith("OP") and word[2:].isdigit()


def operations(run: Run, limit: int = 40) -> list[dict[str, Any]]:
    """The newest operations that no other one contains, and that changed something."""
    done = run(("-o", "jsonl", "log", "--limit", str(limit)))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    quiet = ("verify", "recover", "rebuild", "search", "status")
    return [each for each in found if each["parent_id"] is None and each["type"] not in quiet]


def named(words: Sequence[str], run: Run) -> list[str]:
    """The words with the ids of the operations that they number; one that does not exist has no id."""
    if not any(map(is_number, words)):
        return list(words)
    found = [each["operation_id"] for each in operations(run)]
    return [(found[int(each[2:]) - 1 :] or ["none"])[0] if is_number(each) else each for each in words]


def last_copies(run: Run) -> list[str]:
    """The URLs of the archives that `delete --last-copy` has named, which a repeat may remove again."""
    done = run(("-o", "jsonl", "log", "--type", "delete", "--limit", "500"))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [str(each["target_path"]) for each in found if each["command_args"].get("last_copy")]


class Repeats(RuleBasedStateMachine):
    """The rules for these lines; each plays one."""

    def play(self, line: str, content: str = "one") -> None:
        raise NotImplementedError

    def is_about(self, theme: str) -> bool:
        raise NotImplementedError

    @precondition(lambda self: self.is_about("undoing"))
    @rule(line=undos | undos | replays)
    def undo(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("undoing"))
    @rule(line=retries)
    def retry(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("undoing") and self.is_about("killing"))
    @rule(line=lines("kill {}: {}", st.integers(1, 90).map(str), undos | replays | retries))
    def kill_an_undo(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("requesting"))
    @rule(line=st.sampled_from(REQUESTS) | ends)
    def request(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("requesting"))
    @rule()
    def work(self) -> None:
        self.play("mgmt worker --until-empty")
