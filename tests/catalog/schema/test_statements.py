"""What an upgrade would do to a PostgreSQL at work, as squawk sees it: locks that last, and what is slow under them."""

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mgmt.catalog import Catalog
from mgmt.catalog.db import database
from mgmt.catalog.db.database import MIGRATING
from mgmt.catalog.schema import migrate as schema
from mgmt.errors import CatalogError

ROOT = Path(__file__).parents[3]
STEPS = {step.revision: step for step in schema.history()}

# Why what squawk says of a step is known, and stays. A new step begins with nothing here.
CONCURRENTLY = {"require-concurrent-index-creation", "require-concurrent-index-deletion"}
"""A step is one transaction, whole or nothing, in which CONCURRENTLY is not to be had; its source says who waits."""
KNOWN = {
    "0001 up": {
        "prefer-bigint-over-int",  # parts of an upload: no store takes more than 10,000
        "prefer-bigint-over-smallint",  # permission bits, of which there are twelve, in the table that grows
        "prefer-text-field",  # words of a fixed list, which a constraint holds
        "prefer-identity",  # history: the tables are made, and what a serial number is called is no matter
    },
    "0002 down": CONCURRENTLY,
    "0003 up": CONCURRENTLY,
    "0003 down": CONCURRENTLY,
    "0005 up": CONCURRENTLY,
    "0005 down": CONCURRENTLY,
    "0007 up": CONCURRENTLY,
    "0007 down": CONCURRENTLY,
}
GOING_BACK = {"ban-drop-table", "ban-drop-column", "ban-drop-function"}
"""A step back removes what the step has made."""


def statements(revision: str, way: str) -> str:
    between = [STEPS[revision].previous or "base", revision]
    return schema.sql("postgresql", ":".join(between if way == "up" else reversed(between)))


def findings(statements: str, *known: str) -> list[tuple[str, str]]:
    """What squawk says: the rule and the statement."""
    squawk = Path(sysconfig.get_path("scripts")) / "squawk"
    command: list[str | Path] = [squawk, "--reporter", "json", "--stdin-filepath", "step.sql"]
    command += [f"--exclude={rule}" for rule in known]
    done = subprocess.run(command, input=statements, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert bool(found) == bool(done.returncode), done.stderr
    lines = statements.splitlines()
    return [(each["rule_name"], lines[each["line"]]) for each in found]


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("revision", STEPS)
def test_no_step_does_harm_to_a_server_at_work(revision: str, way: str) -> None:
    known = KNOWN.get(f"{revision} {way}", set()) | (GOING_BACK if way == "down" else set())
    assert findings(statements(revision, way), *known) == []


@pytest.mark.parametrize("step", KNOWN)
def test_what_is_known_of_a_step_is_still_so(step: str) -> None:
    revision, way = step.split()
    found = {rule for rule, _ in findings(statements(revision, way), *GOING_BACK)}
    assert found <= KNOWN[step]
    assert found - CONCURRENTLY == KNOWN[step] - CONCURRENTLY
    if found & CONCURRENTLY:
        (source,) = (ROOT / "migrations/versions").glob(f"{revision}_*.py")
        assert "CONCURRENTLY" in source.read_text("utf-8")


@pytest.mark.parametrize("revisions", ["base:head", "0002:0003", "head:0001"])
def test_the_statements_begin_with_what_keeps_others_from_waiting(revisions: str) -> None:
    lines = [line for line in schema.sql("postgresql", revisions).splitlines() if line]
    assert lines[: len(MIGRATING) + 1] == ["BEGIN;", *(f"{statement};" for statement in MIGRATING)]
    assert "lock_timeout" not in schema.sql("sqlite", revisions)


def test_squawk_sees_what_it_is_asked_for() -> None:
    bad = "BEGIN;\nALTER TABLE files ADD COLUMN x int NOT NULL DEFAULT random();\nCREATE INDEX i ON files (x);\nCOMMIT;"
    assert {rule for rule, _ in findings(bad)} >= {"require-lock-timeout", "require-concurrent-index-creation"}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_upgrade_does_not_wait_behind_who_is_at_work(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = tuple(each.replace("10s", "100ms") for each in MIGRATING)
    assert at_once != MIGRATING
    monkeypatch.setattr(database, "MIGRATING", at_once)
    schema.upgrade(catalog.database, "0002")
    other = create_engine(catalog.database.url)
    with other.connect() as at_work:
        at_work.execute(text("LOCK TABLE members IN ACCESS SHARE MODE"))
        with pytest.raises(CatalogError, match="locked by another session"):
            schema.upgrade(catalog.database)
        assert schema.current(catalog.database) == "0002"
    other.dispose()
    schema.upgrade(catalog.database)
    assert schema.check(catalog.database) == []
