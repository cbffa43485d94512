"""Promise 17: among a thousand objects, verify names a corrupt one, a missing one, an unknown one, a changed row."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.signal_at import Moment, run_signalled
from tests.program import Program
from tests.trees import make_tree

Change = Callable[[Program], object]


def store_of(program: Program) -> Path:
    return Path(program.store.removeprefix("file://"))


def changed(statement: str, *values: object) -> Change:
    def change(program: Program) -> None:
        assert program.records.change(statement, *values) == 1

    return change


def corrupt(name: str) -> Change:
    def flip(program: Program) -> None:
        path = store_of(program) / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return flip


def found_by(program: Program, *arguments: str) -> dict[str, str]:
    """The problems by object name; the exit status must agree."""
    done = program.run("-o", "json", "verify", *arguments)
    rows = json.loads(done.stdout)
    found = {os.path.basename(row["target_name"]): row["problem"] for row in rows if row["status"] == "failed"}
    assert done.returncode == (8 if found else 0), done
    assert "Traceback" not in done.stderr
    return found


def archive_many(program: Program, count: int) -> None:
    for number in range(count):
        (program.work / f"take {number:04}").write_bytes(os.urandom(100 + number))
    listing = program.home / "takes"
    listing.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in sorted(program.work.iterdir())))
    program.ok("upload", "-0", "--files-from", listing)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.torture)])
def test_verify_finds_one_of_each_problem_among_many(count: int, on_directory: Program, figure: Figure) -> None:
    archive_many(on_directory, count)
    assert found_by(on_directory, "--all") == {}
    corrupt("take 0011.tar.gz")(on_directory)
    (store_of(on_directory) / "take 0022.tar.gz").unlink()
    (store_of(on_directory) / "stranger.jpg").write_bytes(b"not ours")
    changed("UPDATE files SET size = size + 1 WHERE path = 'take 0033.tar.gz'")(on_directory)
    assert found_by(on_directory, "--all") == {
        "take 0011.tar.gz": "corrupt",
        "take 0022.tar.gz": "missing",
        "stranger.jpg": "unknown",
        "take 0033.tar.gz": "changed",
    }
    listed = on_directory.run("verify", "--all")
    assert listed.returncode == 8
    for name in ("take 0011", "take 0022", "stranger", "take 0033"):
        assert name in listed.stderr
    figure(17, f"findings among {count:,} archives", tried=4, violations=0)


RECORD_CHANGES = {
    "size": "size + 1",
    "digest": "'00' || substr(digest, 3)",
    "checksum": "'crc64nvme:AAAAAAAAAAA='",
    "object_checksum": "'crc64nvme:AAAAAAAAAAA='",
    "member_count": "member_count - 1",
    "original_size": "original_size + 7",
    "path": "'another.tar.gz'",
    "index_key": "'folder.tar.gz.000000000000.index.jsonl.gz'",
}
MEMBER_CHANGES = {
    "size": "size + 1",
    "mode": "mode - 1",
    "mtime_ns": "mtime_ns + 1",
    "type": "'l'",
    "name": "name || 'x'",
    "sha256": "?",
    "data_offset": "data_offset + 512",
}
ONE = "WHERE id = (SELECT max(id) FROM members WHERE type = 'f')"
CHANGES = {
    **{
        f"{column} of a record": f"UPDATE files SET {column} = {value} WHERE location = 's3'"
        for column, value in RECORD_CHANGES.items()
    },
    **{
        f"{column} of a member": f"UPDATE members SET {column} = {value} {ONE}"
        for column, value in MEMBER_CHANGES.items()
    },
    "a missing member": f"DELETE FROM members {ONE}",
    "an extra member": (
        "INSERT INTO members (archive_id, directory_id, name, type, mode, size, mtime_ns, header_offset, data_offset)"
        " SELECT archive_id, directory_id, 'one more', 'f', 420, 0, 0, 0, 0 FROM members LIMIT 1"
    ),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> Program:
    home = tmp_path_factory.mktemp("folder")
    (home / "store").mkdir()
    program = Program(home, f"file://{home}/store", catalogs=catalogs)
    make_tree(program.work / "folder", files=60)
    program.ok("upload", "folder")
    catalogs.copy(home, home / "before")
    return program


@pytest.fixture
def with_a_folder(kept: Program) -> Iterator[Program]:
    """The same program for all tests; each starts with the original catalog."""
    yield kept
    kept.catalogs.copy(kept.home / "before", kept.home)


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_verify_names_a_changed_row_and_a_rebuild_repairs_it(statement: str, with_a_folder: Program) -> None:
    assert found_by(with_a_folder, "folder") == {}
    changed(statement, *([bytes(32)] if "?" in statement else []))(with_a_folder)
    found = found_by(with_a_folder, "--all")
    assert found.pop("folder.tar.gz") == "changed"
    if "index_key" in statement:  # then no record refers to the true index
        assert list(found.values()) == ["unknown"]
    else:
        assert found == {}
    if "SET path" not in statement:
        (row,) = json.loads(with_a_folder.run("-o", "json", "verify", "folder").stdout)
        with_a_folder.ok(*row["error"]["next"].split()[1:])
        assert found_by(with_a_folder, "--all") == {}


def test_verify_finds_a_missing_or_corrupt_index(on_directory: Program) -> None:
    archive_many(on_directory, 2)
    first, second = sorted(store_of(on_directory).glob("*.index.jsonl.gz"))
    first.unlink()
    corrupt(second.name)(on_directory)
    assert found_by(on_directory, "--all") == {"take 0000.tar.gz": "missing", "take 0001.tar.gz": "corrupt"}


def test_verifying_some_archives_reports_no_unknown_objects(on_directory: Program) -> None:
    archive_many(on_directory, 2)
    (store_of(on_directory) / "stranger.jpg").write_bytes(b"not ours")
    assert found_by(on_directory, "take 0001") == {}
    assert found_by(on_directory, "--sample", "50%") == {}
    assert found_by(on_directory, "--all") == {"stranger.jpg": "unknown"}


def test_verify_finds_each_problem_on_every_store(anywhere: Program) -> None:
    archive_many(anywhere, 3)
    assert found_by(anywhere, "--all") == {}
    changed("UPDATE files SET size = size + 1 WHERE path = 'take 0000.tar.gz'")(anywhere)
    other = replace(anywhere, home=anywhere.home / "other")
    (other.work / "theirs").write_bytes(b"of another catalog")
    other.ok("upload", "theirs")
    anywhere.ok("delete", "take 0001", "--yes")
    other.ok("db", "rebuild")
    other.ok("delete", "take 0002", "--yes", "--last-copy")
    found = found_by(anywhere, "--all")
    (index,) = (name for name in found if name.startswith("theirs.tar.gz."))
    assert found == {
        "take 0000.tar.gz": "changed",
        "take 0002.tar.gz": "missing",
        "theirs.tar.gz": "unknown",
        index: "unknown",
    }


def test_verify_ignores_unfinished_uploads(on_directory: Program) -> None:
    """Neither an index stored before its archive nor what a killed upload has left is a finding."""
    (on_directory.work / "clip").write_bytes(b"a take")
    killed = run_signalled(on_directory, ["upload", "clip"], Moment("prove"), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(store_of(on_directory).glob("clip*"))) == 2
    assert found_by(on_directory, "--all") == {}
