"""An index is only a claim of its writer: nothing relies on it unless this catalog has proven it."""

import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.steps.index_keys import SUFFIX
from mgmt.storage import Attributes, Transfer, open_store
from tests.program import Program

PARTIAL, NOT_FOUND, REFUSED, INTEGRITY, CONFLICT = 3, 4, 7, 8, 10
Line = dict[str, Any]


def index_of(program: Program, key: str) -> str:
    [found] = [each.key for each in open_store(program.store).list(f"{key}.") if each.key.endswith(SUFFIX)]
    return found


def read(program: Program, key: str) -> list[Line]:
    store = open_store(program.store)
    data = gzip.decompress(b"".join(store.stream(index_of(program, key))))
    return [json.loads(line) for line in data.splitlines()]


def forge(program: Program, key: str, lines: list[Line]) -> None:
    """Replace the index of the archive `key` by another one that is consistent in itself."""
    *others, last = lines
    content = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in others)
    last = {**last, "sha256": hashlib.sha256(content).hexdigest()}
    data = gzip.compress(content + json.dumps(last, separators=(",", ":")).encode() + b"\n", mtime=0)
    store, name = open_store(program.store), index_of(program, key)
    metadata = store.head(name).metadata
    store.delete(name)
    store.put(name, io.BytesIO(data), size=len(data), metadata=metadata)


def digest(own: list[Line], other: list[Line]) -> list[Line]:
    """Only the digest is of another archive."""
    return [*own[:-1], {**own[-1], "digest": other[-1]["digest"]}]


def members(own: list[Line], other: list[Line]) -> list[Line]:
    """Members and digest are of another archive."""
    listed = [line for line in other if "p" in line]
    rest = [line for line in own[:-1] if "p" not in line]
    end = {**own[-1], "end": len(listed), "digest": other[-1]["digest"], "kept": other[-1]["kept"]}
    return [rest[0], *listed, *rest[1:], end]


def another(own: list[Line], other: list[Line]) -> list[Line]:
    """As `members`, with the operation of another upload."""
    first, *rest = members(own, other)
    return [{**first, "operation_id": other[0]["operation_id"]}, *rest]


FORGERIES = [digest, members, another]
Forgery = Callable[[list[Line], list[Line]], list[Line]]


@pytest.fixture
def strangers(anywhere: Program) -> Program:
    """Another user, with another catalog, of the same store."""
    home = anywhere.home / "strangers"
    home.mkdir()
    return replace(anywhere, home=home)


@pytest.fixture
def forged(anywhere: Program, strangers: Program) -> Callable[[Forgery], Path]:
    """The strangers' `a.tar.gz` has an index that claims the content of the user's `b`."""
    (strangers.work / "a").write_text("of strangers")
    (strangers.work / "b").write_text("precious")
    (anywhere.work / "b").write_text("precious")
    for path in (strangers.work / "b", anywhere.work / "b"):
        os.utime(path, ns=(10**18, 10**18))
    strangers.ok("upload", "a")
    strangers.ok("upload", "b", "--key", "other.tar.gz")

    def make(forgery: Forgery) -> Path:
        lines = forgery(read(strangers, "a.tar.gz"), read(strangers, "other.tar.gz"))
        strangers.ok("delete", "--last-copy", "--yes", "other.tar.gz")
        forge(strangers, "a.tar.gz", lines)
        return anywhere.work / "b"

    return make


def objects(program: Program) -> dict[str, str]:
    return {each.key: each.etag for each in open_store(program.store).list()}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_upload_treats_a_forged_index_as_a_conflict(
    anywhere: Program, forged: Callable[[Forgery], Path], forgery: Forgery
) -> None:
    file, before = forged(forgery), objects(anywhere)
    done = anywhere.run("upload", file, "--key", "a.tar.gz")
    assert done.returncode == CONFLICT, done
    assert file.read_text() == "precious"
    assert not (anywhere.work / "completed").exists()
    assert objects(anywhere).keys() == before.keys()
    anywhere.ok("upload", file, "--key", "a.tar.gz", "--on-conflict", "rename")
    anywhere.ok("download", "a-2.tar.gz", "--to", "back")
    assert (anywhere.work / "back" / "b").read_text() == "precious"


@pytest.mark.parametrize("forgery", FORGERIES)
def test_verify_reports_a_forged_index(anywhere: Program, forged: Callable[[Forgery], Path], forgery: Forgery) -> None:
    forged(forgery)
    assert anywhere.run("db", "rebuild").returncode in (0, PARTIAL)
    for words in (["--all"], ["a.tar.gz"], ["--all", "--read-back"]):
        done = anywhere.run("verify", *words)
        assert done.returncode == INTEGRITY, (words, done)
        assert "a.tar.gz" in done.stdout + done.stderr


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_index_does_not_count_as_another_copy(
    anywhere: Program, forged: Callable[[Forgery], Path], forgery: Forgery
) -> None:
    file = forged(forgery)
    anywhere.ok("upload", file)
    anywhere.ok("db", "rebuild")
    copy, store = anywhere.work / "completed" / "b", open_store(anywhere.store)
    content = b"".join(store.stream("b.tar.gz"))
    metadata = store.head("b.tar.gz").metadata
    store.delete("b.tar.gz")
    assert anywhere.run("free", "--yes", copy).returncode in (REFUSED, INTEGRITY)
    assert anywhere.run("free", "--all", "--yes").returncode in (REFUSED, INTEGRITY)
    assert copy.read_text() == "precious"
    upload = store.start_upload("b.tar.gz", Attributes(metadata), Transfer(len(content)))
    upload.write(content)
    upload.finish()
    upload.complete()
    upload.close()
    copy.unlink()
    assert anywhere.run("delete", "--yes", "b.tar.gz").returncode == REFUSED
    assert "b.tar.gz" in objects(anywhere)
    anywhere.ok("download", "b.tar.gz", "--to", "back")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_index_never_replaces_a_proven_record(anywhere: Program, forgery: Forgery) -> None:
    for name in ("a", "b"):
        (anywhere.work / name).write_text(f"what is in {name}")
        anywhere.ok("upload", name)
    proven = anywhere.json("status", "a.tar.gz")["file"]
    listed = anywhere.json("ls", "--members", "a.tar.gz")
    forge(anywhere, "a.tar.gz", forgery(read(anywhere, "a.tar.gz"), read(anywhere, "b.tar.gz")))
    for words in (["verify", "a.tar.gz"], ["verify", "--all"], ["download", "a.tar.gz", "--to", "back"]):
        done = anywhere.run(*words)
        assert done.returncode == INTEGRITY, (words, done)
        assert "a.tar.gz" in done.stdout + done.stderr
    assert not (anywhere.work / "back" / "a").exists()
    (anywhere.work / "completed" / "a").rename(anywhere.work / "a")
    done = anywhere.run("upload", "a")
    assert done.returncode == CONFLICT, done
    done = anywhere.run("db", "rebuild")
    assert done.returncode == PARTIAL
    assert "a.tar.gz" in done.stderr
    now = anywhere.json("status", "a.tar.gz")["file"]
    for name in ("id", "digest", "kept", "object_checksum", "archive_id", "member_count", "proof", "status"):
        assert now.get(name) == proven.get(name), name
    assert anywhere.json("ls", "--members", "a.tar.gz") == listed
    anywhere.ok("verify", "b.tar.gz")


# Claims about kept attributes


@pytest.fixture
def noted(anywhere: Program, strangers: Program) -> Path:
    """The strangers' `a.tar.gz` has an index that claims an attribute it does not keep."""
    for program in (strangers, anywhere):
        (program.work / "a").write_text("precious")
        try:
            os.setxattr(program.work / "a", "user.note", b"mine")
        except OSError:
            pytest.skip("NOT TESTED: this file system has no extended attributes")
        os.utime(program.work / "a", ns=(10**18, 10**18))
    strangers.ok("upload", "--keep", "--xattrs", "a", "--key", "other.tar.gz")
    kept = read(strangers, "other.tar.gz")[-1]["kept"]
    strangers.ok("delete", "--last-copy", "--yes", "other.tar.gz")
    strangers.ok("upload", "a")
    lines = read(strangers, "a.tar.gz")
    forge(strangers, "a.tar.gz", [{**lines[0], "xattrs": True}, *lines[1:-1], {**lines[-1], "kept": kept}])
    return anywhere.work / "a"


def test_upload_treats_forged_attributes_as_a_conflict(anywhere: Program, noted: Path) -> None:
    assert anywhere.run("upload", "--xattrs", noted).returncode == CONFLICT
    assert noted.exists()
    assert anywhere.run("upload", noted).returncode == CONFLICT  # it does not match its index
    anywhere.ok("upload", "--xattrs", noted, "--on-conflict", "rename")


@pytest.mark.usefixtures("noted")
def test_verify_reports_forged_attributes(anywhere: Program) -> None:
    anywhere.ok("db", "rebuild")
    for words in (["--all"], ["a.tar.gz"]):
        done = anywhere.run("verify", *words)
        assert done.returncode == INTEGRITY, (words, done)
        assert "a.tar.gz" in done.stdout + done.stderr


def test_forged_attributes_do_not_count_as_another_copy(anywhere: Program, noted: Path) -> None:
    anywhere.ok("upload", "--xattrs", noted, "--key", "b.tar.gz")
    anywhere.ok("db", "rebuild")
    copy, store = anywhere.work / "completed" / "a", open_store(anywhere.store)
    store_name = index_of(anywhere, "b.tar.gz")
    store.delete("b.tar.gz")
    store.delete(store_name)
    assert anywhere.run("free", "--yes", copy).returncode in (REFUSED, INTEGRITY)
    assert os.getxattr(copy, "user.note") == b"mine"


def test_forged_attributes_never_replace_proven_ones(anywhere: Program) -> None:
    (anywhere.work / "a").write_text("precious")
    anywhere.ok("upload", "a")
    kept = anywhere.json("status", "a.tar.gz")["file"]["kept"]
    lines = read(anywhere, "a.tar.gz")
    forge(anywhere, "a.tar.gz", [*lines[:-1], {**lines[-1], "kept": f"xattrs:{'0' * 64}"}])
    assert anywhere.run("verify", "a.tar.gz").returncode == INTEGRITY
    assert anywhere.run("db", "rebuild").returncode == PARTIAL
    assert anywhere.json("status", "a.tar.gz")["file"]["kept"] == kept


# Claims about the bytes of the object


def test_a_forged_checksum_is_compared_with_the_object(anywhere: Program, strangers: Program) -> None:
    for program in (strangers, anywhere):
        (program.work / "a").write_text("precious")
        os.utime(program.work / "a", ns=(10**18, 10**18))
    strangers.ok("upload", "a")
    lines = read(strangers, "a.tar.gz")
    forge(strangers, "a.tar.gz", [*lines[:-1], {**lines[-1], "checksum": "crc64nvme:AAAAAAAAAAA="}])
    assert anywhere.run("upload", "a").returncode == CONFLICT
    assert (anywhere.work / "a").exists()
    anywhere.ok("db", "rebuild")
    assert anywhere.run("verify", "--all").returncode == INTEGRITY
