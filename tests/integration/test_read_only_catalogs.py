"""Commands that only read, on a catalog that cannot be written, as on a standby server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.catalogs import catalogs_on
from tests.postgresql import PostgreSQL
from tests.program import Program

READING = (
    "-o json log",
    "-o json ls",
    "ls --members one.tar.gz",
    "-o json search one",
    "status one",
    "download one --to back",
    "download two three --to back",
    "-o json download one --member inside --to part",
    "audit verify",
    "audit anchor",
    "db check",
    "db current",
    "db export history.jsonl",
    "config show",
)
WRITING = ("upload four", "verify one", "delete one --yes", "free one --yes", "recover", "db rebuild")


@pytest.fixture
def standby(tmp_path: Path, postgresql_server: PostgreSQL) -> Iterator[tuple[Program, Program]]:
    """A program with three archives, and the same one after its database has become read-only, as a standby is."""
    with catalogs_on(postgresql_server) as catalogs:
        program = Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs)
        for name in ("one", "two", "three"):
            (program.work / name).mkdir()
            (program.work / name / "inside").write_text(name)
            program.ok("upload", program.work / name)
        (program.work / "four").write_text("4")
        read_only = replace(
            program,
            environment={"MGMT_CATALOG": f"{program.records.url}?options=-c%20default_transaction_read_only%3Don"},
        )
        yield program, read_only


def test_what_only_reads_works_unrecorded(standby: tuple[Program, Program]) -> None:
    program, read_only = standby
    before = program.records.rows("SELECT count(*), max(seal) FROM operations")
    for line in READING:
        done = read_only.run(*line.split())
        assert done.returncode == 0, (line, done.stderr)
        is_noted = any(word in line.split() for word in ("search", "status", "download"))
        assert ("note: this is not recorded" in done.stderr) == is_noted, (line, done.stderr)
    for line in WRITING:
        done = read_only.run(*line.split())
        assert done.returncode == 12, (line, done.stderr)
        assert "use the primary server" in done.stderr
    assert (program.work / "back" / "three" / "inside").read_text() == "three"
    assert (program.work / "part" / "inside").read_text() == "one"
    assert program.records.rows("SELECT count(*), max(seal) FROM operations") == before
    program.ok("download", "one", "--to", "again")
    program.ok("db", "check")
