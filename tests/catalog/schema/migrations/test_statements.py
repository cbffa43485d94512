"""The effect of upgrades on a busy PostgreSQL server, as squawk sees it: long locks, and slow work under them."""

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mgmt.catalog import Catalog
from mgmt.catalog.db import database
from mgmt.catalog.db.database import MIGRATING
from mgmt.catalog.schema import migrate, soundness
from mgmt.errors import CatalogError

ROOT = Path(__file__).parents[4]
STEPS = {step.revision: step for step in migrate.history()}

# Why each finding of squawk is accepted. A new revision starts without accepted findings.
CONCURRENTLY = {"require-concurrent-index-creation", "require-concurrent-index-deletion"}
"""A revision is one transaction, which excludes CONCURRENTLY; its docstring says who waits."""
KNOWN = {
    "0001 up": {
        "prefer-bigint-over-int",  # parts of an upload: no store allows more than 10,000
        "prefer-bigint-over-smallint",  # twelve permission bits, in the largest table
        "prefer-text-field",  # enums, with a check constraint
        "prefer-identity",  # applied already; serial columns work as well
    },
    "0002 down": CONCURRENTLY,
    "0003 up": CONCURRENTLY,
    "0003 down": CONCURRENTLY,
    "0005 up": CONCURRENTLY,
    "0005 down": CONCURRENTLY,
    "0007 up": CONCURRENTLY,
    "0007 down": CONCURRENTLY,
    "0009 up": CONCURRENTLY,
    "0009 down": CONCURRENTLY,
    "0010 up": CONCURRENTLY,
    "0010 down": CONCURRENTLY,
    "0011 up": CONCURRENTLY,
    "0011 down": CONCURRENTLY,
}
GOING_BACK = {"ban-drop-table", "ban-drop-column", "ban-drop-function"}
"""A downgrade removes what the upgrade has created."""


def statements(revision: str, way: str) -> str:
    between = [STEPS[revision].previous or "base", revision]
    return migrate.sql("postgresql", ":".join(between if way == "up" else reversed(between)))


def findings(statements: str, *known: str) -> list[tuple[str, str]]:
    """The findings of squawk: rule and statement."""
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
def test_squawk_finds_no_unexpected_problem_in_a_migration(revision: str, way: str) -> None:
    known = KNOWN.get(f"{revision} {way}", set()) | (GOING_BACK if way == "down" else set())
    assert findings(statements(revision, way), *known) == []


@pytest.mark.parametrize("step", KNOWN)
def test_the_accepted_squawk_findings_still_occur(step: str) -> None:
    revision, way = step.split()
    found = {rule for rule, _ in findings(statements(revision, way), *GOING_BACK)}
    assert found <= KNOWN[step]
    assert found - CONCURRENTLY == KNOWN[step] - CONCURRENTLY
    if found & CONCURRENTLY:
        (source,) = (ROOT / "migrations/versions").glob(f"{revision}_*.py")
        assert "CONCURRENTLY" in source.read_text("utf-8")


@pytest.mark.parametrize("revisions", ["base:head", "0002:0003", "head:0001"])
def test_the_offline_sql_starts_with_a_lock_timeout(revisions: str) -> None:
    lines = [line for line in migrate.sql("postgresql", revisions).splitlines() if line]
    assert lines[: len(MIGRATING) + 1] == ["BEGIN;", *(f"{statement};" for statement in MIGRATING)]
    assert "lock_timeout" not in migrate.sql("sqlite", revisions)


def test_squawk_reports_a_known_problem() -> None:
    bad = "BEGIN;\nALTER TABLE files ADD COLUMN x int NOT NULL DEFAULT random();\nCREATE INDEX i ON files (x);\nCOMMIT;"
    assert {rule for rule, _ in findings(bad)} >= {"require-lock-timeout", "require-concurrent-index-creation"}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_upgrade_gives_up_if_a_table_is_in_use(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = tuple(each.replace("10s", "100ms") for each in MIGRATING)
    assert at_once != MIGRATING
    monkeypatch.setattr(database, "MIGRATING", at_once)
    migrate.upgrade(catalog.database, "0002")
    other = create_engine(catalog.database.url)
    with other.connect() as at_work:
        at_work.execute(text("LOCK TABLE members IN ACCESS SHARE MODE"))
        with pytest.raises(CatalogError, match="locked by another session"):
            migrate.upgrade(catalog.database)
        assert migrate.current(catalog.database) == "0002"
    other.dispose()
    migrate.upgrade(catalog.database)
    assert soundness.check(catalog.database) == []
