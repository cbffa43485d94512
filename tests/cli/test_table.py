"""Tables are never wider than the terminal, and never shortened anywhere else."""

import importlib
import io
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from wcwidth import wcswidth

import mgmt.cli
from mgmt.cli import log, ls, search, verify
from mgmt.cli.render import Column, Renderer
from mgmt.cli.table import Layout, lines, shortened
from tests.program import Program

WIDTHS = (20, 40, 60, 80, 100, 132)
NAMES = (
    "IMG_0002.jpg",
    "写真とビデオの長い名前のファイル.mov",
    "cafe\u0301 " * 12 + ".txt",
    "x" * 300,
    "👍🏽" * 40,
    "",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("", 0), ("👍", 2), ("한글", 4), ("\u1112\u1161\u11ab", 2), ("ﬁ", 1)],
)
@pytest.mark.parametrize("terminal", [None, 80])
def test_the_width_of_text(text: str, width: int, terminal: int | None) -> None:
    shown = list(lines([["x" * 6, "|"], [text, "|"]], [Layout("NAME"), Layout("")], terminal))
    assert shown == ["NAME", "xxxxxx  |", text + " " * (8 - width) + "|"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 5, "short"),
        ("/home/me/Videos/holiday/IMG_0002.jpg", 20, "/home/…/IMG_0002.jpg"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("写真とビデオ", 8, "写…デオ"),
        ("e\u0301" * 9, 5, "e\u0301…" + "e\u0301" * 3),
        ("🇨🇭" * 4, 7, "🇨🇭…🇨🇭🇨🇭"),
        ("👍🏽" * 4, 6, "…👍🏽👍🏽"),
    ],
)
def test_text_is_shortened_in_its_middle(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown
    assert wcswidth(shown) <= width


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at_end", [True, False])
def test_shortened_text_fits(name: str, at_end: bool) -> None:
    for width in range(1, 40):
        assert wcswidth(shortened(name, width, at_end=at_end)) <= width


def test_a_sentence_is_shortened_at_its_end() -> None:
    assert shortened("where archives are stored", 15, at_end=True) == "where archives…"


def test_a_narrow_column_stays_where_a_wide_one_has_left() -> None:
    layouts = [Layout("NAME", shrinks="middle"), Layout("ID", leaves=1), Layout("WHEN", leaves=2)]
    rows = [["a" * 30, "93481d1c-8e54-48c1-84e0-70cb02015d58", "yesterday"]]
    assert next(lines(rows, layouts, 80)).split() == ["NAME", "ID", "WHEN"]
    assert next(lines(rows, layouts, 60)).split() == ["NAME", "ID"]
    assert next(lines(rows, layouts, 50)).split() == ["NAME", "WHEN"]


def tables() -> Iterator[tuple[str, tuple[Column, ...]]]:
    """All tables of all commands."""
    for module in pkgutil.walk_packages(mgmt.cli.__path__, "mgmt.cli."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, tuple) and value and all(isinstance(each, Column) for each in value):
                yield f"{module.name}.{name}", value


@pytest.mark.parametrize("columns", [pytest.param(columns, id=name) for name, columns in tables()])
def test_every_table_fits_every_terminal(columns: tuple[Column, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    class Row(SimpleNamespace):
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return self.name if not name.endswith("_id") else "93481d1c-8e54-48c1-84e0-70cb02015d58"

        def __getitem__(self, name: str) -> object:
            return getattr(self, name)

    now = datetime.now(UTC)
    sizes = {"size": 5 << 30, "original_size": 5 << 30, "compressed_size": 5 << 30, "downloaded_size": 1, "mode": 0o755}
    facts = {
        **sizes, "details": {}, "duration_seconds": 12.5, "started_at": now, "modified_at": now, "heard_at": now,
        "recorded_at": now, "completed_at": now, "status": "completed", "type": "member", "location": "completed",
        "is_head": True, "operation_type": "download", "files": 20_000, "requests": 5, "left_out": 0,
        "state": "archived",
        "median_seconds": 3.5, "p95_seconds": 7200.0, "bytes": 5 << 40, "bytes_per_second": 1e6, "operations": 10_000,
        "succeeded": 9_000, "failed": 10, "partial": 3, "cancelled": 1, "unfinished": 10, "archives": 10_000,
        "compression_ratio": 1.684, "group": "(all)",
        "proof": "read-back", "problem": "corrupt", "seq": 100_000, "seal": 100, "revision": "0008",
        "previous": "0007", "user": "ann", "stage": "sending", "host": "nas", "count": 3,
        "next_times": [now], "options": {"level": "fast"}, "command": ["upload", "--all"],
        "monthly": 12.5, "monthly_then": 1.25, "saved_monthly": 11.25, "move": 3.0, "pays_after_months": 0.3,
            "before": {"who": "ann"}, "after": {"who": "ann"}, "days_left": 20, "to_class": "GLACIER",
            "retain_until": now, "legal_hold": True, "weakens": False,
    }  # fmt: skip
    rows = [Row(name=name, **facts) for name in NAMES]
    titles = set()
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        out = Terminal()
        Renderer("table", out).many(rows, columns)
        shown = out.getvalue().splitlines()
        assert len(shown) == len(rows) + 1
        assert max(map(wcswidth, shown)) <= width
        if width >= 60:
            titles.add(shown[0].split()[0])
            stay = [each.title for each in columns if not each.leaves]
            assert all(title in shown[0] for title in stay), (width, shown[0])


@pytest.mark.parametrize(
    ("columns", "names", "width", "least"),
    [
        (ls.COLUMNS, "PATH", 60, 24),
        (ls.OF_HOSTS, "PATH", 80, 21),
        (search.COLUMNS, "PATH ARCHIVE", 60, 21),
        (log.COLUMNS, "TARGET", 60, 21),
        (log.COLUMNS, "TARGET ID", 80, 21),
        (log.COLUMNS, "STARTED TARGET ID", 100, 21),
        (log.RUNNING, "TARGET ID", 80, 21),
        (verify.COLUMNS, "ARCHIVE PROBLEM", 60, 24),
    ],
)
def test_paths_can_be_recognized_in_a_narrow_terminal(
    columns: tuple[Column, ...], names: str, width: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path, out = "/home/maria/Videos/2026/holiday in Norway/IMG_0002.mov", Terminal()
    long_ago = datetime(2020, 1, 2, tzinfo=UTC)
    row = {
        "location": "completed", "status": "cancelled", "size": 1023 << 20, "modified_at": long_ago,
        "path": path, "target_path": path, "target_name": path, "host": "workstation-2", "operation_type": "download",
        "started_at": datetime.now(UTC), "operation_id": "93481d1c-8e54-48c1-84e0-70cb02015d58", "problem": "corrupt",
        "error_message": "the store did not answer in 60 seconds", "heard_at": datetime.now(UTC), "user": "maria",
        "runs_on": "process 4711 on workstation-2", "proof": "server-checksum crc64nvme", "duration_seconds": 100.0,
    }  # fmt: skip
    Renderer("table", out).many([SimpleNamespace(**row, type="member", archive=path)], columns)
    titles, cells = out.getvalue().splitlines()
    for name in names.split():
        assert name in titles.split()
        shown = cells[titles.index(name) :].split("  ")[0]
        assert name not in ("PATH", "TARGET", "ARCHIVE") or len(shown) >= least


def test_the_least_important_columns_leave_first() -> None:
    layouts = [Layout("NAME", shrinks="middle"), Layout("SIZE", right=True, leaves=1), Layout("WHEN", leaves=2)]
    rows = [["a" * 30, "1.0 MiB", "yesterday"]]
    assert list(lines(rows, layouts, None)) == [
        "NAME                               SIZE  WHEN",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  1.0 MiB  yesterday",
    ]
    assert list(lines(rows, layouts, 42))[1] == "aaaaaaa…aaaaaaaaaaaaaa  1.0 MiB  yesterday"
    assert next(lines(rows, layouts, 32)).split() == ["NAME", "SIZE"]
    assert next(lines(rows, layouts, 20)).split() == ["NAME"]
    assert list(lines(rows, layouts, 20))[1] == "aaaaaa…aaaaaaaaaaaaa"
    assert list(lines(rows, layouts, 5))[1] == "a…aaa"


@pytest.mark.parametrize("terminal", [None, 20])
def test_blanks_at_the_ends_of_a_name_and_words_for_values_are_shown_as_they_are(terminal: int | None) -> None:
    layouts = [Layout("NAME", shrinks="middle"), Layout("SIZE", right=True)]
    rows = [["  two", "1 B"], ["two  ", " 2 B"], ["1.50", "1,000"], ["1e3", "007"], ["True", ""], ["", "nan"]]
    assert list(lines(rows, layouts, terminal)) == [
        "NAME    SIZE",
        "  two    1 B",
        "two      2 B",
        "1.50   1,000",
        "1e3      007",
        "True",
        "         nan",
    ]


def test_nothing_is_shortened_where_there_is_no_terminal(mgmt: Program) -> None:
    mgmt.environment = {"COLUMNS": "20"}
    name = "a rather long name " * 6
    (mgmt.work / name).write_text("x")
    mgmt.ok("upload", name)
    assert name in mgmt.ok("ls")
    assert "…" not in mgmt.ok("ls") + mgmt.ok("log") + mgmt.ok("config", "show")


def test_wide_characters_line_up(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    columns = (Column("NAME", "name", "long"), Column("SIZE", "size", "size"))
    Renderer("table", out).many([{"name": "漢字", "size": 1}, {"name": "e\u0301te\u0301", "size": 22}], columns)
    assert out.getvalue().splitlines() == ["NAME  SIZE", "漢字   1 B", "e\u0301te\u0301   22 B"]
