"""The documentation lists exactly what exists: commands, options, errors, exit statuses, types and tables."""

import hashlib
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mgmt
from mgmt.catalog import FileStatus, OperationRecord, Status
from mgmt.catalog.records.metadata import METADATA
from mgmt.cli import COMMANDS as SECTIONS
from mgmt.config import NAMES
from mgmt.errors import ExitStatus, Interrupted, MgmtError, Problem
from tests.commands import ALL, spelled
from tests.links import PAGES, broken_links
from tests.program import Program

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (ROOT / "docs" / "commands.md").read_text("utf-8")
FORMAT = (ROOT / "docs" / "format.md").read_text("utf-8")
CATALOG = (ROOT / "docs" / "catalog.md").read_text("utf-8")


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
    """The section of commands.md on a command; for `mgmt` itself, the top of the page."""
    titled = sections(COMMANDS)
    if not path:
        return titled["Commands"]
    wanted = f"`{spelled(path)}`"
    matching = [text for title, text in titled.items() if wanted in title.split(", ")]
    assert len(matching) == 1, f"docs/commands.md has {len(matching)} sections on {wanted}"
    return matching[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in `text`, without headers."""
    found = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    rules = [number for number, cells in enumerate(found) if set("".join(cells)) <= set("-|")]
    return [cells for number, cells in enumerate(found) if number not in rules and number + 1 not in rules]


def quoted(text: str) -> list[str]:
    """The texts in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def subclasses(kind: type[MgmtError]) -> Iterator[type[MgmtError]]:
    """`kind` and all its public subclasses; those with an underscore never leave their module."""
    yield kind
    for each in kind.__subclasses__():
        if not each.__name__.startswith("_"):
            yield from subclasses(each)


def anchor(title: str) -> str:
    """The fragment of a link to a heading, by GitHub's rule."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_command_and_option_is_documented(path: tuple[str, ...]) -> None:
    section = re.sub(r"```.*?```", "", section_of(path), flags=re.DOTALL)
    options = {
        name
        for parameter in ALL[path].params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z0-9][a-z-]*", " ".join(quoted(section))))


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_documented_option_exists(path: tuple[str, ...]) -> None:
    known = {name for parameter in ALL[path].params for name in parameter.opts} | {"-h", "--help"}
    first_cells = [cells[0] for cells in rows(section_of(path)) if cells[0].startswith("`-")]
    documented = {name for cell in first_cells for name in re.findall(r"`(--?[a-z0-9][a-z-]*)", cell)}
    assert documented <= known


@pytest.mark.parametrize("path", ALL, ids=spelled)
def test_each_choice_of_an_option_is_documented(path: tuple[str, ...]) -> None:
    section = section_of(path)
    for parameter in ALL[path].params:
        if isinstance(parameter.type, click.Choice):
            names = [f"`{name}" for name in parameter.opts if isinstance(parameter, click.Option)]
            (text,) = [" ".join(cells[1:]) for cells in rows(section) if any(n in cells[0] for n in names)] or [section]
            assert set(parameter.type.choices) <= set(quoted(text)), parameter.name


def test_each_documented_command_exists() -> None:
    titles = [words for title in sections(COMMANDS) for words in quoted(title)]
    assert sorted(titles) == sorted(spelled(path) for path in ALL if path)


def test_the_table_of_commands_agrees_with_the_help() -> None:
    table = [cells for cells in rows(sections(COMMANDS)["Commands"]) if cells[0].startswith(("**", "["))]
    expected: list[list[str]] = []
    for title, modules in SECTIONS.items():
        expected.append([title, ""])
        for module in dict.fromkeys(modules.values()):
            names = [name for name, each in modules.items() if each == module]
            summary = (ALL[names[0],].help or "").partition("\n")[0].removesuffix(".")
            expected.append([", ".join(names), summary[0].lower() + summary[1:]])
    found = [
        [re.sub(r"\(.*?\)|[\[\]`*]", "", cells[0]), "".join(cells[1:]).strip("| ").replace("`", "")] for cells in table
    ]
    assert found == expected


def test_each_exit_status_is_documented() -> None:
    documented = {cells[0] for cells in rows(sections(COMMANDS)["Exit status"])}
    assert documented == {*(str(int(status)) for status in ExitStatus), "128 + n"}


def test_each_error_is_documented_with_its_exit_status() -> None:
    for module in pkgutil.walk_packages(mgmt.__path__, "mgmt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    expected = {
        (each.__name__, str(int(each.exit_status)), str(each.retryable).lower()) for each in subclasses(MgmtError)
    }
    expected.add((Interrupted.__name__, "128 + n", "true"))
    table = rows(sections(COMMANDS)["Errors"])
    assert {(quoted(name)[0], status, retryable) for name, status, retryable, _ in table} == expected
    assert len(table) == len(expected)


def test_each_problem_reported_by_verify_is_documented() -> None:
    table = [cells for cells in rows(section_of(("verify",))) if not cells[0].startswith("`-")]
    assert {quoted(cells[0])[0] for cells in table} == set(Problem)


def documented_values(page: str, heading: str, field: str) -> set[str]:
    """The values that a page lists for a field or column."""
    (cell,) = [cells[1] for cells in rows(sections(page)[heading]) if f"`{field}`" in cells[0]]
    return set(quoted(cell))


def test_each_type_and_status_is_documented() -> None:
    types = set(OperationRecord.__mapper__.polymorphic_map)
    assert documented_values(COMMANDS, "Fields of an operation", "operation_type") == types
    assert documented_values(COMMANDS, "Fields of an operation", "status") == set(Status)
    assert documented_values(COMMANDS, "Fields of a file", "status") == set(FileStatus)


def test_each_type_of_operation_is_on_the_catalog_page() -> None:
    """Above the columns of `operations`: the table of each type, or its name if it has no table of its own."""
    words = set(quoted(sections(CATALOG)["`operations`"].partition("| column")[0]))
    own = {name: str(mapper.local_table) for name, mapper in OperationRecord.__mapper__.polymorphic_map.items()}
    expected = {name if table == "operations" else table for name, table in own.items()}
    assert expected <= words
    assert words - expected <= set(METADATA.tables["operations"].columns.keys())


def test_each_setting_is_documented() -> None:
    configuration = sections((ROOT / "docs" / "guide.md").read_text("utf-8"))["Configuration"]
    for name in NAMES:
        assert f"| `{name}` | `MGMT_{name.upper()}` |" in configuration


def test_each_documented_table_exists() -> None:
    """Also, each table is in the diagram."""
    headings = {quoted(title)[0] for title in sections(CATALOG) if title.startswith("`")}
    assert headings == set(METADATA.tables)
    diagram = re.findall(r"```mermaid\nerDiagram\n(.*?)```", CATALOG, re.DOTALL)[0]
    related = {name for line in re.findall(r"^    (\w+) \S+ (\w+) :", diagram, re.MULTILINE) for name in line}
    alone = set(re.findall(r"^    (\w+) \{", diagram, re.MULTILINE))
    assert related | alone == set(METADATA.tables)


@pytest.mark.parametrize("name", sorted(METADATA.tables))
def test_each_table_and_column_is_documented(name: str) -> None:
    section = sections(CATALOG)[f"`{name}`"]
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE))))
    assert documented == set(METADATA.tables[name].columns.keys())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_broken(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_the_example_of_the_digest_is_correct() -> None:
    example = sections(FORMAT)["An example"]
    lines = re.findall(r"```\n(d\|.*?)```", example, re.DOTALL)[0]
    stated = re.findall(r"digest: `([0-9a-f]{64})`", example)
    assert stated == [hashlib.sha256(lines.replace("|", "\0").encode()).hexdigest()]


def test_the_reader_on_the_format_page_reads_an_archive(tmp_path: Path) -> None:
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
