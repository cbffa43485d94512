"""`mgmt upload -n` ends as the upload would, whatever was there before: the states of a target, combined with options.

Every run of the tests tries each pair of values, with the usual states only; `torture` does so in each state.
"""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.catalogs import SQLITE
from tests.moments import killed, meanwhile
from tests.program import Program

pytestmark = pytest.mark.sqlite

Words = list[str]
MOVE = "mgmt.services.steps.move_original"


class Case(NamedTuple):
    """What is combined; `target` is called with the words of the upload, and leaves the target in its state."""

    target: str
    then: str
    key: str
    kept: str
    policy: str
    others: str


def new(mgmt: Program, words: Words) -> None:
    pass


def archived(mgmt: Program, words: Words) -> None:
    mgmt.run(*words, "--keep")


def finished(mgmt: Program, words: Words) -> None:
    mgmt.run(*words)


def freed(mgmt: Program, words: Words) -> None:
    mgmt.run(*words)
    mgmt.run("free", "--all", "--yes")


def interrupted_at(where: str, *, after: bool = False) -> Callable[[Program, Words], None]:
    def before(mgmt: Program, words: Words) -> None:
        killed(mgmt, *words, at=where, after=after)

    return before


def changed_at_the_end(mgmt: Program, words: Words) -> None:
    """It has failed, and its archive is proven."""
    with meanwhile("mgmt.services.upload.finish_upload", lambda: write(mgmt.work / "w", "meanwhile")):
        mgmt.run(*words)


TARGETS: dict[str, Callable[[Program, Words], None]] = {
    "new": new,
    "archived": archived,
    "finished": finished,
    "freed": freed,
    "sending": interrupted_at("mgmt.services.upload.put_index"),
    "sent": interrupted_at("mgmt.services.upload.record_proven"),
    "proven": interrupted_at("mgmt.services.upload.finish_upload"),
    "published": interrupted_at(f"{MOVE}.publish_copy", after=True),
    "moved": interrupted_at(f"{MOVE}._note_former_copy"),
    "changed at the end": changed_at_the_end,
}


def write(folder: Path, data: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "x").write_text(data)
    (folder / "y").write_text("y")


def nothing(mgmt: Program) -> None:
    pass


def changed(mgmt: Program) -> None:
    if (mgmt.work / "w").exists():
        write(mgmt.work / "w", "changed since")


def gone(mgmt: Program) -> None:
    shutil.rmtree(mgmt.work / "w", ignore_errors=True)


def back(mgmt: Program) -> None:
    """Something else is there now, and what was moved has gone."""
    gone(mgmt)
    shutil.rmtree(mgmt.work / "completed", ignore_errors=True)
    write(mgmt.work / "w", "another")


def lost(mgmt: Program) -> None:
    gone(mgmt)
    shutil.rmtree(mgmt.work / "completed", ignore_errors=True)


def place_taken(mgmt: Program) -> None:
    if not (mgmt.work / "completed" / "w").exists():
        (mgmt.work / "completed").mkdir(exist_ok=True)
        write(mgmt.work / "completed" / "w", "first")


def unstored(mgmt: Program) -> None:
    (mgmt.home / "store" / "w.tar.gz").unlink(missing_ok=True)


THEN: dict[str, Callable[[Program], None]] = {
    each.__name__: each for each in (nothing, changed, gone, back, lost, place_taken, unstored)
}
KEYS = ("free", "other", "same")
KEPT = ("none", "free", "other", "second")
POLICIES = ("error", "skip", "rename")
OTHERS: dict[str, Words] = {
    "alone": [],
    "another": ["v"],
    "its part": ["w/x"],
    "typo": ["w/typo"],
    "its twin": ["twin/w"],
}


def prepare(mgmt: Program, case: Case) -> Words:
    """Bring about the state; return the words of the command to foresee."""
    (mgmt.home / "store").mkdir(parents=True)
    write(mgmt.work / "w", "precious")
    (mgmt.work / "v").write_text("v")
    (mgmt.work / "twin").mkdir()
    shutil.copytree(mgmt.work / "w", mgmt.work / "twin" / "w")
    if case.key == "other":
        (mgmt.home / "w").write_text("another")
        mgmt.ok("upload", "../w", "--keep")
    elif case.key == "same":
        mgmt.ok("upload", "w", "--keep")
    keep = [] if case.kept == "none" else ["--keep-archive", "../kept"]
    words = ["upload", "w", "--on-conflict", case.policy, *keep]
    try:
        TARGETS[case.target](mgmt, words)
    except AssertionError:  # it ends earlier, and was not killed
        assert case.key == "other" or case.target in ("sending", "sent")
    THEN[case.then](mgmt)
    if case.kept in ("other", "second"):
        (mgmt.home / "kept").mkdir(exist_ok=True)
        name = "w.tar.gz" if case.kept == "other" else "w-2.tar.gz"
        if not (mgmt.home / "kept" / name).exists():
            (mgmt.home / "kept" / name).write_text("another")
    return [*words, *OTHERS[case.others]]


def tree(mgmt: Program) -> list[tuple[str, bytes]]:
    folders = (mgmt.work, mgmt.home / "store", mgmt.home / "kept")
    paths = (path for folder in folders for path in folder.rglob("*"))
    return sorted((str(path), path.read_bytes() if path.is_file() else b"") for path in paths)


def shown(row: dict[str, Any]) -> tuple[object, ...]:
    """What a plan and a result have in common."""
    if row["type"] == "error":
        gone = row["error"]["class"] == "NotFoundError"  # its folder may be gone, too, by the time of the upload
        return "failed", row["error"]["class"], gone or re.sub(r"-\d{8}T[\d.]+Z", "-TIME", row["error_message"])
    if row["type"] == "preview":
        done = row["status"] in ("success", "partial")
        return row["status"], row["object"] if done else None
    return row["status"], row["result_path"]


def moved(row: dict[str, Any]) -> str | None:
    path = row["moved_to"] if row["type"] == "preview" else row.get("completed_dir_path")
    return path and re.sub(r"-\d{8}T[\d.]+Z", "-TIME", path)


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def check(home: Path, case: Case) -> None:
    mgmt = Program(home, f"file://{home}/store", catalogs=SQLITE)
    try:
        words = prepare(mgmt, case)
        before = tree(mgmt)
        foreseen = mgmt.run("-o", "jsonl", *words, "-n")
        assert tree(mgmt) == before, "a dry run has changed something"
        done = mgmt.run("-o", "jsonl", *words)
        plans, results = rows(foreseen.stdout), rows(done.stdout)
        said = f"{case}\n{foreseen}\n{done}"
        assert (foreseen.returncode, [*map(shown, plans)]) == (done.returncode, [*map(shown, results)]), said
        for plan, result in zip(plans, results, strict=True):
            if plan.get("error_message") != "archived already" and result["status"] in ("success", "partial"):
                assert moved(plan) == moved(result), said
    finally:
        shutil.rmtree(home)


def combined(*values: list[str]) -> Iterator[tuple[str, ...]]:
    """Few combinations in which each value meets each value of another list."""
    missing = {
        ((i, a), (j, b)) for (i, x), (j, y) in itertools.combinations(enumerate(values), 2) for a in x for b in y
    }
    while missing:
        ((i, a), (j, b)) = min(missing)
        chosen = {i: a, j: b}
        for place, options in enumerate(values):
            if place not in chosen:
                chosen[place] = max(options, key=lambda each: len(pairs({**chosen, place: each}) & missing))
        missing -= pairs(chosen)
        yield tuple(chosen[place] for place in range(len(values)))


def pairs(chosen: dict[int, str]) -> set[tuple[tuple[int, str], tuple[int, str]]]:
    return set(itertools.combinations(sorted(chosen.items()), 2))


VALUES = [[*TARGETS], [*THEN], [*KEYS], [*KEPT], [*POLICIES], [*OTHERS]]
USUAL = [
    ["new", "archived", "finished", "sent", "proven", "moved"],
    ["nothing", "changed", "gone", "lost", "place_taken"],
]


@pytest.mark.parametrize("case", [Case(*each) for each in combined(*USUAL, *VALUES[2:])], ids="-".join)
def test_a_dry_run_ends_as_the_upload_would(tmp_path: Path, case: Case) -> None:
    check(tmp_path / "home", case)


@pytest.mark.torture
@pytest.mark.parametrize(("target", "then"), [*itertools.product(*VALUES[:2])])
def test_a_dry_run_ends_as_the_upload_would_in_each_state(tmp_path: Path, target: str, then: str) -> None:
    for number, rest in enumerate(combined(*VALUES[2:])):
        check(tmp_path / str(number), Case(target, then, *rest))


def test_a_resumed_move_shows_the_name_that_the_original_has(tmp_path: Path) -> None:
    mgmt = Program(tmp_path, f"file://{tmp_path}/store", catalogs=SQLITE)
    words = prepare(mgmt, Case("proven", "place_taken", "free", "none", "error", "alone"))
    plan = mgmt.json(*words, "-n")[0]
    assert plan["moved_to"] == f"{mgmt.work}/completed/w-TIME"
    (moved_to,) = re.findall(r"^moved .* -> (.*)$", mgmt.ok(*words), re.MULTILINE)
    assert Path(moved_to, "x").read_text() == "precious"
    assert moved_to != f"{mgmt.work}/completed/w"
