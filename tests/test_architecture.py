"""The code has the structure that docs/architecture.md shows, and no part of it grows too large."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "mgmt").rglob("*.py"))
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")

MEDIAN, NINE_OF_TEN, LONGEST = 100, 250, 400
"""Lines of a file."""
LINES_OF_A_FUNCTION = 60
PARAMETERS = 5

COMPLEXITY = re.compile(r"noqa:[^#]*\b(C901|PLR09\d\d|PLR0911|PLR0912|PLR0913|PLR0915|PLR0917)\b")


def shown_packages() -> set[str]:
    """The packages and top-level modules that the page shows, by their paths below mgmt/."""
    found: set[str] = set()
    below: list[tuple[int, str]] = []
    tree = PAGE.split("```")[1]
    for line in tree.splitlines():
        shown = re.match(r"( *)(\S+)  ", line)
        if shown is None or (depth := len(shown[1])) == 0:
            continue
        while below and below[-1][0] >= depth:
            below.pop()
        name = "".join(each for _, each in below) + shown[2]
        found.add(name)
        below.append((depth, shown[2]))
    return found


def test_the_page_shows_exactly_the_existing_packages() -> None:
    package = ROOT / "mgmt"
    packages = {f"{path.parent.relative_to(package)}/" for path in package.rglob("__init__.py")} - {"./"}
    assert shown_packages() == packages | {path.name for path in package.glob("*.py") if path.name != "__init__.py"}


def test_every_module_named_on_the_page_exists() -> None:
    named = set(re.findall(r"`((?:mgmt/)?[a-z_]+(?:/[a-z_]+)*\.py)`", PAGE))
    assert named
    known = {str(path.relative_to(ROOT / "mgmt")) for path in MODULES}
    known |= {f"steps/{path.name}" for path in (ROOT / "mgmt/services/steps").glob("*.py")}
    assert named <= known


def test_files_are_short() -> None:
    lines = sorted(len(path.read_text("utf-8").splitlines()) for path in MODULES)
    figures = (statistics.median(lines), lines[len(lines) * 9 // 10], lines[-1])
    assert all(figure <= limit for figure, limit in zip(figures, (MEDIAN, NINE_OF_TEN, LONGEST), strict=True)), figures


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_functions_are_short() -> None:
    too_long = [where for where, node in functions() if node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION]  # type: ignore[operator]
    assert too_long == []


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(re.search(r"\b(command|group)\(", ast.unparse(each)) for each in node.decorator_list)


def test_functions_have_few_parameters() -> None:
    def count(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        given = node.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        return len([each for each in names if each not in ("self", "cls")])

    many = {where: count(node) for where, node in functions() if not is_command(node)}
    assert {where: found for where, found in many.items() if found > PARAMETERS} == {}


@pytest.mark.parametrize("path", [ROOT / "mgmt", ROOT / "migrations"], ids=["mgmt", "migrations"])
def test_no_complexity_check_is_suppressed(path: Path) -> None:
    assert [str(each) for each in path.rglob("*.py") if COMPLEXITY.search(each.read_text("utf-8"))] == []
