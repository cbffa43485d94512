"""`mgmt db`: what an administrator sees."""

import re
from pathlib import Path

import pytest

from mgmt.catalog import HEAD
from tests.program import Program


@pytest.mark.sqlite
def test_an_upgrade_prints_the_path_of_its_backup(on_directory: Program) -> None:
    assert on_directory.json("db", "upgrade")["backup"] is None
    back = on_directory.json("db", "downgrade", "0001")
    assert (back["current"], back["is_current"]) == ("0001", False)
    assert re.fullmatch(rf"catalog\.db\.{HEAD}-\d{{8}}T\d+Z\.backup", Path(back["backup"]).name)
    told = on_directory.ok("db", "upgrade").splitlines()
    (made,) = on_directory.catalog.parent.glob("catalog.db.0001-*.backup")
    assert told == [f"{HEAD} (head)  {on_directory.catalog}", f"backup of the previous version: {made}"]
    assert on_directory.ok("db", "upgrade").splitlines() == told[:1]
