"""The password of a PostgreSQL catalog is never shown nor recorded, wherever it is given and however it is written."""

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from mgmt.config import redact
from tests.program import Program

PASSWORD = "c4nary"
ESCAPED = "".join(f"%{ord(each):x}" for each in PASSWORD)
VALID = {
    "before the host": f"postgresql://ann:{PASSWORD}@127.0.0.1:9/db",
    "before the host, escaped": f"postgresql://ann:{quote('p@/:' + PASSWORD, safe='')}@127.0.0.1:9/db",
    "with a slash": f"postgresql://ann:x/{PASSWORD}@127.0.0.1:9/db",
    "with a question mark": f"postgresql://ann:x?{PASSWORD}@127.0.0.1:9/db",
    "with a space": f"postgresql://ann:x {PASSWORD}@127.0.0.1:9/db",
    "with an at sign": f"postgresql://ann:x@{PASSWORD}@127.0.0.1:9/db",
    "of a user with an at sign": f"postgresql://ann@corp:{PASSWORD}@127.0.0.1:9/db",
    "without a user": f"postgresql://:{PASSWORD}@127.0.0.1:9/db",
    "of the driver": f"postgresql+psycopg://ann:{PASSWORD}@127.0.0.1:9/db",
    "of libpq": f"postgres://ann:{PASSWORD}@127.0.0.1:9/db",
    "on IPv6": f"postgresql://ann:{PASSWORD}@[::1]:9/db",
    "in the query": f"postgresql://127.0.0.1:9/db?user=ann&password={PASSWORD}",
    "in the query, name escaped": f"postgresql://ann@127.0.0.1:9/db?connect_timeout=1&pass%77ord={PASSWORD}",
    "in the query, with other separators": f"postgresql://ann@127.0.0.1:9/db?password=x;y z {PASSWORD}",
    "of a key": f"postgresql://ann@127.0.0.1:9/db?sslpassword={PASSWORD}",
    "of OAuth": f"postgresql://ann@127.0.0.1:9/db?oauth_client_secret={PASSWORD}",
    "in upper case": f"postgresql://ann@127.0.0.1:9/db?PASSWORD={PASSWORD}",
    "in the options": f"postgresql://ann@127.0.0.1:9/db?options=-c%20x.password%3D{PASSWORD}",
    "in the name of the database": f"postgresql://127.0.0.1:9/host=127.0.0.1 password='x {PASSWORD}'",
}
INVALID = {
    "without a host": f"postgresql://ann:{PASSWORD}/db",
    "of several hosts": f"postgresql://ann:{PASSWORD}@127.0.0.1:9,127.0.0.1:10/db",
    "of another scheme": f"postgresq://ann:{PASSWORD}@127.0.0.1:9/db",
    "of another database": f"mysql://ann:{PASSWORD}@127.0.0.1:9/db?password={PASSWORD}",
    "without a scheme": f"ann:{PASSWORD}@127.0.0.1:9/db",
    "of a connection string": f"host=127.0.0.1 port=9 password={PASSWORD} user=ann",
}
COMMANDS = (
    "-vv ls",
    "-o json doctor",
    "-o json upload notes",
    "db current",
    "config show",
    "-o json config get catalog",
)


@pytest.mark.parametrize("url", [*VALID.values(), *INVALID.values()], ids=[*VALID, *INVALID])
@pytest.mark.sqlite
def test_a_password_in_the_url_is_not_shown(url: str, mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("x")
    by_environment = replace(mgmt, environment={"MGMT_CATALOG": url})
    runs = [by_environment.run(*line.split()) for line in COMMANDS] + [mgmt.run("--catalog", url, "ls")]
    for done in runs:
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        assert ESCAPED not in done.stdout + done.stderr
    assert url in VALID.values() or (runs[0].returncode, runs[-1].returncode) == (2, 2)


@pytest.mark.parametrize("url", VALID.values(), ids=VALID)
@pytest.mark.sqlite
def test_a_password_in_a_setting_is_not_recorded(url: str, mgmt: Program) -> None:
    done = mgmt.run("config", "set", "catalog", url)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    recorded = repr(mgmt.records.rows("SELECT * FROM operations"))
    assert "config" in recorded
    assert PASSWORD not in recorded
    assert PASSWORD not in mgmt.run("config", "unset", "catalog").stdout


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann@db.example:5432/mgmt?sslmode=require",
        "postgresql://[::1]:5432/mgmt",
        "postgresql:///mgmt?host=/run/postgresql",
        "sqlite:////home/ann/a:b@c=d.db",
        "s3://bucket/a:b@c=d",
        "http://127.0.0.1:9000",
        "/home/ann/a:b@c",
    ],
)
def test_what_holds_no_password_is_shown_whole(text: str) -> None:
    assert redact(text) == text


def test_a_password_of_libpq_is_neither_shown_nor_recorded(mgmt: Program, tmp_path: Path) -> None:
    """PGPASSWORD, and a file of passwords; for a server that can be reached, and for one that cannot."""
    passfile = tmp_path / "passfile"
    passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o600)
    (mgmt.work / "notes").write_text("x")
    for given in ({"PGPASSWORD": PASSWORD}, {"PGPASSFILE": os.fspath(passfile)}):
        for catalog in (mgmt.records.url, f"postgresql://ann@127.0.0.1:9/db?passfile={passfile}"):
            program = replace(mgmt, environment={**given, "MGMT_CATALOG": catalog})
            for line in (*COMMANDS, "config set threads 3", "-o json log", "db check"):
                done = program.run(*line.split())
                assert "Traceback" not in done.stderr
                assert PASSWORD not in done.stdout + done.stderr, line
