"""Measures which lines and branches of mgmt run in the test processes: a pytest plugin (`-p tests.measured`).

SlipCover rewrites the bytecode of mgmt's modules at import; a tracer would also be called for each function of
SQLAlchemy and botocore. Child processes are not measured, forked ones included.
"""

import json
import os
import sys
from typing import Any

import pytest
import slipcover

SOURCE = "mgmt"

_measured = slipcover.Slipcover(branch=True, source=[SOURCE])
_others: list[dict[str, Any]] = []
"""What xdist's workers measured."""

if "PYTEST_XDIST_WORKER" in os.environ or "-n" not in sys.argv:  # the process that starts workers runs no test
    slipcover.ImportManager(_measured, slipcover.FileMatcher(sources=[SOURCE])).__enter__()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends its result."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["coverage"] = json.dumps(_measured.get_coverage())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    if found := getattr(node, "workeroutput", {}).get("coverage"):
        _others.append(json.loads(found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figure."""
    whole = _measured.get_coverage()
    for each in _others:
        slipcover.merge_coverage(whole, each)
    found = whole["summary"]
    lines, branches = found["covered_lines"], found["covered_branches"]
    of_lines, of_branches = lines + found["missing_lines"], branches + found["missing_branches"]
    terminalreporter.section(f"coverage of {SOURCE} in the test processes (child processes are not measured)")
    terminalreporter.line(
        f"lines {lines / of_lines:.1%} ({lines:,} of {of_lines:,}), "
        f"branches {branches / of_branches:.1%} ({branches:,} of {of_branches:,})"
    )
