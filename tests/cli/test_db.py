"""`mgmt db`: what an administrator sees."""

import re
import sqlite3
from contextlib import closing
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


@pytest.mark.sqlite
def test_check_names_the_repair_and_repairs(on_directory: Program) -> None:
    on_directory.ok("ls")
    with closing(sqlite3.connect(on_directory.catalog)) as connection:
        connection.execute("DROP TRIGGER seals_delete")
    done = on_directory.run("db", "check")
    assert (done.returncode, done.stdout) == (12, "trigger seals_delete is missing\n")
    assert "mgmt db check --repair" in done.stderr
    assert "mgmt db check --repair" in on_directory.run("doctor").stdout
    repaired = "repaired: trigger seals_delete is missing\nthe catalog is sound\n"
    assert on_directory.ok("db", "check", "--repair") == repaired
    found = on_directory.json("db", "check", "--repair")
    assert (found["sound"], found["problems"], found["next"], found["repaired"]) == (True, [], [], [])


def test_an_operation_of_an_unknown_type_does_not_hide_the_others(on_directory: Program) -> None:
    """As one that another program has inserted before revision 0009."""
    (on_directory.work / "notes").write_text("x")
    on_directory.ok("upload", on_directory.work / "notes")
    on_directory.ok("search", "notes")
    on_directory.records.change("UPDATE operations SET operation_type = 'rogue' WHERE operation_type = 'search'")
    shown = on_directory.json("log")
    assert [each["operation_type"] for each in shown] == ["rogue", "upload"]
    assert "rogue" in on_directory.ok("log")
    on_directory.ok("status", shown[0]["operation_id"])
    on_directory.ok("recover")
    assert "unknown type 'rogue'" in on_directory.run("db", "check").stdout
    assert on_directory.run("audit", "verify").returncode == 8
