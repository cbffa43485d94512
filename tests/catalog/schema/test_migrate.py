"""Schema migrations: upgrade and downgrade, atomically, by mgmt and by plain Alembic."""

import ast
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from alembic.util import load_python_file
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql

from mgmt.catalog import (
    HEAD,
    Catalog,
    ClassRecord,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    FileStatus,
    JobRecord,
    Location,
    LockRecord,
    NewJob,
    OperationRecord,
    RestoreRecord,
    Role,
    ScheduleRecord,
    SearchRecord,
    Status,
    TagRecord,
    UndeleteRecord,
    UndoRecord,
    UploadRecord,
    VerifyRecord,
    open_catalog,
)
from mgmt.catalog.audit import triggers
from mgmt.catalog.audit.export import export
from mgmt.catalog.audit.import_history import import_history
from mgmt.catalog.db.database import Database
from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.schema import migrate, soundness
from mgmt.catalog.schema.defect import Defect
from mgmt.catalog.schema.pg_expressions import INDEXES
from mgmt.errors import CatalogError, ConfigurationError

ROOT = Path(__file__).parents[3]
OLD = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
WHERE_MEMBERS_ARE = {"member_ranges": [(2, 1, 4)], "directory_archives": [(1, 2), (2, 2)]}
"""The rows that 0003 computes from existing ones; see old_catalogs.py."""
WORKED_OUT = {
    ("operations", "sha256"),
    ("operations", "seal"),
    ("files", "archive_id"),
    ("files", "kept"),
    ("uploads", "kept"),
}
"""The values that 0005 and 0007 add to existing rows."""


@pytest.fixture
def before() -> str:
    """The revision of the old catalog."""
    return OLD[0]


@pytest.fixture
def old(before: str, tmp_path: Path) -> str:
    """The path of an old catalog (see old_catalogs.py)."""
    path = tmp_path / "old/catalog.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ROOT / f"tests/assets/catalogs/{before}.sql").read_text(encoding="utf-8"))
    return str(path)


def contents(path: str) -> dict[str, list[dict[str, object]]]:
    """Every value of every row by column, without NULLs and what later revisions compute."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True) if value is not None
        }
        names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        records = [name for name in names if name in METADATA.tables.keys() - WHERE_MEMBERS_ARE.keys() - {"seals"}]
        found = {}
        for name in records:
            rows = connection.execute(f"SELECT * FROM {name}").fetchall()
            facts = [{column: row[column] for column in row if (name, column) not in WORKED_OUT} for row in rows]
            if facts:
                found[name] = sorted(facts, key=repr)
        return found


def objects(path: str) -> dict[str, str]:
    """The SQL of every table and index."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in made}


def test_the_head_is_alembics_head() -> None:
    newest = migrate.history()[0]
    assert (newest.revision, newest.is_head) == (HEAD, True)
    assert [step.previous for step in migrate.history()] == [*(step.revision for step in migrate.history()[1:]), None]
    assert all(step.summary for step in migrate.history())


def test_upgrade_and_downgrade_of_an_empty_database(catalog: Catalog) -> None:
    database = catalog.database
    assert migrate.current(database) is None
    migrate.upgrade(database)
    assert migrate.current(database) == HEAD
    assert soundness.check(database) == []
    migrate.downgrade(database, "base")
    assert migrate.current(database) is None
    with database.connection() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    catalog.metadata.list_files()
    assert migrate.current(database) == HEAD


def test_every_revision_can_be_downgraded_and_upgraded_again(catalog: Catalog) -> None:
    database = catalog.database
    for step in reversed(migrate.history()):
        migrate.upgrade(database, step.revision)
        migrate.downgrade(database, step.previous or "base")
        migrate.upgrade(database, step.revision)
        assert migrate.current(database) == step.revision
    assert soundness.check(database) == []


def parts(statement: str) -> list[str]:
    """The sorted parts of a CREATE TABLE, as a migration may add a column at the end."""
    depth, found = 0, [""]
    for character in " ".join(statement.split()):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (depth, character) in ((1, "("), (1, ","), (0, ")")):
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found]


def described(engine: Engine) -> dict[str, object]:
    """The whole schema: columns, constraints, indexes and triggers, with their conditions."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            made = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
            found = {name: sorted(parts(sql)) for name, sql in made}
        else:
            columns = connection.execute(
                text(
                    "SELECT table_name, column_name, data_type, is_nullable, collation_name, is_identity "
                    "FROM information_schema.columns WHERE table_schema = 'public'"
                )
            )
            constraints = connection.execute(
                text(
                    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
                    "WHERE connamespace = 'public'::regnamespace"
                )
            )
            indexes = connection.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"))
            found = {f"{row[0]}.{row[1]}": list(row[2:]) for row in columns}
            found |= {name: [said] for name, said in [*constraints, *indexes, *triggers.existing(connection).items()]}
    return {name: said for name, said in found.items() if not name.startswith(("alembic", "member_names", *INDEXES))}


def test_the_migrated_schema_matches_the_models(catalog: Catalog, tmp_path: Path) -> None:
    database = catalog.database
    migrate.upgrade(database)
    migrated = described(database.bind())
    migrate.downgrade(database, "base")
    with database.migrating() as connection:
        METADATA.create_all(connection)
    assert described(database.bind()) == migrated
    assert len(migrated) > 30


@pytest.mark.parametrize("before", OLD)
def test_an_old_catalog_is_refused_until_upgraded_and_keeps_its_data(before: str, old: str) -> None:
    held, made = contents(old), objects(old)
    catalog = open_catalog(f"sqlite:///{old}")
    with pytest.raises(CatalogError, match=f"older schema {before}") as caught:
        catalog.metadata.list_files()
    assert caught.value.next_step == "mgmt db upgrade"
    assert objects(old) == made

    migrate.upgrade(catalog.database)
    assert soundness.check(catalog.database) == []
    assert contents(old) == held
    history = catalog.audit.verification()
    assert list(history.findings()) == []
    assert (history.operations, history.seals, history.live) == (3 + ("searches" in held), 1, 1 + ("jobs" in held))
    with closing(sqlite3.connect(old)) as connection:
        for name, rows in WHERE_MEMBERS_ARE.items():
            assert connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() == rows

    (upload,) = catalog.metadata.get_upload_history("/films/caf\udce9")
    assert (upload.original_size, upload.duration_seconds, upload.status) == (5_000_000_000, 10.5, Status.SUCCESS)
    archive = catalog.metadata.latest_archive("/films/caf\udce9")
    assert [member.path for member in catalog.members.list(archive.id)][1:] == [
        "caf\udce9/Été.jpg",
        "caf\udce9/wedding.mov",
        "caf\udce9/link",
    ]
    assert [m.path for m, _ in catalog.members.search("WEDDING")] == ["caf\udce9/wedding.mov"]
    assert [m.path for m, _ in catalog.members.search("caf\udce9/w")] == ["caf\udce9/wedding.mov"]

    migrate.downgrade(catalog.database, before)
    assert (contents(old), objects(old)) == (held, made)
    catalog.close()


def test_upgrade_seals_finished_operations(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    """The revision computes hashes by its own code, which must agree with mgmt/catalog/audit/canonical.py."""
    operations: list[OperationRecord] = [
        UploadRecord(target_path="/films/caf\udce9", command_args={"é": [1.5, None]}, original_size=5_000_000_000),
        DownloadRecord(target_path="a.tar.gz", local_path="/caf\udce9"),
        SearchRecord(keyword="k", total_matches=1, local_matches=None, s3_matches=None),  # as before 0008
        VerifyRecord(store="file:///store"),
        DeleteRecord(result_path="x"),
    ]
    for operation in operations:
        with catalog.journal.record(operation):
            archive = FileRecord(path="caf\udce9.tar.gz", location=Location.S3, store="file:///store")
            local = FileRecord(path="/caf\udce9", location=Location.LOCAL, host="nas")
            for role, file in ((Role.ARCHIVE, archive), (Role.SOURCE, local)):
                catalog.journal.link(operation, catalog.metadata.save_file_record(file), role)
    catalog.metadata.save_operation(UploadRecord(target_path="/running"))
    hashes = {operation.operation_id: operation.sha256 for operation in operations}

    migrate.downgrade(catalog.database, "0003")
    migrate.upgrade(catalog.database)
    other = reopen()
    found = [each for each in other.metadata.list_operations() if each.sha256 is not None]
    assert {each.operation_id: each.sha256 for each in found} == hashes
    assert [each.seal for each in found] == [1] * 5
    assert list(other.audit.verification().findings()) == []
    assert soundness.check(catalog.database) == []


@pytest.mark.parametrize("before", ["0007"])
def test_a_search_of_before_0008_keeps_its_facts_and_its_hash(old: str) -> None:
    migrate.upgrade(Database(f"sqlite:///{old}"))
    catalog = open_catalog(f"sqlite:///{old}")
    (search,) = catalog.metadata.list_operations("search")
    assert isinstance(search, SearchRecord)
    assert (search.local_count, search.s3_count, search.total_matches) == (1, 2, 3)
    assert (search.was_downloaded, search.was_checked) == (True, False)
    unknown = (search.local_matches, search.s3_matches, search.download_selected, search.status_checked)
    assert unknown == (None, None, None, None)
    assert list(catalog.audit.verification().findings()) == []
    catalog.close()


@pytest.mark.parametrize("before", ["0007"])
def test_an_export_of_an_older_schema_is_imported(old: str, catalog: Catalog) -> None:
    migrate.upgrade(Database(f"sqlite:///{old}"))
    upgraded = Database(f"sqlite:///{old}")
    exported = io.BytesIO()
    export(upgraded, exported, members=True)
    upgraded.close()
    lines = exported.getvalue().splitlines(keepends=True)[:-1]
    assert f'"schema":"{HEAD}"'.encode() in lines[0]
    lines[0] = lines[0].replace(HEAD.encode(), b"0007")  # what else is in it is what 0007 exported
    end = {"lines": len(lines), "sha256": sha256(b"".join(lines)).hexdigest()}
    older = b"".join(lines) + json.dumps({"end": end}).encode() + b"\n"
    assert b"local_paths" not in older
    assert import_history(catalog.database, io.BytesIO(older)).operations == 5
    assert list(catalog.audit.verification().findings()) == []
    (search,) = catalog.metadata.list_operations("search")
    assert isinstance(search, SearchRecord)
    assert (search.total_matches, search.local_matches) == (3, None)


def test_a_downgrade_below_0008_is_refused_once_a_search_has_results(catalog: Catalog) -> None:
    database = catalog.database
    with catalog.journal.record(SearchRecord(keyword="k", local_matches=None, s3_matches=None)):
        pass
    migrate.downgrade(database, "0007")
    migrate.upgrade(database)
    with catalog.journal.record(SearchRecord(keyword="k")):
        pass
    with pytest.raises(CatalogError, match="finished searches have results"):
        migrate.downgrade(database, "0007")
    assert migrate.current(database) == HEAD
    assert list(catalog.audit.verification().findings()) == []


def test_an_upgrade_creates_a_backup(old: str) -> None:
    before = contents(old)
    database = Database(f"sqlite:///{old}")
    told = migrate.upgrade(database)
    assert migrate.upgrade(database) is None
    (backup,) = [name for name in os.listdir(os.path.dirname(old)) if name.endswith(".backup")]
    path = f"{os.path.dirname(old)}/{backup}"
    assert told == path
    assert re.fullmatch(r"catalog\.db\.0001-\d{8}T\d+Z\.backup", backup)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert contents(path) == before
    assert Database(f"sqlite:///{path}").revision() == "0001"
    database.close()


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("way", ["up", "down", "from nothing"])
def test_a_migration_that_fails_at_any_statement_changes_nothing(way: str, old: str) -> None:
    database = Database(f"sqlite:///{old}")
    if way == "down":
        migrate.upgrade(database)
    if way == "from nothing":
        database = Database(f"sqlite:///{old}-new")
        migrate.upgrade(database, "0001")
        migrate.downgrade(database, "base")
    path = str(database.path)
    before, made = contents(path), objects(path)
    left = 0

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stop

    with database.migrating() as connection:
        event.listen(connection.engine, "before_cursor_execute", count)
    for step in range(1, 200):
        left = step
        try:
            migrate.downgrade(database, "0001") if way == "down" else migrate.upgrade(database)
        except Stop:
            database.close()
            assert (contents(path), objects(path)) == (before, made)
        else:
            break
    assert step > 5
    left = 0
    assert migrate.current(database) == ("0001" if way == "down" else HEAD)
    assert way == "down" or soundness.check(database) == []
    database.close()


KILLED = """
import os, signal, sys
from sqlalchemy import event
from mgmt.catalog.schema import migrate
from mgmt.catalog.db.database import Database
database = Database(sys.argv[1])
with database.migrating() as connection:
    engine = connection.engine
@event.listens_for(engine, "before_cursor_execute")
def look(connection, cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)
migrate.upgrade(database)
"""


@pytest.mark.parametrize("at", ["CREATE TABLE member_names_mark", "UPDATE alembic_version", "PRAGMA foreign_key_check"])
def test_a_killed_migration_can_be_run_again(at: str, old: str) -> None:
    before, made = contents(old), objects(old)
    done = subprocess.run([sys.executable, "-c", KILLED, f"sqlite:///{old}", at], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (contents(old), objects(old)) == (before, made)
    database = Database(f"sqlite:///{old}")
    migrate.upgrade(database)
    assert soundness.check(database) == []
    assert contents(old) == before
    database.close()


def test_a_migration_that_would_orphan_rows_is_refused(old: str) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM directories")
        connection.commit()
    database = Database(f"sqlite:///{old}")
    with pytest.raises(CatalogError, match="would be orphaned"):
        migrate.upgrade(database)
    assert migrate.current(database) == "0001"
    database.close()


@pytest.mark.parametrize("move", [migrate.upgrade, lambda database: migrate.downgrade(database, "base")])
def test_a_newer_schema_is_not_changed(move: Callable[[Database], None], catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="was not changed"):
        move(catalog.database)
    assert migrate.current(catalog.database) == "9999"


def test_an_unknown_revision_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="unknown revision nonsense"):
        migrate.upgrade(catalog.database, "nonsense")
    assert migrate.current(catalog.database) is None
    with pytest.raises(ConfigurationError, match="unknown revision nonsense"):
        migrate.sql("sqlite", "nonsense:head")
    with pytest.raises(ConfigurationError, match="unknown dialect oracle"):
        migrate.sql("oracle")


def test_the_offline_sql_for_sqlite_creates_the_same_schema(tmp_path: Path) -> None:
    path, other = str(tmp_path / "by-hand.db"), str(tmp_path / "by-mgmt.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(migrate.sql("sqlite"))
    migrate.upgrade(Database(f"sqlite:///{other}"))
    assert objects(path) == objects(other)
    assert soundness.check(Database(f"sqlite:///{path}")) == []
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(migrate.sql("sqlite", "head:0001"))
        connection.executescript(migrate.sql("sqlite", "0001:base"))
    assert objects(path).keys() <= {"alembic_version"}


def test_the_offline_sql_for_postgresql(catalog: Catalog) -> None:
    statements = migrate.sql("postgresql")
    assert "GENERATED BY DEFAULT AS IDENTITY" in statements
    assert "TIMESTAMP WITH TIME ZONE" in statements
    assert statements.count("CREATE TABLE ") == len(METADATA.tables) + 1
    if catalog.database.is_sqlite:
        return
    engine = create_engine(catalog.database.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.connection.driver_connection.execute(statements.encode())  # type: ignore[union-attr]
    engine.dispose()
    assert soundness.check(catalog.database) == []


def test_every_query_is_valid_on_postgresql(sqlite_catalog: Catalog) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    asked: list[str] = []
    metadata = sqlite_catalog.metadata
    metadata.list_files()

    def translate(_connection: object, query: object, *_: object) -> None:
        if hasattr(query, "compile"):
            asked.append(str(query.compile(dialect=dialect)))

    event.listen(sqlite_catalog.database.bind(), "before_execute", translate)
    metadata.list_operations("upload", Status.SUCCESS, user="u", target="t", parent="p")
    metadata.list_files("a", Location.S3, FileStatus.COMPLETED)
    metadata.search_files("a_%", tags={"a": "b"})
    metadata.find("a")
    sqlite_catalog.members.search("a/b")
    sqlite_catalog.members.search("ab")
    sqlite_catalog.members.list(1, "a/b")
    assert len(asked) >= 9
    assert any("ILIKE" in query for query in asked)


def test_check_reports_schema_differences(catalog: Catalog) -> None:
    catalog.metadata.list_files()
    with catalog.database.transaction() as session:
        session.execute(text("DROP INDEX ix_files_name"))
        session.execute(text("CREATE TABLE recipes (id INTEGER)"))
    problems = [each.message for each in soundness.check(catalog.database)]
    assert len(problems) == 2
    assert any("ix_files_name" in problem for problem in problems)
    assert any("recipes" in problem for problem in problems)


def test_check_reports_orphans_and_damage(old: str) -> None:
    database = Database(f"sqlite:///{old}")
    assert soundness.check(database) == [Defect(f"the schema is 0001, expected {HEAD}", "mgmt db upgrade")]
    migrate.upgrade(database)
    database.close()
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM directories WHERE id = 1")
        connection.commit()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_files_name'").fetchone()
        connection.execute("PRAGMA journal_mode=DELETE")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(old, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x0a" + bytes(size - 1))  # the index, emptied
    problems = [each.message for each in soundness.check(database)]
    assert "orphan: row 1 of members refers to a missing row of directories" in problems
    assert any("damage:" in problem and "ix_files_name" in problem for problem in problems)
    database.close()


@pytest.fixture
def alembic(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run plain Alembic in the repository, as an administrator would."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MGMT_CATALOG", "XDG_DATA_HOME")}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "alembic", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True, check=False)

    return run


def test_plain_alembic_works_in_the_repository(
    alembic: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/new/catalog.db"
    for arguments in (("upgrade", "head"), ("check",), ("downgrade", "base"), ("upgrade", "head"), ("current",)):
        done = alembic(*arguments, MGMT_CATALOG=url)
        assert done.returncode == 0, done.stderr
    assert HEAD in done.stdout
    assert soundness.check(Database(url)) == []
    assert stat.S_IMODE(os.stat(tmp_path / "new/catalog.db").st_mode) == 0o600


def test_plain_alembic_takes_a_url_or_the_default(
    alembic: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert alembic("-x", f"url=sqlite:///{tmp_path}/x.db", "upgrade", "head", MGMT_CATALOG="mysql://no").returncode == 0
    assert soundness.check(Database(f"sqlite:///{tmp_path}/x.db")) == []
    if sys.platform == "linux":
        assert alembic("upgrade", "head", XDG_DATA_HOME=str(tmp_path / "share")).returncode == 0
        assert soundness.check(Database(f"sqlite:///{tmp_path}/share/mgmt/catalog.db")) == []
    shown = alembic("upgrade", "head", "--sql", MGMT_CATALOG="postgresql://somebody:hunter2@nowhere/x")
    assert shown.stdout == migrate.sql("postgresql")
    assert "hunter2" not in shown.stdout + shown.stderr


def test_the_migrations_are_found_inside_an_installed_package(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "mgmt", site / "mgmt", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "migrations", site / "mgmt/migrations", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from mgmt.catalog.schema import migrate; print(migrate._migrations(), len(migrate.history()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(site / "mgmt/migrations"), str(len(migrate.history()))], done.stderr


FROZEN = [*sorted((ROOT / "migrations/versions").glob("*.py")), ROOT / "migrations/final.py"]


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.stem)
def test_revisions_import_nothing_that_changes(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= {"sqlalchemy", "alembic"} | sys.stdlib_module_names


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_keep_final_runs_the_statements_of_0006(dialect: str) -> None:
    final = load_python_file(str(ROOT / "migrations"), "final.py")
    statements = list(final.triggers("prunes", dialect))
    sql = migrate.sql(dialect, "0005:0006")
    assert len(statements) == sql.count("CREATE TRIGGER")
    assert [statement for statement in statements if statement not in sql] == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_allow_types_runs_the_statements_that_the_check_expects(dialect: str) -> None:
    """With the types that revisions after 0009 add."""
    sql = " ".join(migrate.sql(dialect, "0008:head").replace("OR REPLACE ", "").split())
    expected = triggers.expected(dialect)
    names = ["operations_type", "seals_insert"]
    names += ["operations_retype"] if dialect == "sqlite" else ["mgmt_known_type", "mgmt_next_seal"]
    assert [name for name in names if " ".join(expected[name].split()) not in sql] == []


def test_an_older_catalog_with_foreign_rows_is_upgraded_and_they_are_named(catalog: Catalog) -> None:
    migrate.upgrade(catalog.database, "0008")
    seq = ", seq" if catalog.database.is_sqlite else ""
    with catalog.database.migrating() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args{seq}) "
            f"VALUES ('r', 'rogue', '2026-01-01 00:00:00.000000', 'success', '{{}}', '{{}}'{', 1' if seq else ''})"
        )
        digest = "X'00'" if catalog.database.is_sqlite else "'x'"
        connection.exec_driver_sql(
            "INSERT INTO seals (sequence, sealed_at, operations, digest) "
            f"VALUES (999999, '2026-01-01 00:00:00.000000', '[]', {digest})"
        )
    migrate.upgrade(catalog.database)
    with catalog.journal.record(UploadRecord(target_path="/a")):
        pass
    assert catalog.audit.seal() == 1
    assert [each.target_path for each in catalog.metadata.list_operations()] == ["/a", None]
    assert [each.message for each in soundness.check(catalog.database)] == [
        "1 operations of the unknown type 'rogue'",
        "seal 999999 is not the first",
    ]
    migrate.downgrade(catalog.database, "0008")


def left(catalog: Catalog) -> str | None:
    """Why a downgrade below 0010 is refused; None if it is not, and then everything is as before."""
    before = contents_of(catalog)
    try:
        migrate.downgrade(catalog.database, "0009")
    except CatalogError as error:
        assert (migrate.current(catalog.database), contents_of(catalog)) == (HEAD, before)
        return error.message
    assert migrate.current(catalog.database) == "0009"
    migrate.upgrade(catalog.database)
    assert contents_of(catalog) == before
    assert soundness.check(catalog.database) == []
    return None


def contents_of(catalog: Catalog) -> bytes:
    exported = io.BytesIO()
    export(catalog.database, exported, members=True)
    return exported.getvalue()


@pytest.mark.parametrize("kind", [ClassRecord, LockRecord, RestoreRecord, TagRecord, UndeleteRecord])
def test_a_downgrade_below_0011_is_refused_if_an_older_mgmt_could_not_load_it(
    kind: type[OperationRecord], catalog: Catalog
) -> None:
    with catalog.journal.record(kind(target_path="a.tar.gz")):
        pass
    with pytest.raises(CatalogError, match="an older mgmt cannot load"):
        migrate.downgrade(catalog.database, "0010")
    assert migrate.current(catalog.database) == HEAD


def test_a_downgrade_below_0010_is_refused_while_work_waits(catalog: Catalog) -> None:
    with catalog.journal.record(UploadRecord(target_path="/films/a")):
        pass
    request = UploadRecord(target_path="/films/b")
    catalog.queue.add([NewJob(request, JobRecord(operation_id="", command="upload", queue="any"))])
    assert "work is waiting" in str(left(catalog))
    catalog.journal.run_requested(request.operation_id)
    with catalog.journal.record(UploadRecord(target_path="/films/b")):
        pass
    catalog.audit.seal()
    assert left(catalog) is None
    assert list(catalog.audit.verification().findings()) == []


def test_a_downgrade_below_0010_is_refused_if_there_are_schedules(catalog: Catalog) -> None:
    daily = ScheduleRecord(name="daily", cron="0 1 * * *", timezone="UTC", command=["verify"], host="nas", cwd="/")
    with catalog.database.transaction() as session:
        session.add(daily)
    assert "there are schedules" in str(left(catalog))
    with catalog.database.transaction() as session:
        session.delete(daily)
    assert left(catalog) is None


@pytest.mark.parametrize("kind", ["undo", "retry", "cancelled"])
def test_a_downgrade_below_0010_is_refused_if_a_hash_covers_what_is_new(kind: str, catalog: Catalog) -> None:
    upload = UploadRecord(target_path="/films/a", retry_of="11111111" if kind == "retry" else None)
    with catalog.journal.record(UndoRecord(undo_of="11111111") if kind == "undo" else upload):
        if kind == "cancelled":
            catalog.queue.cancel(upload.operation_id)
    assert "undone, retried or cancelled" in str(left(catalog))
    assert list(catalog.audit.verification().findings()) == []


@pytest.mark.parametrize("before", ["0009"])
def test_a_catalog_of_0009_takes_requests_once_it_is_upgraded(old: str) -> None:
    catalog = open_catalog(f"sqlite:///{old}")
    migrate.upgrade(catalog.database)
    catalog.queue.add([NewJob(VerifyRecord(), JobRecord(operation_id="", command="verify", queue="any"))])
    assert [(job.command, operation.status) for job, operation in catalog.queue.jobs()] == [("verify", "pending")]
    assert soundness.check(catalog.database) == []
    catalog.close()
