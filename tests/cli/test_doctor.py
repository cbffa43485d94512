"""`mgmt doctor`: it finds what is broken, names the command that fixes it, and changes nothing itself."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.doctor import machine
from mgmt.services.steps import orphans
from mgmt.storage import PROBE
from tests.faults.endpoint import refusing
from tests.moving import Mover
from tests.program import Done, Program
from tests.quirks import BUCKET, quirky
from tests.servers import Server, environment

CUT_OFF = """
import os, sys
from mgmt.catalog import UploadRecord, open_catalog
url, path, store, key, upload_id = sys.argv[1:]
record = UploadRecord(target_path=path, store=store, s3_object_key=key, index_key=key + ".x", upload_id=upload_id)
with open_catalog(url).journal.record(record, claim=path):
    os._exit(1)
"""


def diagnose(mgmt: Program) -> tuple[int, list[dict[str, Any]]]:
    done = mgmt.run("-o", "json", "doctor")
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def found(findings: list[dict[str, Any]], state: str) -> list[tuple[str, str]]:
    """The findings in `state`, except those about the disks of the test machine, and that a new bucket has no rules."""
    left_out = ("disk", "parts")
    some = [each for each in findings if each["area"] not in left_out and each["what"] not in left_out]
    return [(each["area"], each["what"]) for each in some if each["state"] == state]


def the(findings: list[dict[str, Any]], area: str, what: str) -> dict[str, Any]:
    (finding,) = [each for each in findings if (each["area"], each["what"]) == (area, what)]
    return finding


def fix(mgmt: Program, finding: dict[str, Any]) -> None:
    """Run the command of the finding."""
    command = shlex.split(finding["next"])
    if command[0] == "mgmt":
        mgmt.ok(*command[1:])
    else:
        subprocess.run(command, check=True)


def everything(home: Path) -> dict[Path, tuple[int, bytes] | None]:
    """All files with their times and contents, and all folders. Of folders no times: SQLite's -wal comes and goes."""
    return {path: None if path.is_dir() else (path.stat().st_mtime_ns, path.read_bytes()) for path in home.rglob("*")}


def archived(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("precious")
    mgmt.ok("upload", "notes")


def cut_off(mgmt: Program, key: str = "movie.tar.gz", upload_id: str = "") -> None:
    arguments = (mgmt.records.url, str(mgmt.work / "movie"), mgmt.store, key, upload_id)
    assert subprocess.run([sys.executable, "-c", CUT_OFF, *arguments]).returncode == 1


def test_a_healthy_setup_has_no_findings_and_is_not_changed(anywhere: Program) -> None:
    archived(anywhere)
    anywhere.ok("config", "set", "level", "fast")
    before = everything(anywhere.home)
    status, findings = diagnose(anywhere)
    assert status == 0
    assert found(findings, "problem") == found(findings, "warning") == []
    assert {each["area"] for each in findings} == {"python", "disk", "configuration", "catalog", "store"}
    assert everything(anywhere.home) == before
    assert all(each["type"] == "finding" for each in findings)


@pytest.mark.sqlite
def test_doctor_creates_nothing(mgmt: Program) -> None:
    mgmt.work  # noqa: B018 - it is made when it is first asked for
    before = everything(mgmt.home)
    status, findings = diagnose(mgmt)
    assert status == 0
    assert "does not exist yet" in the(findings, "catalog", "file")["detail"]
    assert everything(mgmt.home) == before


@pytest.mark.sqlite
def test_doctor_does_not_convert_a_catalog_from_a_backup(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.ok("db", "backup", mgmt.home / "copy.db")
    os.replace(mgmt.home / "copy.db", mgmt.catalog)
    before = everything(mgmt.home)
    assert diagnose(mgmt)[0] == 0
    assert everything(mgmt.home) == before


def test_each_output_format_has_every_finding(mgmt: Program) -> None:
    lines = mgmt.ok("-o", "jsonl", "doctor").splitlines()
    assert {json.loads(line)["type"] for line in lines} == {"finding"}
    header, *rows = mgmt.ok("-o", "csv", "doctor").splitlines()
    assert header == "type,area,what,state,detail,next,exit_status"
    assert len(rows) == len(lines)
    assert len(mgmt.ok("doctor").splitlines()) == len(lines)
    mgmt.store = ""
    assert "try: mgmt config set store" in mgmt.run("doctor").stdout


def test_other_checks_run_with_a_broken_configuration(mgmt: Program) -> None:
    archived(mgmt)
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True, mode=0o700)
    for text in ("this is no TOML", "colour = 'blue'", "level = 'best'"):
        path.write_text(text)
        path.chmod(0o600)
        status, findings = diagnose(mgmt)
        assert status == 2
        assert found(findings, "problem") == [("configuration", "settings")]
        assert str(path) in the(findings, "configuration", "settings")["next"]
        assert the(findings, "catalog", "soundness")["state"] == the(findings, "store", "access")["state"] == "ok"
    mgmt.environment = {"MGMT_LEVEL": "best"}
    path.unlink()
    status, findings = diagnose(mgmt)
    assert status == 2
    assert found(findings, "problem") == [("configuration", "settings")]


@pytest.mark.sqlite
def test_doctor_reports_files_readable_by_others(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.ok("config", "set", "level", "fast")
    config = mgmt.home / "config" / "mgmt" / "config.toml"
    for path in (config, config.parent, mgmt.catalog, mgmt.catalog.parent):
        path.chmod(0o755 if path.is_dir() else 0o644)
    status, findings = diagnose(mgmt)
    assert status == 0
    warnings = [each for each in findings if each["what"] == "permissions"]
    assert [each["state"] for each in warnings] == ["warning"] * 4
    for each in warnings:
        fix(mgmt, each)
    assert found(diagnose(mgmt)[1], "warning") == []


def test_an_older_or_newer_schema_is_a_problem(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.ok("db", "downgrade", "0001")
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "problem")) == (12, [("catalog", "schema")])
    fix(mgmt, the(findings, "catalog", "schema"))
    assert diagnose(mgmt)[0] == 0
    mgmt.records.change("UPDATE alembic_version SET version_num = '9999'")
    status, findings = diagnose(mgmt)
    assert status == 12
    assert "newer" in the(findings, "catalog", "schema")["detail"]


def garbage(path: Path) -> None:
    path.write_bytes(b"anything but a database" * 1000)


def flipped(path: Path) -> None:
    """Change the type of every page but the first."""
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start] ^= 0xFF
    path.write_bytes(data)


def orphaned(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("DELETE FROM files")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")


@pytest.mark.sqlite
@pytest.mark.parametrize("spoil", [garbage, flipped, orphaned, foreign])
def test_other_checks_run_with_a_damaged_catalog(mgmt: Program, spoil: Callable[[Path], None]) -> None:
    archived(mgmt)
    spoil(mgmt.catalog)
    mgmt.catalog.chmod(0o600)
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "problem")) == (12, [("catalog", "soundness")])
    assert the(findings, "catalog", "soundness")["next"]
    assert the(findings, "store", "access")["state"] == "ok"


@pytest.mark.sqlite
def test_the_worst_problem_decides_the_exit_status(mgmt: Program) -> None:
    archived(mgmt)
    garbage(mgmt.catalog)
    mgmt.store = "file:///no/such/disk/store"
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "problem")) == (12, [("catalog", "soundness"), ("store", "access")])
    mgmt.catalog.unlink()
    assert diagnose(mgmt)[0] == 5


def test_interrupted_operations_are_a_warning(mgmt: Program) -> None:
    archived(mgmt)
    cut_off(mgmt)
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "warning")) == (0, [("catalog", "operations")])
    fix(mgmt, the(findings, "catalog", "operations"))
    assert found(diagnose(mgmt)[1], "warning") == []


def test_orphaned_uploads_are_a_warning(on_seaweed: Program, seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    archived(on_seaweed)
    client, bucket = seaweed.client(), on_seaweed.store.split("/")[2]
    ids = {}
    for key in ("movie.tar.gz", f"{PROBE}0123", "of-another-catalog"):
        place = {"Bucket": bucket, "Key": f"archive/{key}"}
        ids[key] = client.create_multipart_upload(**place)["UploadId"]
        client.upload_part(**place, UploadId=ids[key], PartNumber=1, Body=b"mgmt")
    status, findings = diagnose(on_seaweed)
    assert (status, found(findings, "warning")) == (0, [])  # a probe this young may be at work
    cut_off(on_seaweed, "movie.tar.gz", ids["movie.tar.gz"])
    monkeypatch.setattr(orphans, "OLD", timedelta(minutes=-5))
    status, findings = diagnose(on_seaweed)
    assert (status, found(findings, "warning")) == (0, [("catalog", "operations"), ("store", "uploads")])
    uploads = the(findings, "store", "uploads")
    assert "2 orphaned, with 8 bytes; 1 more" in uploads["detail"]
    assert "would be removed" in on_seaweed.ok("recover", "-n")
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 3
    fix(on_seaweed, uploads)
    (left,) = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert left["Key"] == "archive/of-another-catalog"
    assert found(diagnose(on_seaweed)[1], "warning") == []


def test_refused_credentials_are_a_problem(on_seaweed: Program) -> None:
    on_seaweed.environment = {**on_seaweed.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
    status, findings = diagnose(on_seaweed)
    assert (status, found(findings, "problem")) == (1, [("store", "access")])
    assert "credentials" in the(findings, "store", "access")["detail"]
    assert the(findings, "store", "access")["next"]


@pytest.mark.parametrize(("hours", "says"), [(2, "behind"), (-48, "ahead of")])
def test_a_wrong_clock_is_a_warning(mgmt: Program, hours: int, says: str) -> None:
    with refusing("RequestTimeTooSkewed", 403, datetime.now(UTC) + timedelta(hours=hours)) as url:
        mgmt.store, mgmt.environment = "s3://bucket/archive", environment(url)
        status, findings = diagnose(mgmt)
    assert (status, found(findings, "warning")) == (1, [("store", "clock")])
    assert f"{abs(hours) * 60} min {says} the store's" in the(findings, "store", "clock")["detail"]
    assert "the clock is wrong" in the(findings, "store", "access")["detail"]


def test_missing_compressors_are_a_problem(mgmt: Program, tmp_path: Path) -> None:
    (tmp_path / "broken" / "isal").mkdir(parents=True)
    (tmp_path / "broken" / "isal" / "__init__.py").write_text("raise ImportError('libisal.so.2: not found')")
    done = mgmt.run_process("-o", "json", "doctor", environment={"PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    assert found(findings, "problem") == [("python", "native compressors")]
    assert "libisal.so.2" in the(findings, "python", "native compressors")["detail"]
    assert the(findings, "store", "access")["state"] == "ok"


def test_a_full_disk_is_a_warning_then_a_problem(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOW_SPACE", 1 << 60)
    status, findings = diagnose(mgmt)
    assert status == 0
    assert {each["state"] for each in findings if each["area"] == "disk"} == {"warning"}
    monkeypatch.setattr(machine, "NO_SPACE", 1 << 60)
    status, findings = diagnose(mgmt)
    assert status == 1
    disks = [each for each in findings if each["area"] == "disk"]
    ours = {"the catalog"} if mgmt.records.url.startswith("sqlite") else set()  # a server's disks are its own
    assert {each["what"] for each in disks} == {"temporary files", "completed originals", "the store", *ours}
    assert {each["state"] for each in disks} == {"problem"}


def test_one_error_line_summarizes_the_problems(mgmt: Program) -> None:
    mgmt.store = ""
    done: Done = mgmt.run("doctor")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "mgmt: 1 problem: configuration, store: no store is configured"


def test_a_directory_store_that_does_not_exist_is_a_warning(mgmt: Program) -> None:
    mgmt.store += "-mistyped"
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "warning")) == (0, [("store", "access")])
    access = the(findings, "store", "access")
    assert "does not exist: the first upload creates it" in access["detail"]
    assert access["next"].startswith("mgmt config set store file:///DIRECTORY")
    assert not (mgmt.home / "store-mistyped").exists()


def test_a_directory_store_that_is_missing_with_its_archives_is_a_problem(mgmt: Program) -> None:
    (mgmt.work / "notes").write_text("precious")
    mgmt.ok("upload", "notes")
    (mgmt.home / "store").rename(mgmt.home / "not mounted")
    status, findings = diagnose(mgmt)
    assert (status, found(findings, "problem")) == (5, [("store", "access")])
    assert "its disk may not be mounted" in the(findings, "store", "access")["detail"]


def test_work_that_nobody_takes_is_a_warning(mgmt: Program) -> None:
    (mgmt.work / "a").write_text("a")
    mgmt.ok("upload", "a", "--later")
    assert the(diagnose(mgmt)[1], "catalog", "work")["state"] == "ok"
    mgmt.records.change("UPDATE jobs SET requested_at = ?", "2026-01-01 00:00:00.000000")
    finding = the(diagnose(mgmt)[1], "catalog", "work")
    assert (finding["state"], finding["next"].splitlines()[0]) == ("warning", "mgmt worker")
    mgmt.ok("worker", "--until-empty")
    assert the(diagnose(mgmt)[1], "catalog", "work")["state"] == "ok"


def test_notifications_that_were_given_up_are_a_warning(mgmt: Program) -> None:
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text('[[notify]]\nname = "mine"\ncommand = ["false"]\n')
    path.chmod(0o600)
    assert mgmt.run("upload", "missing").returncode == 4
    (waiting,) = mgmt.json("notify", "ls")
    assert the(diagnose(mgmt)[1], "catalog", "notifications")["state"] == "ok"
    assert mgmt.run("notify", "retry", waiting["message_id"]).returncode == 4
    mgmt.records.change("UPDATE outbox SET given_up = ?", True)
    finding = the(diagnose(mgmt)[1], "catalog", "notifications")
    assert (finding["state"], finding["next"].splitlines()[0]) == ("warning", "mgmt notify retry")
    assert finding["detail"] == "1 given up; the newest, of the rule mine: command ended with exit status 1"
    assert mgmt.run("notify", "retry", "no-such-message").returncode == 4
    path.write_text(path.read_text().replace("false", "true"))
    (again,) = mgmt.json("notify", "retry")
    assert (again["message_id"], again["status"]) == (waiting["message_id"], "waiting")
    assert mgmt.run("upload", "missing").returncode == 4
    assert {each["status"] for each in mgmt.json("notify", "ls")} == {"delivered"}
    assert the(diagnose(mgmt)[1], "catalog", "notifications")["state"] == "ok"
    assert mgmt.json("notify", "retry") == []


def rule(inner: str, name: str = "theirs", status: str = "Enabled") -> str:
    return f"<Rule><ID>{name}</ID><Status>{status}</Status>{inner}</Rule>"


def below(prefix: str) -> str:
    return f"<Filter><Prefix>{prefix}</Prefix></Filter>"


TAGGED = "<Filter><And><Prefix>archive/</Prefix><Tag><Key>class</Key><Value>cold</Value></Tag></And></Filter>"
FREEZE = "<Transition><Days>30</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>"
COOL = "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"
EXPIRE = "<Expiration><Days>365</Days></Expiration>"
MARKERS = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
ABORT = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"


@pytest.mark.parametrize(
    ("rules", "warnings"),
    [
        (None, ["no rule of the bucket aborts"]),
        (rule(below("") + ABORT), []),
        (rule(below("archive/") + ABORT), []),
        (rule(below("archive/old/") + ABORT), ["no rule of the bucket aborts"]),
        (rule(below("") + ABORT, status="Disabled"), ["no rule of the bucket aborts"]),
        (rule(below("") + ABORT + FREEZE), ["'theirs' of the bucket moves all objects to DEEP_ARCHIVE after 30 days"]),
        (rule("<Prefix>archive/2020</Prefix>" + FREEZE) + rule(below("") + ABORT), ["freezes the indexes"]),
        (rule(TAGGED + FREEZE) + rule(below("") + ABORT), []),
        (rule(below("other/") + FREEZE + EXPIRE) + rule(below("") + ABORT), []),
        (rule(below("") + ABORT + COOL + MARKERS), []),
        (rule(below("") + ABORT + EXPIRE), ["removes archives and indexes after 365 days"]),
        (rule(TAGGED + EXPIRE) + rule(below("") + ABORT), ["removes archives with its tags after 365 days"]),
    ],
)
def test_lifecycle_rules_that_do_harm_are_warned_of(rules: str | None, warnings: list[str], tmp_path: Path) -> None:
    with quirky(Mover) as endpoint:
        endpoint.rules = rules
        mgmt = Program(tmp_path, f"s3://{BUCKET}/archive", endpoint.environment)
        status, findings = diagnose(mgmt)
        assert endpoint.count("^PUT .*lifecycle") == 0
    assert status == 0
    seen = [each for each in findings if each["area"] == "store" and each["what"] in ("lifecycle", "parts")]
    warned = [each for each in seen if each["state"] == "warning"]
    assert [each["detail"] for each in warned] == [Holding(each) for each in warnings]
    for each in warned:
        advised = json.loads(each["next"].splitlines()[-1])["Rules"]
        assert [rule["Filter"].get("Prefix", "archive/") for rule in advised] == ["archive/"] * 2
        assert advised[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


class Holding(str):
    """Equal to any text that has this one in it."""

    def __eq__(self, other: object) -> bool:
        return str(self) in str(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("answer", ["403 AccessDenied", "501 NotImplemented", "405 MethodNotAllowed"])
def test_rules_that_cannot_be_seen_are_no_problem(answer: str, tmp_path: Path) -> None:
    with quirky(Mover) as endpoint:
        endpoint.rules = answer
        mgmt = Program(tmp_path, f"s3://{BUCKET}/archive", endpoint.environment)
        status, findings = diagnose(mgmt)
    assert status == 0
    assert "cannot be seen" in the(findings, "store", "lifecycle")["detail"]
    assert the(findings, "store", "lifecycle")["state"] == "ok"


@pytest.mark.sqlite
def test_moto_tells_its_rules(on_moto: Program, moto: Server) -> None:
    client, bucket = moto.client(), on_moto.store.split("/")[2]
    advised = json.loads(the(diagnose(on_moto)[1], "store", "parts")["next"].splitlines()[-1])
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=advised)
    assert "after 7 days" in the(diagnose(on_moto)[1], "store", "lifecycle")["detail"]
