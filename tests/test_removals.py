"""One place removes objects from a store, and each kind of removal has one caller."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mgmt

ROOT = Path(mgmt.__file__).parent
REMOVAL = "services/steps/removal.py"
CATALOG = frozenset({"catalog", "members", "metadata", "session", "database", "connection"})
"""What is called so is no store: its rows are deleted, where mgmt/catalog does that."""
CALLERS = {"remove_archive": {"services/delete.py"}, "take_back": {"services/upload.py"}}


def modules() -> dict[str, ast.Module]:
    found = [path for folder in ("services", "cli") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in found}


def deletions(module: ast.AST) -> Iterator[ast.Attribute]:
    """Every `.delete` of something that may be a store: called, or handed on to be called."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and node.attr == "delete":
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name not in CATALOG:
                yield node


def users(name: str) -> set[str]:
    """The modules that use the function `name` of the removals, by whatever way they have come by it."""
    return {
        path
        for path, module in modules().items()
        for node in ast.walk(module)
        if (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.alias) and node.name == name)
        or (isinstance(node, ast.Constant) and node.value == name)
    }


def test_no_module_but_one_deletes_from_a_store() -> None:
    where = {path: [node.lineno for node in deletions(module)] for path, module in modules().items()}
    assert [path for path, lines in where.items() if lines] == [REMOVAL]


@pytest.mark.parametrize("name", CALLERS)
def test_each_removal_of_an_object_has_one_caller(name: str) -> None:
    assert users(name) == CALLERS[name]


@pytest.mark.parametrize(
    "code",
    [
        "store.delete(key)",
        "archive.store.delete(key)",
        "self.store.delete(key)",
        "open_store(None).delete(key)",
        "stores[0].delete(key)",
        "remove = store.delete",
    ],
)
def test_every_way_to_delete_is_seen(code: str) -> None:
    assert len(list(deletions(ast.parse(code)))) == 1
    assert not list(deletions(ast.parse("catalog.members.delete(1); session.delete(row)")))


def test_the_modules_that_are_looked_at_are_those_that_there_are() -> None:
    assert {REMOVAL, "services/delete.py", "services/upload.py", "cli/delete.py"} <= modules().keys()
    assert len(list(deletions(modules()[REMOVAL]))) >= 5
