"""Templates: named options of commands, in `[templates.NAME]` of the configuration file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mgmt.config import table_in
from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.words import shell_word

EXTENDS = "extends"
"""The key that names another template, whose options are taken over."""


@dataclass(frozen=True, slots=True)
class TemplateOption:
    """An option of a template, by its long name with dashes and without the first two; and which template has it."""

    name: str
    value: object
    template: str


@dataclass(frozen=True, slots=True)
class Template:
    """A template, and what it resolves to."""

    name: str
    extends: str | None
    options: Mapping[str, TemplateOption]


def template_names(path: Path | None) -> list[str]:
    """The names of all templates in the configuration file, in its order. Raises ConfigurationError."""
    return list(_tables(path))


def resolved(name: str, path: Path | None) -> Template:
    """The template called `name`, with the options that it takes over from others; its own win.

    Raises NotFoundError if there is none, and ConfigurationError if it extends one that is missing, or itself.
    """
    tables = _tables(path)
    if name not in tables:
        raise NotFoundError(f"there is no template {name!r}", next_step="mgmt config template ls")
    line: list[str] = []
    following: object = name
    while following is not None:
        if not isinstance(following, str) or following not in tables:
            raise ConfigurationError(
                f"template {line[-1]!r} extends {following!r}, which is no template",
                next_step="mgmt config template ls",
            )
        if following in line:
            raise ConfigurationError(
                f"template {following!r} extends itself: {' -> '.join([*line, following])}", next_step=_edit(path)
            )
        line.append(following)
        following = tables[following].get(EXTENDS)
    options: dict[str, TemplateOption] = {}
    for each in reversed(line):
        for key, value in _options(each, tables[each], path).items():
            options[key] = TemplateOption(key, value, each)
    extends = tables[name].get(EXTENDS)
    return Template(name, str(extends) if extends is not None else None, options)


def _options(name: str, table: Mapping[str, object], path: Path | None) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        dashed = key.replace("_", "-")
        if key == EXTENDS:
            continue
        if dashed in found:
            raise ConfigurationError(f"template {name!r} has the option --{dashed} twice", next_step=_edit(path))
        found[dashed] = value
    return found


def _tables(path: Path | None) -> dict[str, dict[str, object]]:
    found = (table_in(path, "templates") if path is not None else None) or {}
    if not isinstance(found, dict):
        raise ConfigurationError("templates are tables, such as [templates.raw]", next_step=_edit(path))
    for name, table in found.items():
        if not isinstance(table, dict):
            raise ConfigurationError(
                f"template {name!r} is not a table such as [templates.{name}]", next_step=_edit(path)
            )
    return found


def _edit(path: Path | None) -> str:
    return f"edit {shell_word(str(path))}"
