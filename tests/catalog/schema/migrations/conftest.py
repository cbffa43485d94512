"""The migrations themselves are tried here: each database is empty at first, and migrated by Alembic as a user's is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from tests import warm
from tests.catalog.schema.migrations.dumps import ROOT


@pytest.fixture(autouse=True)
def _reuse_no_migrated_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "upgrade", warm.UPGRADE)


@pytest.fixture
def template() -> None:
    """No database to copy."""


@pytest.fixture
def before() -> str:
    """The revision of the old catalog."""
    return "0001"


@pytest.fixture
def old(before: str, tmp_path: Path) -> str:
    """The path of an old catalog (see old_catalogs.py)."""
    path = tmp_path / "old/catalog.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ROOT / f"tests/assets/catalogs/{before}.sql").read_text(encoding="utf-8"))
    return str(path)
