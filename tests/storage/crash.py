"""Kill an upload to a directory store, or a delete, at every step, and check the outcome.

A program of its own, because it forks: `python -m tests.storage.crash VERB FOLDER` prints the number of steps.
VERB: `upload` and `delete` are run again after each death; `abandon` is an upload that is aborted then.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mgmt.storage import OPERATION, Attributes, ObjectStore, Transfer, open_store

KEY = "a/b/c"
STEPS = {"open", "os.link", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate"}
KILLED = 9


def upload(store: ObjectStore, home: Path) -> None:
    """As a service does it: the upload id is on disk before the upload starts."""
    note = home / "id"
    resume = note.read_text() if note.exists() else None
    begun = store.start_upload(
        KEY,
        Attributes({OPERATION: "op-1"}),
        Transfer(
            9,
            resume=resume,
            on_started=lambda upload_id, _: print(upload_id, end="", file=note.open("w"), flush=True),
        ),
    )
    begun.write(b"some ")
    begun.write(b"data")
    begun.complete()


def forked(act: Callable[[], None], die_at: int) -> int:
    """The exit status of a child that runs `act` and dies at step `die_at`, if it reaches it."""
    child = os.fork()
    if child == 0:
        count = 0

        def die(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in STEPS and "/id" not in str(arguments[0]):
                count += 1
                if count == die_at:
                    os._exit(KILLED)

        sys.addaudithook(die)
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(condition: bool, *what: object) -> None:
    if not condition:
        raise SystemExit(" ".join(map(str, what)))


def left(root: Path) -> set[str]:
    """Files besides the lock, the objects and their metadata."""
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock"}
    notes = {path for path in files if path.startswith(".mgmt/objects/")}
    check(len(notes) == len(files - notes), "metadata without an object, or the other way round:", files)
    return files - notes


def tried(verb: str, home: Path, step: int) -> bool:
    """Whether `verb` has a step `step`; if so, it was killed there, and the next run succeeded."""
    home.mkdir()
    store = open_store(f"file://{home}/store")
    if verb == "delete":
        upload(store, home)

    def act() -> None:
        store.delete(KEY) if verb == "delete" else upload(store, home)

    status = forked(act, step)
    check(status in {0, KILLED}, "it failed by itself at", step)
    for there in store.list():
        check(b"".join(store.stream(there.key)) == b"some data", "torn at", step)
        check(store.head(there.key).metadata == {OPERATION: "op-1"}, "nameless at", step)
    expected = {"upload": {KEY}, "delete": set(), "abandon": {each.key for each in store.list()}}[verb]
    if verb == "abandon":
        if (home / "id").exists():
            store.abort(KEY, (home / "id").read_text())
    else:
        check(forked(act, 0) == 0, "it cannot be run again after", step)
    check(not list(store.pending()), "still pending after", step)
    check(left(home / "store") == expected, "litter after", step, left(home / "store"))
    check({each.key for each in store.list()} == expected, "wrong after", step)
    return status == KILLED


if __name__ == "__main__":
    verb, folder = sys.argv[1:]
    step = 1
    while tried(verb, Path(folder) / str(step), step):
        step += 1
    print(step)
