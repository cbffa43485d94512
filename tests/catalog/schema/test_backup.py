"""Backups of an SQLite catalog: complete, private and new, or absent."""

import os
import stat
from pathlib import Path

import pytest

from mgmt.catalog import Catalog, FileRecord, Location, UploadRecord, open_catalog
from mgmt.catalog.db.database import Database
from mgmt.catalog.schema import soundness
from mgmt.catalog.schema.backup import backup, remove_partial_backups
from mgmt.errors import CatalogError, ConfigurationError, ConflictError


def test_a_backup_is_a_single_sound_private_file(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    saved = sqlite_catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))
    path = str(tmp_path / "copy.db")
    with sqlite_catalog.journal.record(UploadRecord(target_path="/a")):  # in use
        assert backup(sqlite_catalog.database, path) == path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["catalog", "copy.db"]
    copy = open_catalog(f"sqlite:///{path}")
    assert copy.metadata.require_file_record(saved.id).path == "/a"
    assert soundness.check(copy.database) == []
    copy.close()
    with pytest.raises(ConflictError, match="already exists"):
        backup(sqlite_catalog.database, path)


def test_a_failed_backup_leaves_no_file(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be created"):
        backup(sqlite_catalog.database, str(tmp_path / "no such folder/copy.db"))
    with pytest.raises(CatalogError):
        backup(sqlite_catalog.database, str(tmp_path / "copy.db"))  # no catalog exists yet
    assert os.listdir(tmp_path) == []


def test_backup_of_postgresql_refers_to_pg_dump(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        backup(Database("postgresql://127.0.0.1:1/x"), str(tmp_path / "copy.db"))
    assert caught.value.next_step == "use pg_dump"


def test_the_partial_file_of_a_killed_backup_is_replaced(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    sqlite_catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))
    (tmp_path / "copy.db.partial").write_bytes(b"half" * 10_000)
    (tmp_path / "copy.db.partial-journal").write_bytes(b"half" * 1000)
    backup(sqlite_catalog.database, str(tmp_path / "copy.db"))
    assert sorted(os.listdir(tmp_path)) == ["catalog", "copy.db"]


def test_only_partial_backups_are_removed(tmp_path: Path) -> None:
    backup_of = "catalog.db.0001-20260131T120000000000Z.backup"
    kept = ["catalog.db", backup_of, "catalog.db.mine.partial", "catalog.dbx.partial"]
    for name in (*kept, f"{backup_of}.partial", f"{backup_of}.partial-journal"):
        (tmp_path / name).touch()
    remove_partial_backups(Database(f"sqlite:///{tmp_path}/catalog.db"))
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_backup_works_without_hard_links(
    sqlite_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_catalog.metadata.save_file_record(FileRecord(path="/a", location=Location.LOCAL, host="h"))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    backup(sqlite_catalog.database, str(tmp_path / "copy.db"))
    assert sorted(os.listdir(tmp_path)) == ["catalog", "copy.db"]
    with pytest.raises(ConflictError, match="already exists"):
        backup(sqlite_catalog.database, str(tmp_path / "copy.db"))
