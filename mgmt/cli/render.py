"""Results on stdout: tables for people, JSON, JSON Lines and CSV for programs."""

import dataclasses
import enum
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TextIO

from mgmt.shown import human_size, human_time, rfc3339, safe

OUTPUTS = ("table", "json", "jsonl", "csv")

_FORMULA = re.compile("[\t\r\n]|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")

# Fields that only concern the running process.
_INTERNAL = frozenset({"claim", "owner"})


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, the attribute (or function) that gives its value, and how it is shown."""

    title: str
    value: str | Callable[[Any], object]
    kind: str = "text"
    """text, long (may be shortened in its middle), sentence (at its end), size (bytes), time, ratio or count."""
    leaves: int = 0
    """In a narrow terminal, the column with the greatest number leaves first; with 0 it stays."""

    def cell(self, item: object, *, exact: bool) -> str:
        """The value of this column for `item`, escaped for a terminal."""
        value = self.value(item) if callable(self.value) else _get(item, self.value)
        if value is None:
            return ""
        if not exact and self.kind == "size" and isinstance(value, int):
            return human_size(value)
        if isinstance(value, datetime):
            return rfc3339(value) if exact else human_time(value)
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return safe(", ".join(value))
        if self.kind == "ratio" and isinstance(value, int | float):
            return f"{value:.0%}"
        return safe(str(value.value if isinstance(value, enum.Enum) else value))


class Renderer:
    """Prints the results of a command in the output format that was asked for."""

    def __init__(self, output: str, stdout: TextIO | None = None, *, quiet: bool = False) -> None:
        self.output = output
        self._quiet = quiet
        self._stdout = stdout or sys.stdout
        self.paint: Callable[[str], str] = str
        """Colours lines of a table, or a sentence, for this terminal; the width of the text stays."""
        self._document: list[object] | None = None
        """What is to be printed as one list."""

    @property
    def for_people(self) -> bool:
        """Whether the output is a table, for a person to read."""
        return self.output == "table"

    @contextmanager
    def one_document(self) -> Iterator[None]:
        """Print all results of the block as one list, where the output is one document: JSON and CSV."""
        if self.output not in ("json", "csv"):
            yield
            return
        document: list[object] = []
        self._document = document
        try:
            yield
        finally:  # what was done before an error is shown
            self._document = None
            self.many(document, ())

    def many(
        self,
        items: Iterable[object],
        columns: Sequence[Column],
        *,
        long: bool = False,
        empty: str | None = "nothing found",
    ) -> None:
        """Print a list: each item is a row, an object or a line. `empty` is a note on stderr, for people.

        It is not printed if the user wants no notes.
        """
        if self._document is not None:
            for item in items:
                self._document.append(plain(item))
            return
        match self.output:
            case "jsonl":
                for item in items:
                    self._write(_dumps({"type": _type(item), **plain(item)}))
            case "json":
                self._write(_dumps([plain(item) for item in items], indent=2))
            case "csv":
                self._csv([plain(item) for item in items])
            case _:
                rows: list[list[str]] = []
                try:
                    rows.extend([column.cell(item, exact=long) for column in columns] for item in items)
                finally:  # what was done before an error is shown
                    if rows:
                        self._table(rows, columns)
                if not rows and empty is not None and not self._quiet:
                    print(empty, file=sys.stderr)

    def one(self, item: object, *, long: bool = False) -> None:
        """Print one item with all of its fields."""
        if self._document is not None:
            self._document.append(plain(item))
            return
        match self.output:
            case "json":
                self._write(_dumps(plain(item), indent=2))
            case "jsonl":
                self._write(_dumps({"type": _type(item), **plain(item)}))
            case "csv":
                self._csv([plain(item)])
            case _:
                self._fields(_facts(item), long=long)

    def text(self, text: str) -> None:
        """Print a document that has its own format (SQL, a completion script), unchanged."""
        self._write(text)

    def line(self, text: str, *, apart: bool = False) -> None:
        """Print a sentence for people, after an empty line if `apart`. Programs get the same facts from records."""
        if self.for_people:
            if apart:
                self._write("")
            self._write(self.paint(safe(text)))

    def group(self, title: str, facts: Mapping[str, Any]) -> None:
        """Print facts with a title, for people; those that are empty are left out, and the title if all are."""
        shown = {name: value for name, value in facts.items() if value not in (None, "", [], {}, False)}
        if self.for_people and shown:
            self.line(title, apart=True)
            self._fields(shown, long=False, indent="  ")

    def _fields(self, item: Mapping[str, Any], *, long: bool, indent: str = "") -> None:
        shown = {name: value for name, value in item.items() if long or value not in (None, "", [], {}, False)}
        width = max(map(len, shown), default=0)
        for name, value in shown.items():
            if isinstance(value, Mapping):
                self._write(f"{indent}{name}")
                self._fields(value, long=long, indent=indent + "  ")
            else:
                kind = "size" if name.endswith("size") else "ratio" if name.endswith("ratio") else "text"
                text = Column(name, name, kind).cell(item, exact=long)
                self._write(f"{indent}{name:<{width}}  {text}")

    def _table(self, rows: list[list[str]], columns: Sequence[Column]) -> None:
        """Print a table, fitted to a terminal; elsewhere nothing is shortened."""
        from mgmt.cli.table import Layout, lines

        numbers, shrinks = ("size", "ratio", "count"), {"long": "middle", "sentence": "end"}
        layouts = [
            Layout(each.title, right=each.kind in numbers, shrinks=shrinks.get(each.kind, ""), leaves=each.leaves)
            for each in columns
        ]
        width = shutil.get_terminal_size().columns if self._stdout.isatty() else None
        self._write(self.paint("\n".join(lines(rows, layouts, width))))

    def _csv(self, rows: list[dict[str, Any]]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        show = safe if self._stdout.isatty() else str  # at a terminal, escape control characters instead
        for cells in [names] * bool(names) + [[csv_cell(row.get(name)) for name in names] for row in rows]:
            self._write(",".join(_csv_quoted(show(cell)) for cell in cells))

    def _write(self, text: str) -> None:
        print(text, file=self._stdout, flush=True)


def _facts(item: Any) -> Mapping[str, Any]:
    """The fields of a record or dataclass, by name, not converted."""
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "as_dict"):
        return {name: value for name, value in item.as_dict().items() if name not in _INTERNAL}
    return {each.name: getattr(item, each.name) for each in dataclasses.fields(item)}


def plain(value: Any) -> Any:
    """Convert `value` for JSON: records become objects, bytes hexadecimal text, times RFC 3339 in UTC."""
    match value:
        case None | bool() | int() | float():
            return value
        case enum.Enum():
            return value.value
        case str():
            return value
        case bytes():
            return value.hex()
        case datetime():
            return rfc3339(value)
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case _ if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            return {str(name): plain(each) for name, each in _facts(value).items()}
        case _:
            return str(value)


def _type(item: object) -> str:
    if isinstance(item, Mapping):
        return str(item.get("type", "result"))
    for attribute in ("type", "operation_type"):
        if isinstance(kind := getattr(item, attribute, None), str):
            return kind
    return type(item).__name__.removesuffix("Record").lower()


def _get(item: object, name: str) -> object:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _dumps(value: object, indent: int | None = None) -> str:
    # ASCII: a name that is not UTF-8 is a lone surrogate, which only an escape can carry.
    return json.dumps(value, indent=indent)


def print_error(message: str, next_step: str | None) -> None:
    """Print an error on stderr, for people: what failed, and what to try, which may have several lines."""
    print(f"mgmt: {safe(message)}", file=sys.stderr)
    for number, line in enumerate(next_step.split("\n") if next_step else ()):
        print(f"  {'    ' if number else 'try:'} {safe(line.strip())}", file=sys.stderr)


def csv_cell(value: object) -> str:
    """Format a cell so that no spreadsheet takes it for a formula (OWASP, "CSV Injection"), even after spaces."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return "'" + text if isinstance(value, str) and _FORMULA.match(text) else text


def _csv_quoted(cell: str) -> str:
    """RFC 4180. The csv module of Python 3.11 leaves a lone CR unquoted when lines end in LF, which breaks the row."""
    return '"' + cell.replace('"', '""') + '"' if any(each in cell for each in '",\r\n') else cell
