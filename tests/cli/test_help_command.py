"""`mgmt help` shows what `--help` shows."""

import pytest

from tests.cli.test_completion import complete
from tests.commands import ALL, spelled
from tests.program import Program

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_the_help_of_each_command_is_that_of_its_option(mgmt: Program, path: tuple[str, ...]) -> None:
    assert mgmt.ok("help", *path) == mgmt.ok(*path, "--help")


@pytest.mark.parametrize(
    ("words", "message", "step"),
    [
        (["nothing"], "No such command 'nothing'.", "mgmt --help"),
        (["db", "nothing"], "No such command 'nothing'.", "mgmt db --help"),
        (["upload", "notes"], "mgmt upload has no command 'notes'", "mgmt upload --help"),
    ],
)
def test_other_words_are_refused(mgmt: Program, words: list[str], message: str, step: str) -> None:
    done = mgmt.run("help", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"mgmt: {message}\n  try: {step}\n"


def test_it_needs_neither_settings_nor_a_catalog(mgmt: Program) -> None:
    (mgmt.home / "config" / "mgmt").mkdir(parents=True)
    (mgmt.home / "config" / "mgmt" / "config.toml").write_text("not = [toml")
    assert "Usage: mgmt ls" in mgmt.ok("help", "ls")
    assert not mgmt.catalog.exists()


def test_its_words_are_completed(mgmt: Program) -> None:
    assert complete(mgmt, "mgmt help downl") == ["download"]
    assert complete(mgmt, "mgmt help db ba") == ["backup"]
    assert complete(mgmt, "mgmt help ls x") == []
