"""One place removes objects from a store, and each kind of removal has one caller."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mgmt

ROOT = Path(mgmt.__file__).parent
REMOVAL = "services/steps/removal.py"
CATALOG = frozenset({"catalog", "members", "metadata", "session", "database", "connection"})
"""Names that do not refer to a store: their `delete` removes rows."""
CALLERS = {
    "remove_archive": {"services/delete.py"},
    "remove_versions": {"services/steps/purge.py"},
    "remove_all_versions": {
        "services/delete.py",
        "services/steps/purge.py",
    },  # and where an interrupted purge is finished
    "uncover": {"services/undelete.py"},
    "take_back": {"services/upload.py"},
}


def modules() -> dict[str, ast.Module]:
    found = [path for folder in ("services", "cli") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in found}


def deletions(module: ast.AST) -> Iterator[ast.Attribute]:
    """Every `.delete` of an object that may be a store, called or passed on."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and node.attr == "delete":
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name not in CATALOG:
                yield node


def users(name: str) -> set[str]:
    """The modules that use the function `name`, however they import it."""
    return {
        path
        for path, module in modules().items()
        for node in ast.walk(module)
        if (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.alias) and node.name == name)
        or (isinstance(node, ast.Constant) and node.value == name)
    }


def test_only_one_module_deletes_from_a_store() -> None:
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
        "store.versions.delete(key, version)",
    ],
)
def test_every_form_of_delete_is_detected(code: str) -> None:
    assert len(list(deletions(ast.parse(code)))) == 1
    assert not list(deletions(ast.parse("catalog.members.delete(1); session.delete(row)")))


def test_all_modules_are_scanned() -> None:
    assert {REMOVAL, "services/delete.py", "services/upload.py", "cli/delete.py"} <= modules().keys()
    assert len(list(deletions(modules()[REMOVAL]))) >= 5
