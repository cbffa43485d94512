"""The tables, and the page that a full run writes."""

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tabulate import tabulate

from benchmarks.bench import Point, Row, program
from benchmarks.peers import Peers

PAGE = Path("docs/benchmarks.md")
PLOT = Path("docs/benchmarks.svg")
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


def write(tables: Mapping[str, Sequence[Row]], points: Sequence[Point], peers: Peers) -> None:
    """Replace what is below the mark in docs/benchmarks.md, and the plot."""
    kept = PAGE.read_text().partition(BEGIN)[0]
    parts = [kept + BEGIN, *_machine(peers), f"![Time against size]({PLOT.name})"]
    for family, rows in tables.items():
        parts += [f"## {family.capitalize()}", table(rows)]
    PAGE.write_text("\n\n".join(parts) + "\n")
    draw(points, peers)


def draw(points: Sequence[Point], peers: Peers) -> None:
    """Draw the plot, by a library that mgmt does not need and that has an environment of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([asdict(point) for point in points], file)
        file.flush()
        script = Path(__file__).with_name("plot.py")
        subprocess.run([peers.python("plot"), script, file.name, PLOT], check=True)


def _machine(peers: Peers) -> list[str]:
    said = subprocess.run([program(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    weed = subprocess.run([Path(program()).with_name("weed"), "version"], check=True, stdout=subprocess.PIPE, text=True)
    versions = {
        said: f"Python {platform.python_version()}",
        "SeaweedFS": weed.stdout.splitlines()[0],
        **peers.versions(),
    }
    lines = [f"- {name}: {version}" for name, version in versions.items()]
    where = f"{platform.system()} {platform.release()}, {_processor()}, {os.cpu_count()} cores, {_memory():.0f} GiB"
    return [f"{datetime.now(UTC):%Y-%m-%d}, on {where}:", "\n".join(lines)]


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
