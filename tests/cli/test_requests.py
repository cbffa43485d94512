"""Requests that cannot succeed are refused when they are made, as the command itself would be."""

import pytest

from tests.program import Program


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "a", "--all"),
        ("verify", "a", "--sample", "5%"),
        ("verify", "--sample", "many"),
        ("free", "a", "--all"),
        ("free", "a", "--older-than", "1d"),
        ("upload", "a", "b", "--key", "k"),
        ("upload", "a", "--all=folder"),
        ("upload", "--files-from=list", "--key", "k"),
        ("download", "a", "b", "--member", "m"),
        ("download", "a", "--archive", "--member", "m"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused_now_and_later(words: tuple[str, ...], on_directory: Program) -> None:
    for each in ("a", "b", "folder/c"):
        path = on_directory.work / each
        path.parent.mkdir(exist_ok=True)
        path.write_text(each)
    (on_directory.work / "list").write_text("a\nb\n")
    command = on_directory.run(*words)
    assert command.returncode == 2, command.stderr
    for later in (("--later",), ("--queue", "q"), ("--at", "+1h")):
        request = on_directory.run(*words, *later)
        assert (request.returncode, request.stderr) == (2, command.stderr)
    scheduled = on_directory.run("schedule", "add", "daily", "0 2 * * *", "--", *words)
    assert scheduled.returncode == 2, scheduled.stderr
    assert (on_directory.json("queue"), on_directory.json("schedule", "ls")) == ([], [])


def test_one_target_that_was_named_twice_can_have_a_key(on_directory: Program) -> None:
    (on_directory.work / "a").mkdir()
    (on_directory.work / "a" / "b").write_text("b")
    on_directory.ok("upload", "a", "./a", "a/b", "--key", "k", "--later")
    on_directory.ok("worker", "--until-empty")
    assert [each["s3_object_key"] for each in on_directory.json("ls", "--location", "s3")] == ["k"]
