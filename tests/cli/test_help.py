"""What `--help` says, and what a command without arguments does."""

import json
import re
import shlex

import click
import pytest

from mgmt.catalog import FileStatus, Location, Scope, Status
from mgmt.choices import LockMode, Tier
from mgmt.cli import COMMANDS, cli
from mgmt.cli.render import OUTPUTS
from mgmt.config import LEVELS, ON_CONFLICT, PROOFS, STORAGE_CLASSES
from mgmt.services.listing import ORDERS
from mgmt.services.steps.requests import KINDS
from tests.commands import ALL, GROUPS, LEAVES, spelled
from tests.program import Program


def help_of(path: tuple[str, ...]) -> str:
    """As a terminal of 80 columns shows it."""
    command = ALL[path]
    return command.get_help(click.Context(command, info_name=spelled(path), terminal_width=80))


def examples(path: tuple[str, ...]) -> list[str]:
    """The command lines of the example, pipes and substitutions taken apart."""
    _, found, text = (ALL[path].help or "").partition("Example:\n")
    assert found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [part.strip(' ")') for line in lines for part in re.split(r" \| |\$\(", line) if "mgmt" in part]


@pytest.mark.sqlite
@pytest.mark.parametrize("path", GROUPS, ids=spelled)
def test_a_group_without_a_command_prints_its_help_on_stderr(mgmt: Program, path: tuple[str, ...]) -> None:
    done = mgmt.run(*path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == mgmt.ok(*path, "--help")
    assert done.stderr.startswith(f"Usage: {spelled(path)} [OPTIONS] COMMAND [ARGS]...\n\n")
    assert "\\x0a" not in done.stderr


@pytest.mark.sqlite
@pytest.mark.parametrize("path", GROUPS, ids=spelled)
def test_a_group_without_a_command_is_an_error_object_in_json(mgmt: Program, path: tuple[str, ...]) -> None:
    done = mgmt.run("-o", "json", *path)
    assert (done.returncode, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert (error["class"], error["next"]) == ("ConfigurationError", f"{spelled(path)} --help")


def test_help_lists_the_commands_by_purpose() -> None:
    text = help_of(())
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert headings == ["Options", *COMMANDS]
    for title, modules in COMMANDS.items():
        _, _, section = text.partition(f"\n{title}:\n")
        names = re.findall(r"^  (\w+(?:, \w+)*)  ", section.partition("\n\n")[0], re.MULTILINE)
        assert [name for row in names for name in row.split(", ")] == list(modules)


@pytest.mark.parametrize("path", GROUPS, ids=spelled)
def test_each_command_has_a_line_of_help_that_is_not_cut(path: tuple[str, ...]) -> None:
    group = GROUPS[path]
    lines = help_of(path).splitlines()
    assert max(map(len, lines)) <= 80
    for name in group.list_commands(click.Context(group)):
        summary = (ALL[(*path, name)].help or "").partition("\n")[0]
        assert summary.endswith(".")
        assert any(re.match(rf"  (\w+, )?{name}(, \w+)? +{re.escape(summary)}$", line) for line in lines), summary


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_example_is_one_of_this_command_and_can_be_parsed(path: tuple[str, ...]) -> None:
    lines = examples(path)
    own = (*path[:-1], str(ALL[path].name)) if path else ()  # an alias shows the example of the command
    assert any(line.startswith(spelled(own)) or f" {' '.join(own)} " in line for line in lines)
    for line in lines:
        words = shlex.split(line)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            context = click.Context(command)
            _, words, _ = command.make_parser(context).parse_args(words)
            found = command.get_command(context, words[0])
            assert found is not None, line
            command, words = found, words[1:]
        command.make_parser(click.Context(command)).parse_args(words)


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_option_has_a_sentence_of_help(path: tuple[str, ...]) -> None:
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert re.fullmatch(r"[A-Z].*\.(  \[default: .*\])?", parameter.help or ""), parameter.name


def test_choices_are_those_of_the_catalog_and_the_settings() -> None:
    stored = [each.value for each in Location]
    expected: dict[str, list[str]] = {
        "output": list(OUTPUTS),
        "log status": [each.value for each in Status],
        "ls status": [each.value for each in FileStatus],
        "search status": [each.value for each in FileStatus],
        "ls location": [*stored, "global"],
        "search location": [each.value for each in Scope],
        "ls sort": list(ORDERS),
        "level": list(LEVELS),
        "proof": list(PROOFS),
        "on_conflict": list(ON_CONFLICT),
        "storage_class": list(STORAGE_CLASSES),
        "cost other": list(STORAGE_CLASSES),
        "tier": [each.value for each in Tier],
        "mode": [each.value for each in LockMode],
        "dialect": ["sqlite", "postgresql"],
        "shell": ["bash", "zsh", "fish"],
        "completion action": ["bash", "zsh", "fish", "install"],
        "worker install": ["install"],
        "then": [each for each in KINDS if each in ("verify", "free")],
    }
    for path, command in {(): cli, **LEAVES}.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.Choice):
                names = (f"{' '.join(path)} {parameter.name}".replace("history", "log"), str(parameter.name))
                (known,) = [expected[name] for name in names if name in expected]
                assert sorted(parameter.type.choices) == sorted(known), names
