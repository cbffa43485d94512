"""Indexes that inflate to hundreds of megabytes, and folders deeper than the call stack: no command breaks on them."""

import base64
import gzip
import io
import os
import random
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.archive import Tree, hash_tree, remove_tree
from mgmt.progress import NoProgress
from mgmt.services.steps.index_keys import SUFFIX
from mgmt.storage import open_store
from tests.forked import Forked
from tests.program import Done, Program

INTEGRITY, CONFLICT, PARTIAL = 8, 10, 3
FILE_LIMIT, MEMORY_LIMIT = 32 << 20, 160 << 20
"""Bytes that a command may use in one file, and in memory besides its modules. A bomb has 60 MB as stored, or 300 MB
inflated."""

DEPTH = 1200


def lines(first: bytes, line: bytes, size: int) -> bytes:
    """A first line, then `size` bytes of other lines."""
    data = io.BytesIO()
    with gzip.open(data, "wb", compresslevel=1) as file:
        file.write(first + b"\n")
        many = line * (1_000_000 // len(line))
        for _ in range(size // len(many)):
            file.write(many)
    return data.getvalue()


def one_line(first: bytes) -> bytes:
    """One line of 300 MB."""
    return lines(first, b" ", 300 << 20)


def members(first: bytes) -> bytes:
    return lines(first, b'{"p":"notes","t":"d","o":0,"d":0,"m":0,"n":0}\n', 300 << 20)


def blocks(first: bytes) -> bytes:
    return lines(first, b'{"b":"' + base64.b64encode(struct.pack("<II", 1017, 0) * 8192) + b'"}\n', 300 << 20)


def noise(first: bytes) -> bytes:
    """An index that is too large as stored, without inflating."""
    data = gzip.compress(first + b"\n")
    return data + random.Random(1).randbytes(60 << 20)


COMMANDS = {
    ("verify", "notes.tar.gz"): INTEGRITY,
    ("download", "notes.tar.gz", "--to", "back"): INTEGRITY,
    ("download", "notes.tar.gz", "--member", "notes", "--to", "back"): INTEGRITY,
    ("db", "rebuild"): PARTIAL,
    ("upload", "notes"): CONFLICT,
}
BOMBS = {"one line": one_line, "members": members, "blocks": blocks, "noise": noise}


@pytest.fixture(params=BOMBS)
def bombed(request: pytest.FixtureRequest, anywhere: Program) -> Program:
    """`notes` is uploaded, and its index is replaced by a bomb."""
    (anywhere.work / "notes").write_text("precious")
    anywhere.ok("upload", "--keep", "notes")
    store = open_store(anywhere.store)
    [name] = [each.key for each in store.list() if each.key.endswith(SUFFIX)]
    first = gzip.decompress(b"".join(store.stream(name))).splitlines()[0]
    metadata, bomb = store.head(name).metadata, BOMBS[request.param](first)
    store.delete(name)
    store.put(name, io.BytesIO(bomb), size=len(bomb), metadata=metadata)
    return anywhere


def bounded(program: Program, *words: str) -> Done:
    """Run a command in a child limited to FILE_LIMIT bytes a file; assert that it takes less than MEMORY_LIMIT."""

    def main() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # VmHWM is now the size of the test process
        before = peak()
        status = program.main(list(words))
        print("peak", peak() - before, file=sys.stderr)
        return status

    child = Forked(main, environment=program.env(), cwd=program.work)
    output, errors = child.communicate()
    errors, _, taken = errors.rpartition("peak ")
    assert "Traceback" not in errors
    assert int(taken) < MEMORY_LIMIT, f"{int(taken) >> 20} MiB"
    return Done(child.wait(), output, errors)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def assert_reported(program: Program) -> None:
    for words, status in COMMANDS.items():
        done = bounded(program, *words)
        assert done.returncode == status, (words, done)
        assert "notes.tar.gz" in done.stdout + done.stderr, words
        assert "scratch" not in done.stdout + done.stderr, words
    assert not (program.work / "back" / "notes").exists()
    assert (program.work / "notes").read_text() == "precious"


def test_an_index_that_is_a_bomb_is_reported(bombed: Program) -> None:
    """With the catalog that has proven the archive, and with an empty one."""
    assert_reported(bombed)
    assert bombed.json("status", "notes.tar.gz")["file"]["proof"]
    bombed.records.remove()
    assert_reported(bombed)
    assert bombed.json("ls", "--location", "s3") == []


@pytest.fixture(params=["short names", "names longer than any path"])
def deep(request: pytest.FixtureRequest, anywhere: Program) -> Iterator[str]:
    """A folder DEPTH levels deep, with some files in it; yields its digest."""
    name = "d" if request.param == "short names" else "a-long-name"
    here = os.open(anywhere.work, os.O_RDONLY)
    for level, each in enumerate(["deep", *[name] * DEPTH]):
        os.mkdir(each, dir_fd=here)
        below = os.open(each, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if level % 100 == 0:
            with open(os.open(f"file{level}", os.O_CREAT | os.O_WRONLY, dir_fd=here), "w") as file:
                file.write(f"at level {level}")
    os.close(here)
    yield digest(anywhere.work / "deep")
    remove_tree(os.fspath(anywhere.home), "work")  # pytest's own removal recurses


def digest(path: Path) -> str:
    return hash_tree(Tree(os.fspath(path), path.name), NoProgress()).digest


def test_a_folder_deeper_than_the_stack_passes_through_every_command(anywhere: Program, deep: str) -> None:
    """It is archived, compared, freed, deleted, verified and downloaded."""
    assert sys.getrecursionlimit() < DEPTH
    anywhere.ok("upload", "-n", "deep")
    anywhere.ok("upload", "deep")
    copy = anywhere.work / "completed" / "deep"
    assert digest(copy) == deep
    anywhere.ok("delete", "--yes", "deep")
    copy.rename(anywhere.work / "deep")
    anywhere.ok("upload", "deep")
    anywhere.ok("verify", "--all", "--read-back")
    anywhere.ok("free", "--yes", copy)
    assert os.listdir(copy.parent) == []
    anywhere.ok("download", "deep", "--to", "back")
    assert digest(anywhere.work / "back" / "deep") == deep
    assert len(anywhere.json("ls", "--members", "deep", "--limit", "9999")) == DEPTH + 1 + DEPTH // 100 + 1
    anywhere.records.remove()
    anywhere.ok("db", "rebuild")
    anywhere.ok("verify", "--all")
    (anywhere.work / "back" / "deep").rename(anywhere.work / "deep")
    anywhere.ok("upload", "deep")  # already archived
    anywhere.ok("recover")
    assert digest(copy) == deep
