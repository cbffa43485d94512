"""The documentation says what there is: every command, option, exit status, table and column; and no link is broken."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mgmt.catalog.records.base import Base
from mgmt.cli import cli
from mgmt.config import NAMES
from mgmt.errors import ExitStatus
from tests.links import PAGES, broken_links
from tests.program import Program

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (ROOT / "docs" / "commands.md").read_text("utf-8")
FORMAT = (ROOT / "docs" / "format.md").read_text("utf-8")
CATALOG = (ROOT / "docs" / "catalog.md").read_text("utf-8")


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """`command` and all below it, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


ALL_COMMANDS = dict(walk(cli))


def sections(page: str) -> dict[str, str]:
    """The text below each heading of a page, up to the next heading of any level."""
    found: dict[str, str] = {}
    title, fenced = "", False
    for line in page.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            title = line.lstrip("#").strip()
        else:
            found[title] = found.get(title, "") + line + "\n"
    return found


def section_of(path: tuple[str, ...]) -> str:
    """What commands.md says of a command; the top of the page is about `mgmt` itself."""
    all_of_them = sections(COMMANDS)
    if not path:
        return all_of_them["Commands"]
    wanted = f"`mgmt {' '.join(path)}`"
    matching = [text for title, text in all_of_them.items() if wanted in title.split(", ")]
    assert len(matching) == 1, f"docs/commands.md has {len(matching)} sections on {wanted}"
    return matching[0]


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=lambda path: " ".join(("mgmt", *path)))
def test_each_command_and_option_is_documented(path: tuple[str, ...]) -> None:
    section = section_of(path)
    options = {
        name
        for parameter in ALL_COMMANDS[path].params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    quoted = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", section, flags=re.DOTALL)))
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z0-9][a-z-]*", quoted))


@pytest.mark.parametrize("path", [path for path in ALL_COMMANDS if path], ids=" ".join)
def test_no_option_is_documented_that_is_not_there(path: tuple[str, ...]) -> None:
    known = {name for parameter in ALL_COMMANDS[path].params for name in parameter.opts} | {"-h", "--help"}
    first_cells = re.findall(r"^\| (`-.*?) \|", section_of(path), re.MULTILINE)
    documented = {name for cell in first_cells for name in re.findall(r"`(--?[a-z0-9][a-z-]*)", cell)}
    assert documented <= known


def test_each_exit_status_is_documented() -> None:
    documented = set(re.findall(r"^\| (\d+) \|", sections(COMMANDS)["Exit status"], re.MULTILINE))
    assert documented == {str(int(status)) for status in ExitStatus}


def test_each_setting_is_documented() -> None:
    configuration = sections((ROOT / "docs" / "guide.md").read_text("utf-8"))["Configuration"]
    for name in NAMES:
        assert f"| `{name}` | `MGMT_{name.upper()}` |" in configuration


@pytest.mark.parametrize("name", sorted(Base.metadata.tables))
def test_each_table_and_column_is_documented(name: str) -> None:
    section = sections(CATALOG)[f"`{name}`"]
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE))))
    assert documented == set(Base.metadata.tables[name].columns.keys())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_broken(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_the_example_of_the_digest_is_right() -> None:
    example = sections(FORMAT)["An example"]
    lines = re.findall(r"```\n(d\|.*?)```", example, re.DOTALL)[0]
    stated = re.findall(r"digest: `([0-9a-f]{64})`", example)
    assert stated == [hashlib.sha256(lines.replace("|", "\0").encode()).hexdigest()]


def test_the_reader_of_the_format_page_reads_an_archive(tmp_path: Path) -> None:
    program = Program(tmp_path, f"file://{tmp_path / 'store'}")
    folder = program.work / "trip"
    folder.mkdir()
    contents = {"first.bin": bytes(range(256)) * 6000, "empty": b"", "last.txt": b"hello\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    assert program.run("upload", folder).returncode == 0
    reader = tmp_path / "reader.py"
    reader.write_text(re.findall(r"```python\n(.*?)```", FORMAT, re.DOTALL)[0], "utf-8")
    archive = tmp_path / "store" / "trip.tar.gz"
    (index,) = archive.parent.glob("trip.tar.gz.*.index.jsonl.gz")
    for name, content in contents.items():
        read = subprocess.run([sys.executable, reader, archive, index, f"trip/{name}"], capture_output=True, check=True)
        assert read.stdout == content
