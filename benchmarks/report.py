"""The tables, and the page with the latest figures of each family."""

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.bench import Point, Row, program
from benchmarks.peers import Peers

PAGE = Path("docs/benchmarks.md")
PLOT = Path("docs/benchmarks.svg")
FIGURES = Path("docs/benchmarks.json")
"""The data of the page and the plot: by family, the rows, the points, and where and when they were measured."""

BEGIN = "<!-- What follows is written by `make bench`. -->"
TITLES = ["row", "against", "mgmt", "peer", "", "ratio", "goal", "", "note"]


def table(rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    cells = [
        [
            row.what,
            row.against,
            _figure(row.ours),
            _figure(row.theirs),
            row.unit,
            row.ratio,
            row.goal,
            {True: "met", False: "**not met**", None: ""}[row.met],
            row.note,
        ]
        for row in rows
    ]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in cells]
    return tabulate(escaped, headers=TITLES, tablefmt="github", disable_numparse=True)


def keep(family: str, rows: Sequence[Row], points: Sequence[Point], peers: Peers) -> None:
    """Replace the figures of `family`."""
    figures = _kept()
    figures[family] = {
        "measured": _circumstances(peers),
        "rows": [asdict(row) for row in rows],
        "points": [asdict(point) for point in points],
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def write(order: Sequence[str], peers: Peers) -> None:
    """Replace the part of docs/benchmarks.md below the mark, and the plot; `order` is the order of the families."""
    figures = _kept()
    points = [Point(**point) for each in figures.values() for point in each["points"]]
    parts = [PAGE.read_text().partition(BEGIN)[0] + BEGIN]
    if points:
        draw(points, peers)
        parts.append(f"![Time against size]({PLOT.name})")
    previous = ""
    for family in filter(figures.__contains__, order):
        measured = figures[family]["measured"]
        parts += [f"## {family.capitalize()}", *([measured] if measured != previous else [])]
        parts.append(table([Row(**row) for row in figures[family]["rows"]]))
        previous = measured
    PAGE.write_text("\n\n".join(parts) + "\n")


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return found


def draw(points: Sequence[Point], peers: Peers) -> None:
    """Draw the plot with matplotlib, which has an environment of its own, as mgmt does not need it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([asdict(point) for point in points], file)
        file.flush()
        script = Path(__file__).with_name("plot.py")
        subprocess.run([peers.python("plot"), script, file.name, PLOT], check=True)


def _circumstances(peers: Peers) -> str:
    """The date, the machine and the versions of a run."""
    version = subprocess.run([program(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    weed = subprocess.run([Path(program()).with_name("weed"), "version"], check=True, stdout=subprocess.PIPE, text=True)
    versions = {
        version: f"Python {platform.python_version()}",
        "SeaweedFS": weed.stdout.splitlines()[0],
        **peers.versions(),
    }
    where = f"{platform.system()} {platform.release()}, {_processor()}, {os.cpu_count()} cores, {_memory():.0f} GiB"
    lines = [f"- {name}: {version}" for name, version in versions.items()]
    return "\n".join([f"{datetime.now(UTC):%Y-%m-%d}, on {where}:", "", *lines])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _figure(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
