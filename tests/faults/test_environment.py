"""The catalog or the store is unusable: nothing is lost, one line reports why, and the next run works."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.catalogs import catalogs_on
from tests.conftest import Figure
from tests.faults.endpoint import refusing
from tests.postgresql import PostgreSQL
from tests.program import Program
from tests.servers import Server, environment

CHANGING = ("upload fresh", "download kept --to back", "verify kept", "delete kept.tar.gz --yes")
READING = ("search kept", "log")
FRESH, KEPT = b"an original " * 5000, b"another one " * 5000

Fault = Callable[[Program], AbstractContextManager[Program]]


@dataclass(frozen=True)
class Broken:
    """A fault, the exit statuses of commands that change something and of those that only read, and the message."""

    fault: Fault
    changing: int
    reading: int
    message: str

    def __str__(self) -> str:
        return self.fault.__name__


# Faults of the catalog.


@contextmanager
def _held(code: str, path: object) -> Iterator[None]:
    """Another process runs `code` and holds `path` as long as the block lasts."""
    code = f"import fcntl, sqlite3, sys; path = sys.argv[1]\n{code}\nprint('held', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


@contextmanager
def another_mgmt_writes(mgmt: Program) -> Iterator[Program]:
    with _held("file = open(path, 'r+'); fcntl.flock(file, fcntl.LOCK_EX)", f"{mgmt.catalog}.lock"):
        yield mgmt


@contextmanager
def another_program_writes(mgmt: Program) -> Iterator[Program]:
    with _held("it = sqlite3.connect(path, isolation_level=None); it.execute('BEGIN EXCLUSIVE')", mgmt.catalog):
        yield mgmt


@contextmanager
def another_program_locks_it_exclusively(mgmt: Program) -> Iterator[Program]:
    code = """
it = sqlite3.connect(path, isolation_level=None)
it.execute("PRAGMA locking_mode=EXCLUSIVE")
it.execute("BEGIN EXCLUSIVE")
"""
    with _held(code, mgmt.catalog):
        yield mgmt


@contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    """By its mode; for root, who ignores modes, by the attribute `immutable`."""
    if os.getuid():
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode & ~0o222)
        yield
        path.chmod(mode)
        return
    if subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
        pytest.skip("root ignores modes, and this file system does not support chattr +i")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@contextmanager
def the_file_is_read_only(mgmt: Program) -> Iterator[Program]:
    with _unwritable(mgmt.catalog):
        yield mgmt


@contextmanager
def the_folder_is_read_only(mgmt: Program) -> Iterator[Program]:
    with _unwritable(mgmt.catalog.parent):
        yield mgmt


@contextmanager
def _corrupt(mgmt: Program, change: Callable[[bytearray], None]) -> Iterator[Program]:
    before = mgmt.catalog.read_bytes()
    data = bytearray(before)
    change(data)
    mgmt.catalog.write_bytes(data)
    yield mgmt
    assert mgmt.catalog.read_bytes() == data, "a damaged catalog was written to"
    mgmt.catalog.write_bytes(before)


def _flip(data: bytearray) -> None:
    for start in range(4096, len(data), 4096):  # the type of each page but the first
        data[start] ^= 0xFF


def _garbage(data: bytearray) -> None:
    data[:100] = b"anything but SQLite!" * 5


def _cut(data: bytearray) -> None:
    del data[8192:]


def its_pages_are_damaged(mgmt: Program) -> AbstractContextManager[Program]:
    return _corrupt(mgmt, _flip)


def its_header_is_garbage(mgmt: Program) -> AbstractContextManager[Program]:
    return _corrupt(mgmt, _garbage)


def it_is_cut_short(mgmt: Program) -> AbstractContextManager[Program]:
    return _corrupt(mgmt, _cut)


def _set_revision(mgmt: Program, revision: str) -> None:
    mgmt.records.change("UPDATE alembic_version SET version_num = ?", revision)


@contextmanager
def a_newer_mgmt_has_upgraded_it(mgmt: Program) -> Iterator[Program]:
    [(revision,)] = mgmt.records.rows("SELECT version_num FROM alembic_version")
    _set_revision(mgmt, "9999")
    yield mgmt
    _set_revision(mgmt, revision)


@contextmanager
def its_server_is_down(mgmt: Program) -> Iterator[Program]:
    yield replace(mgmt, environment={**mgmt.environment, "MGMT_CATALOG": "postgresql://me@127.0.0.1:9/catalog"})


@contextmanager
def its_database_is_read_only(mgmt: Program) -> Iterator[Program]:
    name = urlsplit(mgmt.records.url).path.strip("/")
    with psycopg.connect(mgmt.records.url, autocommit=True) as administrator:
        administrator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        yield mgmt
        administrator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())


@contextmanager
def another_session_keeps_writers_out(mgmt: Program) -> Iterator[Program]:
    import psycopg

    with psycopg.connect(mgmt.records.url) as connection:
        connection.execute("LOCK TABLE operations IN EXCLUSIVE MODE")
        yield mgmt


@contextmanager
def its_login_is_unknown(mgmt: Program) -> Iterator[Program]:
    url = re.sub("//[^@]+@", "//nobody_at_all@", mgmt.records.url)
    yield replace(mgmt, environment={**mgmt.environment, "MGMT_CATALOG": url})


@contextmanager
def its_database_is_unknown(mgmt: Program) -> Iterator[Program]:
    yield replace(mgmt, environment={**mgmt.environment, "MGMT_CATALOG": f"{mgmt.records.url}_of_old"})


@contextmanager
def its_folder_is_a_file(mgmt: Program) -> Iterator[Program]:
    (mgmt.home / "file").write_text("in the way")
    yield replace(mgmt, environment={**mgmt.environment, "MGMT_CATALOG": f"sqlite:///{mgmt.home}/file/catalog.db"})


SQLITE_ONLY = [
    Broken(another_mgmt_writes, 12, 0, "is busy: another process has been writing for 0.1 s"),
    Broken(another_program_writes, 12, 0, "is locked by another program"),
    Broken(another_program_locks_it_exclusively, 12, 12, "is locked by another program"),
    Broken(the_file_is_read_only, 12, 0, "read-only"),
    Broken(the_folder_is_read_only, 12, 0, "read-only"),
    Broken(its_pages_are_damaged, 12, 12, "is damaged"),
    Broken(it_is_cut_short, 12, 12, "is damaged"),
    Broken(its_header_is_garbage, 12, 12, "is not an SQLite database"),
    Broken(its_folder_is_a_file, 12, 12, "cannot be"),
]
BOTH_CATALOGS = [
    Broken(a_newer_mgmt_has_upgraded_it, 12, 12, "9999"),
    Broken(its_server_is_down, 12, 12, "cannot be reached"),
]
POSTGRESQL_ONLY = [
    Broken(its_database_is_read_only, 12, 0, "read-only"),
    Broken(another_session_keeps_writers_out, 12, 0, "is locked by another session"),
    Broken(its_login_is_unknown, 12, 12, "nobody_at_all"),
    Broken(its_database_is_unknown, 12, 12, "does not exist"),
]

# Faults of the store.


def _with(mgmt: Program, **variables: str) -> Program:
    return replace(mgmt, environment={**mgmt.environment, "AWS_MAX_ATTEMPTS": "1", **variables})


@contextmanager
def nobody_listens(mgmt: Program) -> Iterator[Program]:
    yield _with(mgmt, AWS_ENDPOINT_URL="http://127.0.0.1:9")


@contextmanager
def the_secret_is_wrong(mgmt: Program) -> Iterator[Program]:
    yield _with(mgmt, AWS_SECRET_ACCESS_KEY="wrong")


@contextmanager
def the_key_is_unknown(mgmt: Program) -> Iterator[Program]:
    yield _with(mgmt, AWS_ACCESS_KEY_ID="nobody")


@contextmanager
def there_are_no_credentials(mgmt: Program) -> Iterator[Program]:
    kept = {name: value for name, value in mgmt.environment.items() if not name.startswith("AWS_ACCESS_KEY")}
    yield _with(replace(mgmt, environment=kept))


@contextmanager
def the_token_has_expired(mgmt: Program) -> Iterator[Program]:
    with refusing("ExpiredToken", 400) as url:
        yield _with(mgmt, **environment(url))


@contextmanager
def the_credentials_do_not_suffice(mgmt: Program) -> Iterator[Program]:
    with refusing("AccessDenied", 403) as url:
        yield _with(mgmt, **environment(url))


@contextmanager
def the_clock_is_wrong(mgmt: Program) -> Iterator[Program]:
    with refusing("RequestTimeTooSkewed", 403) as url:
        yield _with(mgmt, **environment(url))


@contextmanager
def it_says_slow_down(mgmt: Program) -> Iterator[Program]:
    with refusing("SlowDown", 503) as url:
        yield _with(mgmt, **environment(url))


STORE_FAULTS = [
    Broken(nobody_listens, 5, 0, "cannot be reached"),
    Broken(the_secret_is_wrong, 1, 0, "rejected the credentials"),
    Broken(the_token_has_expired, 1, 0, "have expired"),
]
MORE_STORE_FAULTS = [
    Broken(it_says_slow_down, 5, 0, "busy or failing"),
    Broken(the_key_is_unknown, 1, 0, "rejected the credentials"),
    Broken(there_are_no_credentials, 1, 0, "no credentials"),
    Broken(the_credentials_do_not_suffice, 1, 0, "access denied"),
    Broken(the_clock_is_wrong, 1, 0, "the clock is wrong"),
]


@contextmanager
def its_disk_is_not_mounted(mgmt: Program) -> Iterator[Program]:
    disk = mgmt.home / "disk"
    disk.rename(mgmt.home / "unmounted")
    yield mgmt
    assert not disk.exists(), "a store was made at the mount point"
    (mgmt.home / "unmounted").rename(disk)


def prepared(mgmt: Program) -> None:
    """`kept` is archived and in completed/, `fresh` is not."""
    (mgmt.work / "kept").write_bytes(KEPT)
    mgmt.ok("upload", "kept")
    (mgmt.work / "fresh").write_bytes(FRESH)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(server: Server, mgmt: Program) -> dict[str, str]:
    bucket = mgmt.store.split("/")[2]
    assert not server.client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    return {each["Key"]: each["ETag"] for each in server.client().list_objects_v2(Bucket=bucket)["Contents"]}


def try_everything(broken: Broken, mgmt: Program) -> int:
    """Run every command under the fault; the caller checks that nothing was lost."""
    with broken.fault(mgmt) as under:
        for line in (*CHANGING, *READING):
            done = under.run(*line.split())
            restores = broken.message == "read-only" and line.startswith("download")
            expected = broken.changing if line in CHANGING and not restores else broken.reading
            output = f"{broken}: {line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == expected, output
            assert "Traceback" not in done.stdout + done.stderr, output
            if restores:
                assert "note: this is not recorded" in done.stderr
                assert (under.work / "back" / "kept").read_bytes() == KEPT
                shutil.rmtree(under.work / "back")
            if expected:
                error, *steps = [each for each in done.stderr.splitlines() if not each.startswith("note: ")]
                assert error.startswith("mgmt: "), output
                assert broken.message in error, output
                assert steps[0].startswith("  try: "), output
                assert [each for each in steps[1:] if not each.startswith("       # ")] == [], output
    return len(CHANGING) + len(READING)


def succeed(mgmt: Program) -> None:
    for line in (*READING, *CHANGING):
        mgmt.ok(*line.split())
    assert (mgmt.work / "back" / "kept").read_bytes() == KEPT
    assert (mgmt.work / "completed" / "fresh").read_bytes() == FRESH
    assert not (mgmt.work / "fresh").exists()
    assert {each["status"] for each in mgmt.json("log", "--limit", "100")} <= {"success", "failed", "partial"}
    assert mgmt.json("db", "check")["sound"]


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the lock timeouts, so that no test waits for half a minute."""
    monkeypatch.setattr("mgmt.catalog.db.database.LOCK_SECONDS", 0.1)
    monkeypatch.setattr("mgmt.catalog.db.engine.BUSY_SECONDS", 0.1)
    monkeypatch.setattr("mgmt.catalog.db.commit_recovery.LOCK_SECONDS", 0.1)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    "broken", [*(pytest.param(each, marks=pytest.mark.sqlite) for each in SQLITE_ONLY), *BOTH_CATALOGS], ids=str
)
def test_an_unusable_catalog_has_no_side_effects(on_directory: Program, broken: Broken, figure: Figure) -> None:
    try_without(on_directory, broken, figure)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("broken", POSTGRESQL_ONLY, ids=str)
def test_an_unusable_catalog_server_has_no_side_effects(
    tmp_path: Path, postgresql_server: PostgreSQL, broken: Broken, figure: Figure
) -> None:
    (tmp_path / "store").mkdir()
    with catalogs_on(postgresql_server) as catalogs:
        try_without(Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs), broken, figure)


def try_without(on_directory: Program, broken: Broken, figure: Figure) -> None:
    prepared(on_directory)
    before = files(on_directory.work), files(on_directory.home / "store")
    tried = try_everything(broken, on_directory)
    assert (files(on_directory.work), files(on_directory.home / "store")) == before
    records = on_directory.json("log", "--limit", "100")
    assert {each["operation_type"] for each in records} <= {"upload", "search"}
    succeed(on_directory)
    figure(
        16, "commands on a catalog that is locked, read-only, damaged, newer or unreachable", tried=tried, violations=0
    )


@pytest.mark.parametrize(
    "broken", [*STORE_FAULTS, *(pytest.param(each, marks=pytest.mark.torture) for each in MORE_STORE_FAULTS)], ids=str
)
def test_an_unusable_store_loses_nothing(on_seaweed: Program, seaweed: Server, broken: Broken, figure: Figure) -> None:
    prepared(on_seaweed)
    before = files(on_seaweed.work), objects(seaweed, on_seaweed)
    tried = try_everything(broken, on_seaweed)
    assert (files(on_seaweed.work), objects(seaweed, on_seaweed)) == before
    succeed(on_seaweed)
    figure(10, "commands on a store that is unreachable or refuses", tried=tried, violations=0)


@pytest.mark.sqlite
def test_a_store_on_an_unmounted_disk_loses_nothing(on_directory: Program, figure: Figure) -> None:
    (on_directory.home / "disk").mkdir()
    mgmt = replace(on_directory, store=f"file://{on_directory.home}/disk/store")
    prepared(mgmt)
    before = files(mgmt.work), files(mgmt.home / "disk")
    tried = try_everything(Broken(its_disk_is_not_mounted, 5, 0, "its disk may not be mounted"), mgmt)
    assert (files(mgmt.work), files(mgmt.home / "disk")) == before
    succeed(mgmt)
    figure(10, "commands on a store that is unreachable or refuses", tried=tried, violations=0)


@pytest.mark.sqlite
def test_json_errors_name_their_class(on_directory: Program) -> None:
    prepared(on_directory)
    with its_header_is_garbage(on_directory):
        done = on_directory.run("-o", "json", "verify", "kept")
    error = json.loads(done.stderr)["error"]
    assert (error["class"], error["retryable"]) == ("CatalogError", False)
    assert error["next"]
