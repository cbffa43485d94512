"""Runs all tests, including those marked `torture`, and writes a report.

`make torture` runs them with SQLite catalogs, `make torture CATALOG=postgresql` with PostgreSQL, including faults that
only a server can have. Each writes its table into docs/promises.md between its two marks and exits as pytest does.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"
PART = {"sqlite": "not hours and not postgresql", "postgresql": "not hours and postgresql"}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(found: list[dict[str, Any]]) -> str:
    """The table, with one line for each kind of try; the figures of its parts are added up."""
    tried: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    notes: dict[tuple[str, str], str] = {}
    for row in found:
        name = str(row["promise"]), row["what"]
        tried[name][0] += row["tried"]
        tried[name][1] += row["violations"]
        notes[name] = row["note"] or notes.get(name, "")
    lines = ["| promise | what was tried | times | violations | |", "|---|---|---|---|---|"]
    for promise, what in sorted(tried, key=lambda name: (not name[0].isdigit(), name[0].zfill(2), name[1])):
        times, violations = tried[promise, what]
        lines.append(f"| {promise} | {what} | {times:,} | {violations:,} | {notes[promise, what]} |")
    return "\n".join(lines)


def main() -> int:
    catalog, *arguments = sys.argv[1:]
    begin, end = f"<!-- the last run on {catalog} begins -->", f"<!-- the last run on {catalog} ends -->"
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        workers = str((os.cpu_count() or 1) + 1)  # the tests mostly wait for disks and servers
        command = [sys.executable, "-m", "pytest", "-n", workers, "-m", PART[catalog], "-rs", *(arguments or ["tests"])]
        done = subprocess.run(
            command, env={**os.environ, "MGMT_FIGURES": str(figures)}, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout)
        skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
        when = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}"
        lines = [
            f"{when}, Python {platform.python_version()}: {done.stdout.strip().splitlines()[-1].strip('= ')}.",
            "",
            table(rows(figures)),
        ]
        if skipped:
            lines += ["", "Skipped on this machine:", "", *(f"- `{line}`" for line in skipped)]
        report = "\n".join(lines)
    before, rest = PAGE.read_text().split(begin)
    after = rest.split(end)[1]
    if not arguments:
        PAGE.write_text(f"{before}{begin}\n{report}\n{end}{after}")
    print(report)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
