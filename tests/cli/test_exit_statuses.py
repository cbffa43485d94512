"""Every command with every exit status that it can have, in one table."""

import json
import shlex

import pytest

from mgmt.errors import ExitStatus
from tests.cli.situations import (
    Before,
    archived,
    busy,
    damaged,
    exported,
    foreign,
    freed,
    from_another_history,
    from_the_future,
    holding,
    last_operation,
    no_store,
    not_a_database,
    nothing,
    put_back,
    requested,
    requested_in_vain,
    scheduled,
    searched,
    searched_and_tampered,
    store_is_down,
    tampered,
    templates,
    two_of_a_name,
    vanished,
    with_a_media_hash_list,
    with_a_rule,
)
from tests.commands import LEAVES
from tests.program import Program

OK, FAILED, USAGE, PARTIAL, NOT_FOUND = 0, 1, 2, 3, 4
UNAVAILABLE, NOT_READY, REFUSED, INTEGRITY, CONFLICT, BUSY, CATALOG = 5, 6, 7, 8, 10, 11, 12

TABLE: list[tuple[Before, str, int]] = [
    (nothing, "report", OK),
    (archived, "report --since 7d --by tag:year --days 30", OK),
    (archived, "report --by colour", USAGE),
    (archived, "report --days 0", USAGE),
    (from_the_future, "report", CATALOG),
    (archived, "metrics mgmt.prom", OK),
    (archived, "metrics", USAGE),
    (from_the_future, "metrics -", CATALOG),
    (nothing, "upload notes", OK),
    (nothing, "upload notes photos", OK),
    (nothing, "upload all --key x.tar.gz", USAGE),
    (nothing, "upload --all", OK),
    (nothing, "upload --all --exclude *.tmp", PARTIAL),
    (nothing, "upload", USAGE),
    (nothing, "upload notes --level best", USAGE),
    (nothing, "upload notes --key ../up", USAGE),
    (nothing, "upload --all notes photos", USAGE),
    (no_store, "upload notes", USAGE),
    (nothing, "upload photos --exclude *.tmp", PARTIAL),
    (nothing, "upload notes missing", PARTIAL),
    (nothing, "upload missing", NOT_FOUND),
    (nothing, "upload missing gone", NOT_FOUND),
    (nothing, "upload missing -n", NOT_FOUND),
    (store_is_down, "upload notes", UNAVAILABLE),
    (nothing, "upload notes --proof server-checksum", REFUSED),
    (archived, "upload notes", CONFLICT),
    (archived, "upload notes --on-conflict skip", OK),
    (archived, "upload notes --on-conflict rename", OK),
    (busy, "upload notes", BUSY),
    (from_the_future, "upload notes", CATALOG),
    (not_a_database, "upload notes", CATALOG),
    (archived, "download notes --to back", OK),
    (archived, "download notes --to back -n", OK),
    (archived, "download notes --archive --to back", OK),
    (archived, "download notes --member notes --to back", OK),
    (archived, "download notes --mhl --to back", USAGE),
    (archived, "download notes --mhl --archive --to back", USAGE),
    (archived, "download", USAGE),
    (archived, "download notes --member x --archive", USAGE),
    (two_of_a_name, "download notes", USAGE),
    (archived, "download notes missing --to back", PARTIAL),
    (archived, "download missing", NOT_FOUND),
    (archived, "download notes --member missing --to back", NOT_FOUND),
    (vanished, "download notes --to back", NOT_FOUND),
    (damaged, "download notes --to back", INTEGRITY),
    (damaged, "download notes --archive --to back", INTEGRITY),
    (archived, "download notes", CONFLICT),
    (archived, "download notes --on-conflict rename", OK),
    (from_the_future, "download notes", CATALOG),
    (archived, "search NOTE", OK),
    (archived, "search nothing-like-it", OK),
    (archived, "search NOTE --live", OK),
    (archived, "search NOTE --live --tag a=b", USAGE),
    (archived, "search", USAGE),
    (archived, "search notes -i", REFUSED),
    (archived, "search notes --since yesterday-ish", USAGE),
    (from_the_future, "search notes", CATALOG),
    (archived, "ls", OK),
    (archived, "ls --live -l", OK),
    (archived, "ls --members notes", OK),
    (archived, "ls --live --location local", USAGE),
    (archived, "ls --members missing", NOT_FOUND),
    (from_the_future, "ls", CATALOG),
    (archived, "ls -l", OK),
    (archived, "log --stats", OK),
    (archived, "log --stats --after LAST", USAGE),
    (archived, "du", OK),
    (archived, "du --by tag:year", OK),
    (archived, "du --by year", USAGE),
    (from_the_future, "du", CATALOG),
    (archived, "status notes", OK),
    (vanished, "status notes", OK),
    (archived, "status", USAGE),
    (archived, "status missing", NOT_FOUND),
    (from_the_future, "status notes", CATALOG),
    (archived, "verify notes", OK),
    (archived, "verify --all", OK),
    (archived, "verify --sample 5%", OK),
    (archived, "verify", USAGE),
    (archived, "verify --sample 500%", USAGE),
    (archived, "verify missing", NOT_FOUND),
    (damaged, "verify notes", INTEGRITY),
    (vanished, "verify notes", INTEGRITY),
    (from_the_future, "verify --all", CATALOG),
    (with_a_media_hash_list, "mhl verify card", OK),
    (with_a_media_hash_list, "mhl verify changed", INTEGRITY),
    (with_a_media_hash_list, "mhl verify photos", NOT_FOUND),
    (with_a_media_hash_list, "mhl verify missing", NOT_FOUND),
    (archived, "mhl create notes", OK),
    (archived, "mhl create notes --format xxh64,md5 --to notes.mhl", OK),
    (archived, "mhl create notes --format sha256", USAGE),
    (archived, "mhl create missing", NOT_FOUND),
    (archived, "mhl create notes --to photos", CONFLICT),
    (damaged, "mhl create notes", INTEGRITY),
    (from_the_future, "mhl create notes", CATALOG),
    (archived, "free notes.tar.gz --yes", OK),
    (archived, "free --all --yes", OK),
    (archived, "free --all -n", OK),
    (archived, "free --older-than 30d --yes", OK),
    (archived, "free", USAGE),
    (freed, "free notes.tar.gz --yes", NOT_FOUND),
    (archived, "free notes.tar.gz", REFUSED),
    (damaged, "free notes.tar.gz --yes", INTEGRITY),
    (from_the_future, "free --all --yes", CATALOG),
    (archived, "delete notes.tar.gz --yes", OK),
    (archived, "delete notes.tar.gz -n", OK),
    (archived, "delete notes.tar.gz --yes --purge", OK),
    (archived, "delete", USAGE),
    (archived, "undelete notes.tar.gz", REFUSED),
    (archived, "undelete missing", NOT_FOUND),
    (archived, "undelete", USAGE),
    (archived, "lock notes.tar.gz --for 7y", REFUSED),
    (archived, "lock notes.tar.gz", USAGE),
    (archived, "lock missing --for 7y", NOT_FOUND),
    (archived, "upload photos --retain-for 7y", REFUSED),
    (archived, "upload photos --retain-until 2001-01-01", USAGE),
    (archived, "audit anchor --retain-for 7y", REFUSED),
    (archived, "delete missing --yes", NOT_FOUND),
    (archived, "delete notes.tar.gz", REFUSED),
    (freed, "delete notes.tar.gz --yes", REFUSED),
    (freed, "delete notes.tar.gz --yes --last-copy", OK),
    (from_the_future, "delete notes --yes", CATALOG),
    (archived, "log", OK),
    (archived, "history --type upload --status success --limit 1", OK),
    (archived, "log --status odd", USAGE),
    (archived, "log --after missing", NOT_FOUND),
    (from_the_future, "log", CATALOG),
    (archived, "recover", OK),
    (archived, "recover -n", OK),
    (archived, "recover now", USAGE),
    (archived, "recover --host elsewhere", NOT_FOUND),
    (from_the_future, "recover", CATALOG),
    (nothing, "ignore", OK),
    (with_a_rule, "notify test", OK),
    (with_a_rule, "notify ls", OK),
    (with_a_rule, "notify retry", OK),
    (nothing, "notify retry 7f3c2a91", NOT_FOUND),
    (nothing, "notify test", NOT_FOUND),
    (foreign, "ignore thing.tar.gz", OK),
    (foreign, "ignore missing", NOT_FOUND),
    (foreign, "ignore --undo thing.tar.gz", NOT_FOUND),
    (archived, "ignore notes.tar.gz", REFUSED),
    (archived, "ignore --undo", USAGE),
    (no_store, "ignore thing", USAGE),
    (from_the_future, "ignore thing", CATALOG),
    (nothing, "schedule add daily '0 2 * * *' -- upload notes", OK),
    (nothing, "schedule add daily '61 2 * * *' -- upload notes", USAGE),
    (nothing, "schedule add daily '0 2 * * *' -- doctor", USAGE),
    (nothing, "schedule add daily '0 2 * * *' -- free --all", REFUSED),
    (scheduled, "schedule add nightly '0 2 * * *' -- upload notes", CONFLICT),
    (scheduled, "schedule ls", OK),
    (scheduled, "schedule show nightly", OK),
    (scheduled, "schedule pause nightly", OK),
    (scheduled, "schedule resume nightly", OK),
    (scheduled, "schedule rm nightly", OK),
    (nothing, "schedule rm nightly", NOT_FOUND),
    (scheduled, "schedule run nightly", OK),
    (scheduled, "schedule install nightly --systemd", OK),
    (scheduled, "schedule install nightly", USAGE),
    (from_the_future, "schedule ls", CATALOG),
    (nothing, "worker install --systemd", OK),
    (nothing, "config template ls", OK),
    (templates, "config template show raw", OK),
    (nothing, "config template show raw", NOT_FOUND),
    (templates, "upload notes --template raw --keep", OK),
    (templates, "verify --all --template raw", USAGE),
    (nothing, "upload notes --template raw", NOT_FOUND),
    (nothing, "config show", OK),
    (nothing, "config path", OK),
    (nothing, "config get store", OK),
    (nothing, "config set level balanced", OK),
    (nothing, "config unset level", OK),
    (nothing, "config set level best", USAGE),
    (nothing, "config set colour blue", USAGE),
    (nothing, "config get region", NOT_FOUND),
    (nothing, "config init", REFUSED),
    (from_the_future, "config set level fast", OK),
    (archived, "audit verify", OK),
    (archived, "audit verify --no-anchors", OK),
    (nothing, "audit verify", OK),
    (tampered, "audit verify", INTEGRITY),
    (put_back, "audit verify", INTEGRITY),
    (put_back, "audit verify --no-anchors", OK),
    (store_is_down, "audit verify", UNAVAILABLE),
    (from_the_future, "audit verify", CATALOG),
    (archived, "audit anchor", OK),
    (nothing, "audit anchor", NOT_FOUND),
    (no_store, "audit anchor", USAGE),
    (archived, "tag notes year=2024 -draft", OK),
    (archived, "tag notes", USAGE),
    (archived, "tag notes year=2024 --sync-tags", REFUSED),
    (archived, "tag missing year=2024", NOT_FOUND),
    (archived, "class notes GLACIER_IR", REFUSED),
    (archived, "class notes COLD", USAGE),
    (archived, "class missing GLACIER_IR", NOT_FOUND),
    (archived, "class notes notes GLACIER_IR --later --yes", OK),
    (archived, "doctor", OK),
    (no_store, "doctor", USAGE),
    (archived, "doctor now", USAGE),
    (store_is_down, "doctor", UNAVAILABLE),
    (from_the_future, "doctor", CATALOG),
    (not_a_database, "doctor", CATALOG),
    (nothing, "db upgrade", OK),
    (archived, "db upgrade", OK),
    (archived, "db downgrade base", OK),
    (archived, "db downgrade 4711", USAGE),
    (archived, "db current", OK),
    (archived, "db history", OK),
    (archived, "db check", OK),
    (from_the_future, "db check", CATALOG),
    (archived, "db sql", OK),
    (archived, "db sql --dialect postgresql", OK),
    (archived, "db sql 1:2", USAGE),
    (archived, "db roles", USAGE),
    (archived, "db backup copy.db", OK),
    (archived, "db backup notes", CONFLICT),
    (archived, "db export history.jsonl.gz", OK),
    (archived, "db export history.jsonl --no-members", OK),
    (archived, "db export notes", CONFLICT),
    (from_the_future, "db export history.jsonl", CATALOG),
    (exported, "db import history.jsonl", OK),
    (archived, "db import missing", USAGE),
    (archived, "db import notes", INTEGRITY),
    (from_another_history, "db import history.jsonl", CONFLICT),
    (archived, "db prune --before 0s -n", OK),
    (archived, "db prune --before 2000-01-01", OK),
    (searched, "db prune --before 0s --yes", OK),
    (searched, "db prune --before 0s --yes --export old.jsonl.gz", OK),
    (searched, "db prune --before 0s --yes --export notes", CONFLICT),
    (searched, "db prune --before 0s", REFUSED),
    (searched_and_tampered, "db prune --before 0s --yes", INTEGRITY),
    (archived, "db prune", USAGE),
    (archived, "db prune --before yesterday", USAGE),
    (archived, "db prune --before 0s --type films", USAGE),
    (from_the_future, "db prune --before 0s --yes", CATALOG),
    (archived, "db rebuild", OK),
    (foreign, "db rebuild", PARTIAL),
    (from_the_future, "db rebuild", CATALOG),
    (archived, "restore notes", OK),
    (archived, "restore notes -n", OK),
    (archived, "restore no-such-archive", NOT_FOUND),
    (archived, "restore --search no-such-archive", NOT_FOUND),
    (archived, "restore --ready", OK),
    (nothing, "restore", USAGE),
    (nothing, "restore notes --ready", USAGE),
    (from_the_future, "restore notes", CATALOG),
    (archived, "cost", OK),
    (archived, "cost --if DEEP_ARCHIVE --by folder", OK),
    (archived, "cost --by colour", USAGE),
    (from_the_future, "cost", CATALOG),
    (nothing, "upload notes --max-cost -1", USAGE),
    (nothing, "upload notes --max-cost 1", OK),
    (nothing, "retry", USAGE),
    (archived, "retry --failed", OK),
    (archived, "retry no-such-operation", NOT_FOUND),
    (from_the_future, "retry --failed", CATALOG),
    (archived, "replay no-such-operation", NOT_FOUND),
    (archived, "replay LAST -n", OK),
    (archived, "undo LAST -n", REFUSED),
    (requested, "queue", OK),
    (requested, "queue --release", OK),
    (from_the_future, "queue", CATALOG),
    (requested, "run LAST", OK),
    (archived, "run LAST", OK),
    (nothing, "run", USAGE),
    (nothing, "run no-such-operation", NOT_FOUND),
    (requested_in_vain, "run LAST", NOT_FOUND),
    (from_the_future, "run LAST", CATALOG),
    (nothing, "worker --until-empty", OK),
    (requested, "worker --until-empty", OK),
    (requested_in_vain, "worker --until-empty", PARTIAL),
    (nothing, "worker --slots 0", USAGE),
    (from_the_future, "worker --until-empty", CATALOG),
    (requested, "cancel LAST", OK),
    (archived, "cancel LAST", REFUSED),
    (nothing, "cancel", USAGE),
    (nothing, "cancel no-such-operation", NOT_FOUND),
    (from_the_future, "cancel LAST", CATALOG),
    (nothing, "upload notes --later", OK),
    (nothing, "upload missing --later", NOT_FOUND),
    (nothing, "upload notes --at yesterday-ish", USAGE),
    (nothing, "upload notes --after no-such-operation", NOT_FOUND),
    (archived, "delete notes --later", REFUSED),
    (from_the_future, "replay no-such-operation", CATALOG),
    (archived, "undo no-such-operation --yes", NOT_FOUND),
    (archived, "undo no-such-operation -n", NOT_FOUND),
    (from_the_future, "undo no-such-operation -n", CATALOG),
    (from_the_future, "browse", CATALOG),
    (nothing, "browse --port 0", USAGE),
    (nothing, "browse --port 65536", USAGE),
    (archived, "cat notes notes", OK),
    (archived, "cat notes nothing", NOT_FOUND),
    (archived, "cat nothing notes", NOT_FOUND),
    (damaged, "cat notes notes", INTEGRITY),
    (from_the_future, "cat notes notes", CATALOG),
    (archived, "check completed", OK),
    (archived, "check --read completed", OK),
    (archived, "check .", PARTIAL),
    (nothing, "check .", NOT_FOUND),
    (nothing, "check missing", NOT_FOUND),
    (from_the_future, "check .", CATALOG),
    (archived, "diff notes completed/notes", OK),
    (archived, "diff --read notes completed/notes", OK),
    (archived, "diff notes", PARTIAL),
    (freed, "diff notes missing", NOT_FOUND),
    (nothing, "diff nothing", NOT_FOUND),
    (from_the_future, "diff notes", CATALOG),
    (nothing, "completion bash", OK),
    (nothing, "completion install --shell fish", OK),
    (nothing, "completion fish --shell fish", USAGE),
    (nothing, "help", OK),
    (nothing, "help db backup", OK),
    (nothing, "help db nothing", USAGE),
    (nothing, "help upload notes", USAGE),
    (nothing, "completion tcsh", USAGE),
    (nothing, "no-such-command", USAGE),
    (nothing, "--no-such-option ls", USAGE),
]


def of_a_file(before: Before, line: str) -> bool:
    """Whether the row needs an SQLite catalog."""
    return before in (not_a_database, put_back) or line.startswith(("db backup", "db roles"))


@pytest.mark.parametrize(
    ("before", "line", "status"),
    [pytest.param(*row, marks=[pytest.mark.sqlite] if of_a_file(*row[:2]) else []) for row in TABLE],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_each_command_line_has_its_exit_status(mgmt: Program, before: Before, line: str, status: int) -> None:
    with holding:
        before(mgmt)
        words = [last_operation(mgmt) if word == "LAST" else word for word in shlex.split(line)]
        done = mgmt.run("-o", "json", *words)
    assert done.returncode == status, done.stderr
    if status == OK:
        json.loads(done.stdout) if not line.startswith(("cat", "completion bash", "help")) else None
    else:
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        assert set(error) == {"class", "message", "retryable", "next"}
        assert error["message"]
        assert "\n" not in error["message"]
        if done.stdout:
            json.loads(done.stdout)


def test_the_table_has_every_command() -> None:
    # A terminal, PostgreSQL, an archive that can be undone, a versioned bucket, object lock, a signal.
    needing_more = (
        *("config init", "db roles", "undo LAST -n"),
        *("undelete notes.tar.gz", "lock notes.tar.gz --for 7y", "browse"),
    )
    tried = {line for _, line, status in TABLE if status == OK or line in needing_more}
    named = [" ".join(path) for path in LEAVES]
    assert [name for name in named if not any(f"{line} ".startswith(f"{name} ") for line in tried)] == []


def test_the_table_has_every_exit_status_but_two() -> None:
    elsewhere = {ExitStatus.FAILED, ExitStatus.NOT_READY}  # tests/integration: a changed file, a frozen object
    assert {status for _, _, status in TABLE} == set(ExitStatus) - elsewhere


def test_the_history_is_sound_after_every_kind_of_command(mgmt: Program) -> None:
    archived(mgmt)
    for line, status in (
        ("upload notes photos --on-conflict rename", OK),
        ("upload missing", NOT_FOUND),
        ("download notes --to back", OK),
        ("search NOTE", OK),
        ("status notes", OK),
        ("verify --all", OK),
        ("free --all --yes", OK),
        ("delete notes.tar.gz --yes", OK),
        ("config set level fast", OK),
        ("recover", OK),
        ("audit anchor", OK),
        ("db rebuild", OK),
        ("audit anchor", OK),
    ):
        assert mgmt.run(*shlex.split(line)).returncode == status, line
    history = mgmt.json("audit", "verify")
    assert (history["sound"], history["problems"], history["anchors"]) == (True, [], 2)
    assert (history["unsealed"], history["running"]) == (0, 0)
    assert history["operations"] == len(mgmt.json("log", "--limit", "1000"))
    assert mgmt.json("ls", "--live") != []
    assert mgmt.json("verify", "--all") != []


def test_audit_verify_names_the_edited_operation(mgmt: Program) -> None:
    tampered(mgmt)
    [upload] = mgmt.json("log")
    done = mgmt.run("-o", "json", "audit", "verify")
    [problem] = json.loads(done.stdout)["problems"]
    assert (problem["operation_id"], problem["problem"]) == (upload["operation_id"], "edited")
    done = mgmt.run("-o", "jsonl", "audit", "verify")
    named, counted = map(json.loads, done.stdout.splitlines())
    assert (named["type"], named["operation_id"]) == ("tampering", upload["operation_id"])
    assert (counted["type"], counted["sound"], counted["operations"]) == ("history", False, 1)
    done = mgmt.run("audit", "verify")
    assert upload["operation_id"] in done.stdout
    assert "NOT sound: 1 operations in 1 seals" in done.stdout


def test_an_export_can_be_piped_into_an_import(mgmt: Program) -> None:
    archived(mgmt)
    out = mgmt.run_process("db", "export", "-")
    (mgmt.work / "history").write_text(out.stdout)
    other = f"sqlite:///{mgmt.home}/other/catalog.db"
    with (mgmt.work / "history").open() as history:
        done = mgmt.run_process("--catalog", other, "-o", "json", "db", "import", "-", stdin=history)
    assert json.loads(done.stdout)["operations"] == 1, done.stderr
    assert mgmt.run_process("--catalog", other, "db", "export", "-").stdout == out.stdout


@pytest.mark.sqlite
def test_a_newer_catalog_is_refused_and_not_changed(mgmt: Program) -> None:
    from_the_future(mgmt)
    before = mgmt.catalog.read_bytes()
    done = mgmt.run("upload", "notes")
    assert done.returncode == CATALOG
    assert "9999" in done.stderr
    assert (mgmt.work / "notes").exists()
    assert mgmt.catalog.read_bytes() == before
