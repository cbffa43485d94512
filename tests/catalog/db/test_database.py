"""The database: its files, its lock, its transactions, and the errors when it cannot be used."""

import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mgmt.catalog import HEAD, Catalog, FileRecord, Location, UploadRecord, open_catalog
from mgmt.catalog.db import engine
from mgmt.errors import CatalogError, ConfigurationError, ExitStatus, NotFoundError
from tests.behind import behind
from tests.forked import child

PATIENCE = engine.BUSY_SECONDS


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def a_file(path: str = "/a") -> FileRecord:
    return FileRecord(path=path, location=Location.LOCAL, host="h")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/catalog/catalog.db"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)


def test_first_use_creates_a_private_catalog(path: str) -> None:
    before = os.umask(0)
    try:
        catalog = open_catalog(f"sqlite:///{path}")
        assert not os.path.exists(path)
        catalog.metadata.save_file_record(a_file())
        names = sorted(os.listdir(os.path.dirname(path)))
        assert names == ["catalog.db", "catalog.db-shm", "catalog.db-wal", "catalog.db.lock"]
        assert {mode(f"{os.path.dirname(path)}/{name}") for name in names} == {0o600}
        assert mode(os.path.dirname(path)) == 0o700
    finally:
        os.umask(before)


def test_open_without_create_creates_nothing(path: str) -> None:
    with pytest.raises(CatalogError, match="there is no catalog"):
        open_catalog(f"sqlite:///{path}", create=False).metadata.list_files()
    assert not os.path.exists(os.path.dirname(path))


def test_sqlite_pragmas_make_commits_durable(sqlite_catalog: Catalog) -> None:
    with sqlite_catalog.database.transaction() as session:
        said = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


def test_the_log_shrinks_again_after_a_long_reader(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WAL_BYTES", 1 << 16)
    writer, reader = open_catalog(f"sqlite:///{path}"), open_catalog(f"sqlite:///{path}")
    writer.metadata.list_files()
    with reader.database.snapshot():
        for number in range(8):
            file = a_file(f"/{number}")
            file.error_message = "x" * (1 << 20)
            writer.metadata.save_file_record(file)
        assert os.path.getsize(f"{path}-wal") > 8 << 20
    for number in range(3):
        writer.metadata.save_file_record(a_file(f"/later/{number}"))
    assert os.path.getsize(f"{path}-wal") < 1 << 17  # the limit, or what the last commit wrote
    writer.close()
    reader.close()


def test_the_path_of_a_catalog_may_contain_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%41é"
    folder.mkdir()
    catalog = open_catalog(f"sqlite:///{str(folder).replace('%', '%25').replace('?', '%3F')}/c.db")
    catalog.metadata.save_file_record(a_file())
    catalog.close()
    assert os.path.exists(folder / "c.db")


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "not a url", "sqlite://", "sqlite:///:memory:", ""])
def test_an_unsupported_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_catalog(url)
    assert "hunter2" not in f"{caught.value} {caught.value.next_step}"


def test_transactions_are_atomic(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    other = reopen()
    with catalog.database.transaction():
        catalog.metadata.save_file_record(a_file("/1"))
        with catalog.database.transaction():
            catalog.metadata.save_file_record(a_file("/2"))
        assert len(catalog.metadata.list_files()) == 2
        assert other.metadata.list_files() == []
    assert len(other.metadata.list_files()) == 2

    def interrupted() -> None:
        with catalog.database.transaction():
            catalog.metadata.save_file_record(a_file("/3"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(catalog.metadata.list_files()) == 2


def test_no_transaction_is_left_open(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    other = reopen()
    catalog.metadata.list_files()
    other.metadata.save_file_record(a_file())
    assert len(catalog.metadata.list_files()) == 1, "a snapshot was kept"
    with catalog.database.reading() as session:
        driver: Any = session.connection().connection.driver_connection
        if catalog.database.is_sqlite:
            assert not driver.in_transaction
        else:
            assert driver.info.transaction_status == 0  # IDLE


def test_a_commit_that_fails_after_reading_is_rolled_back(sqlite_catalog: Catalog) -> None:
    def an_orphan() -> None:
        with sqlite_catalog.database.transaction() as session:
            session.execute(text("PRAGMA defer_foreign_keys = ON"))
            session.execute(text("INSERT INTO operation_files VALUES ('none', 1, 'archive')"))

    for _ in range(20):  # a session closes its connections in an order that depends on their addresses
        sqlite_catalog.metadata.list_files()
        with pytest.raises(CatalogError, match="FOREIGN KEY"):
            an_orphan()
    assert sqlite_catalog.metadata.list_files() == []


def test_changed_records_are_written_only_by_a_transaction(catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    file = catalog.metadata.save_file_record(a_file())
    file.size = 5
    catalog.metadata.list_files()
    assert reopen().metadata.require_file_record(file.id).size is None
    assert file.size == 5
    with catalog.database.transaction():
        pass
    assert reopen().metadata.require_file_record(file.id).size == 5


def test_threads_can_share_a_catalog(catalog: Catalog) -> None:
    def work(number: int) -> None:
        for step in range(10):
            catalog.metadata.save_file_record(a_file(f"/{number}/{step}"))
            catalog.metadata.list_files(f"/{number}/")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(catalog.metadata.list_files(limit=None)) == 40


def test_writers_of_several_processes_wait_for_each_other(sqlite_catalog: Catalog) -> None:
    def write(number: int) -> None:
        engine.BUSY_SECONDS = PATIENCE
        catalog = open_catalog(f"sqlite:///{sqlite_catalog.database.path}")
        for step in range(20):
            catalog.metadata.save_file_record(a_file(f"/{number}/{step}"))

    processes = [child(lambda number=number: write(number)) for number in range(4)]  # type: ignore[misc]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 4
    assert len(sqlite_catalog.metadata.list_files(limit=None)) == 80


def test_several_processes_can_create_the_same_catalog(path: str) -> None:
    code = "import sys; from mgmt.catalog import open_catalog; open_catalog(sys.argv[1]).metadata.list_files()"
    processes = [subprocess.Popen([sys.executable, "-c", code, f"sqlite:///{path}"]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert os.listdir(os.path.dirname(path)).count("catalog.db") == 1


def test_a_connection_keeps_its_locks_when_another_process_was_first_to_create_the_catalog(path: str) -> None:
    """Else the other process, closing last as it thinks, removes the log that this one still writes its commits to."""
    engine.create_sqlite(path)
    url = f"sqlite:///{path}"
    catalog = open_catalog(url)
    assert catalog.database.revision() is None
    engine.create_sqlite(path)  # what an upgrade of an empty catalog begins with
    other = f"""
import sys
from mgmt.catalog import FileRecord, Location, open_catalog
catalog = open_catalog({url!r})
catalog.metadata.save_file_record(FileRecord(path=sys.argv[1], location=Location.LOCAL, host="h"))
print(*sorted(found.path for found in catalog.metadata.list_files()))
catalog.close()
"""
    subprocess.run([sys.executable, "-c", other, "/a"], check=True)
    catalog.metadata.save_file_record(a_file("/b"))
    run = subprocess.run([sys.executable, "-c", other, "/c"], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["/a", "/b", "/c"]
    catalog.close()


def test_a_catalog_may_be_created_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("elsewhere.db")
    with closing(open_catalog(f"sqlite:///{tmp_path}/link.db")) as catalog:
        catalog.metadata.save_file_record(a_file())
    assert (tmp_path / "elsewhere.db").exists()


def refused(catalog: Catalog, write: bool = True) -> CatalogError:
    with pytest.raises(CatalogError) as caught:
        catalog.metadata.save_file_record(a_file()) if write else catalog.metadata.list_files()
    error = caught.value
    assert error.exit_status is ExitStatus.CATALOG
    assert "\n" not in error.message
    return error


def test_a_lock_of_another_program_is_reported(sqlite_catalog: Catalog) -> None:
    sqlite_catalog.metadata.list_files()
    with closing(sqlite3.connect(str(sqlite_catalog.database.path), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another program" in refused(sqlite_catalog).message
        other.execute("ROLLBACK")
    sqlite_catalog.metadata.save_file_record(a_file())


def test_waiting_for_the_lock_times_out_and_leaves_the_queue(
    sqlite_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_catalog.metadata.list_files()
    monkeypatch.setattr("mgmt.catalog.db.database.LOCK_SECONDS", 0.05)
    lock = f"{sqlite_catalog.database.path}.lock"
    with open(lock, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for _ in range(3):
            assert "is busy" in refused(sqlite_catalog).message
        assert sqlite_catalog.metadata.list_files() == []  # reading needs no lock
    monkeypatch.setattr("mgmt.catalog.db.database.LOCK_SECONDS", 30)
    sqlite_catalog.metadata.save_file_record(a_file())  # those who timed out do not hold the lock
    with open(lock, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = threading.Thread(target=sqlite_catalog.metadata.save_file_record, args=(a_file("/second"),))
        waiting.start()
        while not any(thread.name == "mgmt catalog lock" for thread in threading.enumerate()):
            waiting.join(0.001)
        fcntl.flock(file, fcntl.LOCK_UN)
        waiting.join()
    assert len(sqlite_catalog.metadata.list_files()) == 2


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Run as a user without privileges: permissions do not stop root."""
    folders = (tmp_path, *tmp_path.parents)
    closed = [folder for folder in folders if folder.stat().st_uid == os.getuid() and not mode(folder) & 0o005]
    for folder in closed:
        folder.chmod(0o755)

    @contextmanager
    def nobody() -> Iterator[None]:
        if os.getuid() == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(os.getuid())

    yield nobody
    for folder in closed:
        folder.chmod(0o700)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o755), (0o444, 0o555), (0o666, 0o555)])
def test_a_read_only_catalog_can_be_read(
    file_mode: int, folder_mode: int, path: str, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    catalog = open_catalog(f"sqlite:///{path}")
    catalog.metadata.save_file_record(a_file())
    catalog.close()
    folder = os.path.dirname(path)
    os.chmod(path, file_mode)
    os.chmod(folder, folder_mode)
    again = open_catalog(f"sqlite:///{path}")
    with as_nobody():
        assert len(again.metadata.list_files()) == 1
        assert refused(again).message == f"the catalog {path} cannot be written: it is read-only here"
        assert len(again.metadata.list_files()) == 1
    os.chmod(folder, 0o700)


def test_a_catalog_that_is_writable_again_can_be_written(path: str) -> None:
    """For an ordinary user: SQLite leaves the -wal and -shm files of a read-only database read-only."""
    for name in ("/a", "/b"):
        catalog = open_catalog(f"sqlite:///{path}")
        catalog.metadata.save_file_record(a_file(name))
        catalog.close()
        os.chmod(path, 0o400)
        reader = open_catalog(f"sqlite:///{path}")
        assert reader.metadata.list_files()
        reader.close()
        os.chmod(path, 0o600)


def test_an_unreadable_catalog_is_reported(path: str, as_nobody: Callable[[], AbstractContextManager[None]]) -> None:
    catalog = open_catalog(f"sqlite:///{path}")
    catalog.metadata.save_file_record(a_file())
    catalog.close()
    os.chmod(os.path.dirname(path), 0o755)
    os.chmod(path, 0)
    with as_nobody():
        error = refused(open_catalog(f"sqlite:///{path}"), write=False)
    assert error.message == f"the catalog {path} cannot be opened"


def test_a_failed_refresh_of_a_record_is_a_catalog_error(path: str) -> None:
    catalog = open_catalog(f"sqlite:///{path}")
    record = catalog.metadata.save_file_record(a_file())
    with suppress(InterruptedError), catalog.database.transaction() as session:
        session.add(a_file("/b"))
        raise InterruptedError  # the rollback expires the record
    with behind(path) as connection:
        connection.execute("ALTER TABLE files RENAME TO elsewhere")
    with pytest.raises(CatalogError) as caught:
        _ = record.path
    assert caught.value.exit_status == ExitStatus.CATALOG


def test_an_unwritable_folder_is_reported(
    tmp_path: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    with as_nobody():
        error = refused(open_catalog(f"sqlite:///{folder}/c.db"))
    assert error.message == f"the catalog {folder}/c.db cannot be created: Permission denied"


def test_a_full_disk_is_reported(sqlite_catalog: Catalog, make_member: Callable[[str], object]) -> None:
    archive = sqlite_catalog.metadata.save_file_record(a_file())
    with sqlite_catalog.database.transaction() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(CatalogError, match="cannot be written: the disk is full"):
        sqlite_catalog.members.record(archive.id, (make_member(f"a/{n}") for n in range(10_000)))  # type: ignore[misc]
    assert sqlite_catalog.members.count(archive.id) == 0


def test_a_file_that_is_not_a_database_is_reported(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"these are my holiday notes " * 100)
    assert "the file is not an SQLite database" in refused(open_catalog(f"sqlite:///{path}"), write=False).message


def test_a_damaged_page_is_reported(sqlite_catalog: Catalog) -> None:
    for number in range(300):
        sqlite_catalog.metadata.save_file_record(a_file(f"/{number}"))
    path = str(sqlite_catalog.database.path)
    sqlite_catalog.close()
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'files'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xee" * size)
    error = refused(sqlite_catalog, write=False)
    assert "is damaged" in error.message
    assert "mgmt db rebuild" in str(error.next_step)


def test_a_database_of_another_program_is_refused(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (id)")
    assert "contains other tables" in refused(open_catalog(f"sqlite:///{path}")).message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


@pytest.mark.parametrize(("revision", "says"), [("0000", "older"), ("9999", "unknown"), ("zebra", "unknown")])
def test_another_schema_is_refused(revision: str, says: str, catalog: Catalog, reopen: Callable[[], Catalog]) -> None:
    with catalog.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    error = refused(reopen(), write=False)
    assert says in error.message
    assert HEAD in error.message
    assert error.next_step is not None


def test_an_unreachable_server_is_reported_without_the_password() -> None:
    catalog = open_catalog("postgresql://somebody:hunter2@127.0.0.1:1/mgmt?connect_timeout=2")
    error = refused(catalog, write=False)
    assert "cannot be reached" in error.message
    assert "hunter2" not in repr(error) + str(error) + str(error.__cause__)


def test_errors_contain_no_bound_values(catalog: Catalog) -> None:
    catalog.metadata.save_operation(UploadRecord(target_path="/a"))
    with pytest.raises(CatalogError) as caught, catalog.database.transaction() as session:
        session.execute(text("INSERT INTO files (id, path) VALUES (1, :secret)"), {"secret": "canary-7f3a"})
    assert "canary-7f3a" not in f"{caught.value} {caught.value.next_step}"


def test_the_lock_is_released_after_an_error(sqlite_catalog: Catalog) -> None:
    with pytest.raises(NotFoundError), sqlite_catalog.database.transaction():
        raise NotFoundError("x")
    with open(f"{sqlite_catalog.database.path}.lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_closed_catalog_reopens_on_use(catalog: Catalog) -> None:
    file = catalog.metadata.save_file_record(a_file())
    catalog.close()
    assert catalog.metadata.require_file_record(file.id).path == "/a"
