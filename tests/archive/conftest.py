"""A tree with every kind of name and entry, and its archive."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.archive import IndexWriter, Tree, remove_partial
from tests.archive.archives import Written, header, write
from tests.trees import make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(os.fspath(make_tree(tmp_path / "photos", files=60)), "photos")


@pytest.fixture
def written(tree: Tree, tmp_path: Path) -> Written:
    return write(tree, tmp_path / "index")


@pytest.fixture
def index_writer(tmp_path: Path) -> Iterator[IndexWriter]:
    with IndexWriter(os.fspath(tmp_path / "unfinished index"), header()) as writer:
        yield writer


@pytest.fixture
def as_user() -> Iterator[Path]:
    """A private folder, and only the rights of an ordinary user, even where the tests run as root."""
    folder = tempfile.mkdtemp(prefix="mgmt-test-")
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield Path(folder)
    finally:
        if root:
            os.seteuid(0)
        # A test may have removed the permissions that are needed to remove it.
        os.rename(folder, os.path.join(os.path.dirname(folder), f".mgmt-{os.path.basename(folder)}.partial"))
        remove_partial(os.path.dirname(folder), os.path.basename(folder))
