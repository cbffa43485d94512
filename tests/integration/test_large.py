"""Tests that need many files, or large ones."""

import hashlib
import subprocess
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.archive.tools import TARS
from tests.faults.proxy import proxy
from tests.program import Program
from tests.servers import Server, environment
from tests.trees import describe, make_tree, random_file


def fetch(program: Program, server: Server, key: str, to: Path) -> Path:
    """Download the object with a plain S3 client."""
    bucket, _, prefix = program.store.removeprefix("s3://").partition("/")
    server.client().download_file(bucket, f"{prefix}/{key}", str(to))
    return to


def tar_of(archive: Path) -> str:
    inflate = zlib.decompressobj(31)
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(inflate.decompress(data))
    assert inflate.eof
    return digest.hexdigest()


@pytest.mark.sqlite  # it tests the store and the archive above all
@pytest.mark.parametrize("many", [3000, pytest.param(10_000, marks=pytest.mark.torture)])
def test_a_folder_of_many_files_is_archived_and_restored_exactly(
    many: int, on_seaweed: Program, seaweed: Server, tmp_path: Path
) -> None:
    """Every reader lists the same entries, the download is identical, and a copy has the same digest and tar."""
    tree = make_tree(on_seaweed.work / "photos", files=many)
    copies = on_seaweed.work / "copies"
    copies.mkdir()
    subprocess.run(["cp", "-a", tree, copies / "another name"], check=True)
    subprocess.run(["cp", "-a", tree, copies / "photos"], check=True)
    before = describe(tree)

    [upload] = on_seaweed.json("upload", tree)
    archive = fetch(on_seaweed, seaweed, "photos.tar.gz", tmp_path / "photos.tar.gz")

    with tarfile.open(archive, "r|gz") as stream:
        names = [member.name for member in stream]
    assert len(names) == len(set(names)) == upload["file_count"] + upload["folder_count"] + upload["link_count"]
    assert len(names) > many
    listed = subprocess.run(["tar", "tzf", archive, "--quoting-style=literal"], capture_output=True, check=True).stdout
    assert len(listed.splitlines()) == len(names) + 1  # one name holds a newline

    on_seaweed.ok("download", "photos", "--to", "back")
    assert describe(on_seaweed.work / "back" / "photos") == before
    difference = subprocess.run(
        [
            "diff",
            "-r",
            "--no-dereference",
            on_seaweed.work / "completed" / "photos",
            on_seaweed.work / "back" / "photos",
        ],
        capture_output=True,
        check=False,
    )
    assert (difference.returncode, difference.stdout) == (0, b"")

    [again] = on_seaweed.json("upload", copies / "photos")
    assert again["metadata"]["already_archived"] is True
    assert again["digest"] == upload["digest"]
    [other] = on_seaweed.json("upload", copies / "another name")
    assert other["digest"] == upload["digest"]

    on_seaweed.ok("delete", "photos", "--yes")
    (on_seaweed.work / "completed" / "photos").rename(on_seaweed.work / "photos")
    on_seaweed.ok("upload", on_seaweed.work / "photos", "--level", "balanced")
    balanced = fetch(on_seaweed, seaweed, "photos.tar.gz", tmp_path / "balanced.tar.gz")
    assert balanced.read_bytes() != archive.read_bytes()
    assert tar_of(balanced) == tar_of(archive)


@pytest.mark.sqlite  # they read only the store
@pytest.mark.parametrize("tar", [tar for tar in TARS if tar.unpacking], ids=str)
def test_other_readers_unpack_the_object(on_directory: Program, tmp_path: Path, tar: object) -> None:
    from tests.archive.tools import Tar

    assert isinstance(tar, Tar)
    tree = make_tree(on_directory.work / "photos", files=500)
    (tree / "odd" / "dangling").unlink()  # 7z refuses dangling links
    contents = {name: facts[4] for name, facts in describe(tree).items() if facts[0] == "file"}
    on_directory.ok("upload", tree)
    tar.unpack(on_directory.home / "store" / "photos.tar.gz", tmp_path / "out")
    found = describe(tmp_path / "out" / "photos")
    assert {name: facts[4] for name, facts in found.items() if facts[0] == "file"} == contents


def test_downloading_a_small_member_reads_only_its_blocks(on_seaweed: Program, seaweed: Server) -> None:
    folder = on_seaweed.work / "shoot"
    folder.mkdir()
    (folder / "a first.txt").write_text("first")
    random_file(folder / "clip.mov", 128 << 20)
    (folder / "notes.txt").write_text("what to keep")
    on_seaweed.ok("upload", folder)
    with proxy(seaweed) as counting:
        through = replace(on_seaweed, environment=environment(counting.endpoint_url))
        through.ok("download", "shoot", "--member", "notes.txt", "--to", "back")
    assert (on_seaweed.work / "back" / "notes.txt").read_text() == "what to keep"
    assert 0 < counting.answered < 3 << 20
