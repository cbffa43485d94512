"""Manual pages, one for each command, from what Click knows of it: `make man` writes docs/man.

The pages are in the language of man(7), without a date or a version: they change when a command does.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mgmt.cli import COMMANDS, cli

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "man"

_WIDE = 1 << 16
"""Columns, so that Click breaks no line."""

Words = tuple[str, ...]
"""The words of a command after `mgmt`."""


def page_name(path: Words) -> str:
    """The name of a page, as git names them: `mgmt-db-backup`."""
    return "-".join(("mgmt", *path))


def pages() -> dict[str, str]:
    """The text of each page by the name of its file. An alias is a page that refers to that of its command."""
    found: dict[str, str] = {}
    for path, command, alias_of in _commands(cli, ()):
        name = f"{page_name(path)}.1"
        found[name] = f".so man1/{page_name(alias_of)}.1\n" if alias_of else "\n".join(_page(path, command)) + "\n"
    return found


def _commands(command: click.Command, path: Words) -> Iterator[tuple[Words, click.Command, Words]]:
    """Each command with its words, and the words of the one that it is another name of."""
    yield path, command, ()
    if isinstance(command, click.Group):
        first: dict[int, Words] = {}
        for name, below in _below(command):
            own = (*path, name)
            if id(below) in first:
                yield own, below, first[id(below)]
            else:
                first[id(below)] = own
                yield from _commands(below, own)


def _below(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        if (found := group.get_command(context, name)) is not None:
            yield name, found


def _context(path: Words, command: click.Command) -> click.Context:
    settings = {"help_option_names": ["-h", "--help"]}
    return click.Context(command, info_name=" ".join(("mgmt", *path)), max_content_width=_WIDE, **settings)  # type: ignore[arg-type]


def _page(path: Words, command: click.Command) -> Iterator[str]:
    context = _context(path, command)
    summary, description, example = _parts(command.help or "")
    yield '.\\" Written by `make man` from the help of the command.'
    yield f'.TH {page_name(path).upper()} 1 "" mgmt "mgmt manual"'
    yield ".SH NAME"
    yield f"{_text(page_name(path))} \\- {_text(summary[:1].lower() + summary[1:].rstrip('.'))}"
    yield ".SH SYNOPSIS"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\\fB{_text(' '.join(('mgmt', *path)))}\\fR {_text(usage)}"
    yield ".SH DESCRIPTION"
    yield _prose(summary)
    for paragraph in description:
        yield ".PP"
        yield _prose(paragraph)
    yield from _options(command, context)
    if isinstance(command, click.Group):
        yield from _list_commands(path, command)
    if example:
        yield from (".SH EXAMPLES", ".nf", *(_text(line) for line in example), ".fi")
    yield from _see_also(path)


def _parts(help_text: str) -> tuple[str, list[str], list[str]]:
    """The first sentence, the paragraphs after it, and the lines of the example."""
    before, _, example = inspect.cleandoc(help_text).partition("\b\nExample:\n")
    first, *paragraphs = [" ".join(each.split()) for each in re.split(r"\n\s*\n", before.strip()) if each.strip()]
    return first, paragraphs, [line.strip() for line in example.strip().splitlines()]


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [each.get_help_record(context) for each in command.get_params(context)]
    shown = [each for each in records if each is not None and each[1]]
    if shown:
        yield ".SH OPTIONS"
    for names, help_text in shown:
        yield ".TP"
        yield f"\\fB{_text(names)}\\fR"
        yield _prose(help_text)


def _list_commands(path: Words, group: click.Group) -> Iterator[str]:
    yield ".SH COMMANDS"
    below = dict(_below(group))
    sections: Sequence[tuple[str, Sequence[str]]] = [("", list(below))]
    if not path:
        sections = [(title, list(commands)) for title, commands in COMMANDS.items()]
    for title, names in sections:
        if title:
            yield f".SS {_text(title)}"
        for name in names:
            yield ".TP"
            yield f"\\fB{_text(page_name((*path, name)))}\\fR(1)"
            yield _prose(_parts(below[name].help or "")[0])


def _see_also(path: Words) -> Iterator[str]:
    yield ".SH SEE ALSO"
    if path:
        above = [page_name(path[:length]) for length in range(len(path))]
        yield ", ".join(f"\\fB{_text(each)}\\fR(1)" for each in above)
        return
    yield _prose("mgmt help COMMAND shows the same text. The guide and the exit statuses are in the documentation:")
    yield _text("https://github.com/mgmt-archive/mgmt/tree/main/docs")


def _prose(text: str) -> str:
    """A paragraph; what stands between backquotes is bold."""
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _text(text))


def _text(text: str) -> str:
    """`text` as roff shows it: a backslash, a leading dot or apostrophe and a hyphen mean something there."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def write(folder: Path) -> None:
    """Write all pages to `folder`, and remove those of commands that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pages()
    for name, text in found.items():
        (folder / name).write_text(text, "utf-8")
    for path in folder.glob("*.1"):
        if path.name not in found:
            path.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
