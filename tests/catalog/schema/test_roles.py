"""What each role of a PostgreSQL catalog can do, and statements by which a writer tries to do more."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from mgmt.catalog import Catalog, open_catalog
from mgmt.catalog.schema import roles
from mgmt.errors import CatalogError, ConfigurationError
from tests.faults.signal_at import Moment, run_signalled
from tests.postgresql import PostgreSQL
from tests.program import Program

_numbers = itertools.count(1)


@dataclass
class Team:
    """A catalog created by its owner, and a login for each role."""

    url: str
    """The URL of the login that created the database."""
    names: roles.Roles

    def login(self, role: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{role}_login:secret@{parts.hostname}:{parts.port}"))

    @property
    def owner(self) -> str:
        return self.login(self.names.owner)

    @property
    def writer(self) -> str:
        return self.login(self.names.writer)

    @property
    def reader(self) -> str:
        return self.login(self.names.reader)


@pytest.fixture
def team(postgresql_server: PostgreSQL) -> Iterator[Team]:
    names = roles.Roles.named(f"t{os.getpid()}_{next(_numbers)}")
    each = (names.owner, names.writer, names.reader)
    with postgresql_server.database() as url:
        catalog = open_catalog(url)
        roles.apply(catalog.database, names)
        catalog.close()
        with psycopg.connect(url, autocommit=True) as connection:
            for role in each:
                connection.execute(f"CREATE ROLE {role}_login LOGIN PASSWORD 'secret' IN ROLE {role}".encode())
        yield Team(url, names)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {', '.join(each)}".encode())
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        for role in each:
            connection.execute(f"DROP ROLE {role}_login".encode())
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def program(team: Team, tmp_path: Path) -> Program:
    """mgmt as the writer runs it."""
    (tmp_path / "store").mkdir()
    program = Program(tmp_path, f"file://{tmp_path}/store", {"MGMT_CATALOG": team.writer})
    for name in ("clip", "second", "third"):
        (program.work / name).write_text(f"contents of {name}")
    return program


def test_a_writer_can_run_every_command(program: Program) -> None:
    program.ok("-q", "upload", "clip", "second")
    program.ok("-q", "download", "clip", "--to", "back")
    program.ok("search", "clip")
    program.ok("status", "clip")
    program.ok("verify", "--all")
    program.ok("-q", "free", "clip", "--yes")
    program.ok("-q", "delete", "second", "--yes")
    run_signalled(program, ["-q", "upload", "third"], Moment("finish_upload"), 9)
    assert [each["action"] for each in program.json("recover")] == [
        "finished: the archive was proven, the original is moved"
    ]
    program.ok("db", "rebuild")
    program.ok("db", "check")
    program.ok("ls", "--members", "clip")
    done = program.run("upload", "nothing")
    assert done.returncode == 4
    statuses = {each["operation_type"]: each["status"] for each in program.json("log", "--limit", "100")}
    assert statuses == dict.fromkeys(statuses, "success")
    assert {"upload", "batch", "download", "search", "verify", "free", "delete", "recover", "rebuild"} <= set(statuses)


def test_a_reader_can_only_read(program: Program, team: Team) -> None:
    program.ok("-q", "upload", "clip")
    operations = program.json("log")
    reader = Program(program.home, program.store, {"MGMT_CATALOG": team.reader})
    assert reader.json("log") == operations
    reader.ok("ls", "-l")
    reader.ok("ls", "--members", "clip")
    for arguments in (["search", "clip"], ["status", "clip"], ["-o", "json", "download", "clip", "--to", "back"]):
        done = reader.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "not recorded" in done.stderr
    for arguments in (["upload", "second"], ["recover"], ["delete", "clip", "--yes", "--last-copy"], ["db", "rebuild"]):
        done = reader.run(*arguments)
        assert (done.returncode, "permission denied" in done.stderr) == (12, True), done.stderr
    assert (program.work / "second").exists()
    assert program.json("log") == operations


def test_the_owner_can_migrate(team: Team, program: Program) -> None:
    program.ok("-q", "upload", "clip")
    owner = Program(
        program.home, program.store, {"MGMT_CATALOG": f"{team.owner}?options=-c%20role%3D{team.names.owner}"}
    )
    assert program.run("db", "downgrade", "0003").returncode == 12
    owner.ok("db", "downgrade", "0003")
    assert program.run("log").returncode == 12
    upgraded = owner.ok("db", "upgrade")
    roles_again = ("db", "roles", "--apply", "--prefix", team.names.owner.removesuffix("_owner"))
    assert f"the role {team.names.reader} lacks SELECT on seals" in upgraded
    assert f"the role {team.names.writer} lacks UPDATE on searches" in upgraded
    assert f"  try: mgmt {' '.join(roles_again)}" in upgraded
    done = program.run("db", "check")
    assert (done.returncode, f"the role {team.names.writer} lacks UPDATE on searches" in done.stdout) == (12, True)
    refused = program.run(*roles_again)
    assert (refused.returncode, "needs CREATEROLE" in refused.stderr) == (12, True)
    owner.ok(*roles_again)
    assert owner.json("db", "upgrade")["lacking"] == []
    program.ok("-q", "upload", "second")
    program.ok("db", "check")


EVERYTHING = ("operations", "uploads", "downloads", "searches", "verifications", "operation_files", "seals")

ENDED = "operation_id = '{id}'"
"""The values of a finished upload, for the statements below."""

CHANGES = {
    "update": "UPDATE operations SET error_message = 'x' WHERE " + ENDED,
    "update of the status": "UPDATE operations SET status = 'running' WHERE " + ENDED,
    "update of everything": "UPDATE operations SET error_message = 'x'",
    "update through a join": "UPDATE operations SET error_message = 'x' FROM uploads u "
    "WHERE u.operation_id = operations.operation_id",
    "update in a WITH": "WITH x AS (UPDATE operations SET error_message = 'x' RETURNING 1) SELECT count(*) FROM x",
    "update of the id": "UPDATE operations SET operation_id = 'x' WHERE " + ENDED,
    "update of the number": "UPDATE operations SET seq = 4711 WHERE " + ENDED,
    "update of the start": "UPDATE operations SET started_at = now() WHERE " + ENDED,
    "update of an upload": "UPDATE uploads SET digest = 'x' WHERE " + ENDED,
    "update of all uploads": "UPDATE uploads SET digest = 'x'",
    "update of an upload's id": "UPDATE uploads SET operation_id = 'x' WHERE " + ENDED,
    "update of a download": "UPDATE downloads SET digest = 'x'",
    "update of a search": "UPDATE searches SET keyword = 'x'",
    "update of a verification": "UPDATE verifications SET proof = 'x'",
    "update of a link": "UPDATE operation_files SET role = 'index'",
    "update of a hash": "UPDATE operations SET sha256 = 'x' WHERE " + ENDED,
    "update of where it is sealed": "UPDATE operations SET seal = seal + 1 WHERE " + ENDED,
    "no longer sealed": "UPDATE operations SET seal = NULL, sha256 = NULL",
    "update of a seal": "UPDATE seals SET digest = 'x'",
    "delete of a seal": "DELETE FROM seals",
    "truncate of the seals": "TRUNCATE seals",
    "delete": "DELETE FROM operations WHERE " + ENDED,
    "delete of an upload": "DELETE FROM uploads WHERE " + ENDED,
    "delete of everything": "DELETE FROM operations",
    "delete of all downloads": "DELETE FROM downloads",
    "delete of all searches": "DELETE FROM searches",
    "delete of all verifications": "DELETE FROM verifications",
    "delete of a link": "DELETE FROM operation_files WHERE " + ENDED,
    "delete through a join": "DELETE FROM operations USING uploads u WHERE u.operation_id = operations.operation_id",
    "delete of a file": "DELETE FROM files",
    "upsert": "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args) "
    "VALUES ('{id}', 'upload', now(), 'running', '{{}}', '{{}}') "
    "ON CONFLICT (operation_id) DO UPDATE SET status = 'failed'",
    "upsert of an upload": "INSERT INTO uploads (operation_id, compression_type) VALUES ('{id}', 'x') "
    "ON CONFLICT (operation_id) DO UPDATE SET compression_type = 'x'",
    "insert over it": "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, "
    "command_args) VALUES ('{id}', 'upload', now(), 'running', '{{}}', '{{}}')",
    "insert at its number": "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, "
    "command_args, seq) VALUES ('x', 'status', now(), 'running', '{{}}', '{{}}', 1) ",
    "insert of another part": "INSERT INTO downloads (operation_id) VALUES ('{id}')",
    "insert of another link": "INSERT INTO operation_files (operation_id, file_id, role) "
    "SELECT '{id}', max(id), 'index' FROM files",
    "a type of its own": "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, "
    "command_args) VALUES ('x', 'rogue', now(), 'success', '{{}}', '{{}}')",
    "another type": "UPDATE operations SET operation_type = 'rogue'",
    "a seal of a high number": "INSERT INTO seals VALUES (999999, now(), '[]', NULL, 'x')",
    "a seal of another chain": "CREATE TEMPORARY TABLE seals AS SELECT * FROM seals LIMIT 0; "
    "INSERT INTO public.seals VALUES (1, now(), '[]', NULL, 'x')",
    "a prune of its own": "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, "
    "command_args) VALUES ('x', 'prune', now(), 'running', '{{}}', '{{}}'); INSERT INTO prunes (operation_id, "
    "ended_before, removed_count, removed) VALUES ('x', now(), 1, '1')",
    "merge": "MERGE INTO operations o USING (SELECT '{id}' AS id) x ON o.operation_id = x.id "
    "WHEN MATCHED THEN UPDATE SET status = 'failed'",
    "merge that deletes": "MERGE INTO uploads o USING (SELECT '{id}' AS id) x ON o.operation_id = x.id "
    "WHEN MATCHED THEN DELETE",
    "a temporary view": "CREATE TEMPORARY VIEW v AS SELECT * FROM operations; UPDATE v SET error_message = 'x'",
    "a temporary function": "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS "
    "'UPDATE operations SET error_message = ''x'''; SELECT pg_temp.f()",
    "a block": "DO $$ BEGIN UPDATE operations SET error_message = 'x';\nEND $$",
    "a cursor": "DECLARE c CURSOR FOR SELECT * FROM operations WHERE " + ENDED + " FOR UPDATE; FETCH c; "
    "UPDATE operations SET error_message = 'x' WHERE CURRENT OF c",
    "a prepared statement": "PREPARE p AS UPDATE operations SET error_message = 'x'; EXECUTE p; DEALLOCATE p",
    "no row security": "SET row_security = off; UPDATE operations SET error_message = 'x'",
    "row security off": "ALTER TABLE operations DISABLE ROW LEVEL SECURITY",
    "another policy": "CREATE POLICY mine ON operations FOR UPDATE USING (true)",
    "no policy": "DROP POLICY mgmt_update ON operations",
    "a changed policy": "ALTER POLICY mgmt_update ON operations USING (true)",
    "truncate": "TRUNCATE operations CASCADE",
    "truncate of uploads": "TRUNCATE uploads",
    "truncate of links": "TRUNCATE operation_files",
    "alter": "ALTER TABLE operations DROP COLUMN error_message",
    "alter of a type": "ALTER TABLE operations ALTER COLUMN error_message TYPE text USING 'x'",
    "rename": "ALTER TABLE operations RENAME TO other",
    "drop": "DROP TABLE operations CASCADE",
    "drop of uploads": "DROP TABLE uploads",
    "drop of the schema": "DROP SCHEMA public CASCADE",
    "drop of all it owns": "DROP OWNED BY CURRENT_USER; DROP OWNED BY {owner}",
    "triggers off": "ALTER TABLE operations DISABLE TRIGGER ALL",
    "a trigger": "CREATE TRIGGER t BEFORE UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION "
    "suppress_redundant_updates_trigger()",
    "a rule": "CREATE RULE r AS ON SELECT TO operations DO INSTEAD SELECT 1",
    "a rule on insert": "CREATE RULE r AS ON INSERT TO operations DO ALSO UPDATE operations SET error_message = 'x'",
    "a foreign key": "ALTER TABLE uploads DROP CONSTRAINT fk_uploads_operation_id_operations",
    "a table that inherits": "CREATE TABLE mine () INHERITS (operations)",
    "a table of its own": "CREATE TABLE public.mine (x integer)",
    "replication role": "SET session_replication_role = replica; UPDATE operations SET error_message = 'x'",
    "set role": "SET ROLE {owner}; UPDATE operations SET error_message = 'x'",
    "session authorization": "SET SESSION AUTHORIZATION {owner}; UPDATE operations SET error_message = 'x'",
    "grant of the role": "GRANT {owner} TO CURRENT_USER",
    "grant of the right": "GRANT ALL ON operations TO CURRENT_USER; UPDATE operations SET error_message = 'x'",
    "the owner's name": "ALTER TABLE operations OWNER TO CURRENT_USER",
    "another role": "CREATE ROLE mine SUPERUSER LOGIN",
    "a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "a role without row security": "ALTER ROLE CURRENT_USER BYPASSRLS",
    "reassign": "REASSIGN OWNED BY {owner} TO CURRENT_USER",
    "copy": "COPY operations (operation_id) FROM '/dev/null'",
    "copy by a program": "COPY operations (operation_id) FROM PROGRAM 'echo x'",
    "copy to a program": "COPY operations TO PROGRAM 'cat'",
    "copy from here": "COPY operations (operation_id, operation_type) FROM STDIN",
    "the catalog of the server": "UPDATE pg_class SET relrowsecurity = false WHERE relname = 'operations'",
    "another number": "SELECT setval('operations_seq_seq', 1)",
    "the number starts again": "ALTER SEQUENCE operations_seq_seq RESTART",
    "the schema's revision": "UPDATE alembic_version SET version_num = '9999'",
    "a lock for good": "LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE",
    "a vacuum that rewrites": "CLUSTER operations USING pk_operations",
    "an index": "CREATE INDEX mine ON operations (status)",
    "no index": "DROP INDEX uq_operations_claim",
    "a comment": "COMMENT ON TABLE operations IS 'x'",
    "a security label": "SECURITY LABEL ON TABLE operations IS 'x'",
    "large objects": "SELECT lo_import('/etc/passwd')",
    "another extension": "CREATE EXTENSION file_fdw",
}


def history(team: Team) -> dict[str, list[Any]]:
    with psycopg.connect(team.url) as connection:
        tables = (*EVERYTHING, "files", "alembic_version", "pg_policies")
        found = {name: connection.execute(f"SELECT * FROM {name}".encode()).fetchall() for name in tables}
        found["rights"] = connection.execute(
            "SELECT relname, relowner, relacl::text, relrowsecurity, relkind FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {name: sorted(rows, key=repr) for name, rows in found.items()}


def test_a_writer_cannot_change_a_finished_operation(program: Program, team: Team) -> None:
    program.ok("-q", "upload", "clip", "second")
    program.ok("-q", "download", "clip", "--to", "back")
    program.ok("search", "clip")
    program.ok("verify", "--all")
    upload = program.json("log", "--type", "upload")[0]
    before = history(team)
    assert all(before[name] for name in EVERYTHING)
    answers = {}
    for name, statements in CHANGES.items():
        answers[name] = tried(team, statements.format(id=upload["operation_id"], owner=team.names.owner))
        assert history(team) == before, name
    assert {name for name, answer in answers.items() if answer == ""} == CHANGES_NOTHING
    assert set(answers.values()) <= REFUSED, {name: each for name, each in answers.items() if each not in REFUSED}
    program.ok("-q", "upload", "third")


def tried(team: Team, statements: str) -> str:
    """The SQLSTATE of the error; empty if there was none."""
    with psycopg.connect(team.writer) as connection:
        try:
            for statement in statements.split("; "):
                connection.execute(statement.encode())
            connection.commit()
        except psycopg.Error as error:
            return str(error.sqlstate)
    return ""


REFUSED = {
    "",  # nothing changed, see below
    "23000",  # refused by a trigger
    "42501",  # refused by a missing right or row-level security
    "23505",  # a duplicate key
    "24000",  # the cursor is on no row
    "0A000",  # row-level security does not support COPY FROM
    "22023",  # no provider of security labels
}
CHANGES_NOTHING = {
    "update", "update of the status", "update of everything", "update through a join", "update in a WITH",
    "update of an upload", "update of all uploads", "update of a download", "update of a search",
    "update of a verification", "grant of the right", "a temporary view", "a temporary function", "a block",
    "a prepared statement", "update of a hash", "update of where it is sealed", "no longer sealed",
    "update of the start",
}  # fmt: skip
"""Row-level security hides finished rows from an UPDATE, which then succeeds without changing any."""


def test_a_writer_can_change_and_finish_a_live_operation(team: Team) -> None:
    with psycopg.connect(team.writer) as connection:
        connection.execute(
            "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args) "
            "VALUES ('x', 'upload', now(), 'running', '{}', '{}')"
        )
        connection.execute("INSERT INTO uploads (operation_id, compression_type) VALUES ('x', 'gzip')")
        connection.commit()
        assert connection.execute("UPDATE uploads SET digest = 'd'").rowcount == 1
        assert connection.execute("UPDATE operations SET status = 'success', completed_at = now()").rowcount == 1
        assert connection.execute("UPDATE uploads SET digest = 'e'").rowcount == 1  # same transaction
        connection.commit()
        assert connection.execute("UPDATE uploads SET digest = 'f'").rowcount == 0
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="a finished operation"):
            connection.execute("UPDATE operations SET status = 'failed'")  # it is not sealed yet


def test_only_the_owner_can_prune(program: Program, team: Team) -> None:
    program.ok("search", "clip")
    before = history(team)
    prune = ("db", "prune", "--before", "0s", "--export", "old.jsonl.gz", "--yes")
    done = program.run(*prune)
    assert (done.returncode, "permission denied" in done.stderr) == (12, True), done.stderr
    assert history(team) == before
    assert not (program.work / "old.jsonl.gz").exists()
    owner = Program(
        program.home, program.store, {"MGMT_CATALOG": f"{team.owner}?options=-c%20role%3D{team.names.owner}"}
    )
    assert owner.json(*prune)["removed_count"] == 1
    program.ok("search", "clip")
    program.ok("audit", "verify")
    program.ok("db", "check")


@pytest.mark.sqlite
def test_sqlite_has_no_roles(sqlite_catalog: Catalog, on_directory: Program) -> None:
    with pytest.raises(ConfigurationError, match="no roles"):
        roles.apply(sqlite_catalog.database, roles.Roles.named("mgmt"))
    done = on_directory.run("db", "roles")
    assert (done.returncode, "no roles" in done.stderr) == (2, True)


@pytest.mark.parametrize("prefix", ["", "a-b", "Großes", "x; DROP TABLE operations", 'a"b', "a" * 60])
def test_an_invalid_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError):
        roles.Roles.named(prefix)


def test_the_printed_statements_can_be_run_again(team: Team, tmp_path: Path) -> None:
    program = Program(tmp_path, f"file://{tmp_path}/store", {"MGMT_CATALOG": team.url})
    prefix = team.names.owner.removesuffix("_owner")
    before = history(team)
    statements = program.ok("db", "roles", "--prefix", prefix)
    assert history(team) == before
    with psycopg.connect(team.url) as connection:
        connection.execute(statements.encode())
    assert history(team) == before
    told = program.json("db", "roles", "--prefix", prefix, "--apply")
    assert (told["writer"], told["applied"], told["sql"]) == (team.names.writer, True, statements.removesuffix("\n"))
    assert "with their rights" in program.ok("db", "roles", "--prefix", prefix, "--apply")
    assert history(team) == before


def test_a_login_without_createrole_is_reported(team: Team) -> None:
    catalog = open_catalog(team.writer)
    with pytest.raises(CatalogError, match="permission denied"):
        roles.apply(catalog.database, roles.Roles.named("nobody"))
    catalog.close()


def test_a_writer_can_request_work_and_run_it(program: Program, team: Team) -> None:
    made = program.json("upload", "clip", "second", "--later")
    chain = program.json("upload", "third", "--then", "verify", "--then", "free")
    reader = Program(program.home, program.store, {"MGMT_CATALOG": team.reader})
    waiting = reader.json("queue")
    assert [each["operation_id"] for each in waiting] == [each["operation_id"] for each in made + chain]
    for command in (
        ["cancel", chain[0]["operation_id"]],
        ["run", chain[0]["operation_id"]],
        ["upload", "x", "--later"],
    ):
        refused = reader.run(*command)
        assert refused.returncode != 0, refused.stdout
    assert reader.json("queue") == waiting
    program.ok("db", "check")
    program.ok("audit", "verify")
    done = program.run_process("worker", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert program.json("queue") == []
    statuses = [(each["operation_type"], each["status"]) for each in program.json("log")]
    assert sorted(statuses) == [(kind, "success") for kind in ("batch", "free", "upload", "upload", "upload", "verify")]
    program.ok("db", "check")
    program.ok("audit", "verify")


def test_a_writer_can_change_and_remove_what_is_left_to_do(team: Team) -> None:
    with psycopg.connect(team.writer) as connection:
        for statement in (
            (
                "INSERT INTO operations (operation_id, operation_type, started_at, status, metadata, command_args) "
                "VALUES ('x', 'batch', now(), 'pending', '{}', '{}')"
            ),
            (
                "INSERT INTO jobs (operation_id, command, queue, attempt, attempts, backoff_seconds, fanned_out, held, "
                "requested_at) VALUES ('x', 'verify', 'any', 1, 1, 60, false, false, now())"
            ),
            "INSERT INTO job_dependencies VALUES ('x', 'y')",
            (
                "INSERT INTO schedules (name, cron, timezone, command, host, cwd, paused, created_at) "
                "VALUES ('daily', '0 1 * * *', 'UTC', '[]', 'nas', '/', false, now())"
            ),
            (
                "INSERT INTO outbox (message_id, rule, event, payload, created_at, next_try_at, attempts, given_up, "
                "host) VALUES ('m', 'r', 'e', '{}', now(), now(), 0, false, 'nas')"
            ),
        ):
            connection.execute(statement.encode())
        for table, column in (("jobs", "held"), ("schedules", "paused"), ("outbox", "given_up")):
            assert connection.execute(f"UPDATE {table} SET {column} = true".encode()).rowcount == 1
        assert connection.execute("UPDATE job_dependencies SET after_id = 'z'").rowcount == 1
        for table in ("outbox", "schedules", "job_dependencies", "jobs"):
            assert connection.execute(f"DELETE FROM {table}".encode()).rowcount == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("TRUNCATE jobs CASCADE")


def test_the_rights_on_what_is_left_to_do_are_granted_after_an_upgrade(team: Team, program: Program) -> None:
    owner = Program(
        program.home, program.store, {"MGMT_CATALOG": f"{team.owner}?options=-c%20role%3D{team.names.owner}"}
    )
    owner.ok("db", "downgrade", "0009")
    upgraded = owner.ok("db", "upgrade")
    assert f"the role {team.names.writer} lacks UPDATE on outbox" in upgraded
    done = program.run("upload", "clip", "--later")
    assert (done.returncode, "permission denied" in done.stderr) == (12, True), done.stderr
    owner.ok("db", "roles", "--apply", "--prefix", team.names.owner.removesuffix("_owner"))
    assert owner.json("db", "upgrade")["lacking"] == []
    program.ok("upload", "clip", "--later")
    assert program.json("log", "--status", "pending")[0]["target_name"] == "clip"


def test_a_login_that_cannot_remove_jobs_is_named(team: Team, program: Program) -> None:
    with psycopg.connect(team.url) as connection:
        connection.execute(f"REVOKE DELETE ON jobs FROM {team.names.writer}".encode())
    done = program.run("db", "check")
    assert (done.returncode, f"the role {team.names.writer} lacks DELETE on jobs" in done.stdout) == (12, True)
