"""Every tool that reads tar.gz reads archives of mgmt."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from mgmt.archive import Tree
from tests.archive.archives import Written, raw, write
from tests.archive.tools import TARS, Tar, gnu_tar
from tests.trees import describe, make_tree


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    root = make_tree(tmp_path / "photos", files=40)
    odd = root / "odd"
    raw(odd, b"\xfe" * 255).write_text("255 bytes that are not utf-8")
    raw(odd, b"\x01\x1b[31mred\x7f").write_text("control characters")
    (odd / "é").write_text("composed")
    (odd / "e\u0301").write_text("decomposed")
    (odd / ("ü" * 120)).write_text("long and not ascii")
    (odd / ("u\u0308" * 80)).write_text("long and decomposed")
    (odd / " leading and trailing ").write_text("spaces")
    (odd / "back\\slash").write_text("backslash")
    (odd / "-rf").write_text("dash")
    os.symlink(b"\xff/" * 60, raw(odd, b"link \xff"))
    for name in ("ancient", "old", "new"):
        (odd / name).write_text(name)
    os.utime(odd / "ancient", ns=(-(10**18), -(10**18)))
    os.utime(odd / "old", ns=(0, 0))
    os.utime(odd / "new", ns=(8**11 * 10**9 - 10**9, 8**11 * 10**9 - 10**9))
    return root


def contents(root: Path) -> dict[bytes, bytes]:
    """Every path as bytes, with a file's content, a link's target, or a marker for a folder."""
    found: dict[bytes, bytes] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, os.fsencode(root))] = b"-> " + os.readlink(path)
            elif name in folders:
                found[os.path.relpath(path, os.fsencode(root))] = b"/"
            else:
                with open(path, "rb") as file:
                    found[os.path.relpath(path, os.fsencode(root))] = file.read()
    return found


@pytest.mark.parametrize("tar", [tar for tar in TARS if tar.unpacking], ids=str)
def test_every_tool_extracts_everything(tar: Tar, odd_tree: Path, tmp_path: Path) -> None:
    if tar.name == "7z":  # it skips dangling links
        for link in (odd_tree / "odd" / "dangling", raw(odd_tree / "odd", b"link \xff")):
            link.unlink()
    archive = tmp_path / "photos.tar.gz"
    archive.write_bytes(write(Tree(os.fspath(odd_tree), "photos"), tmp_path / "index").object)
    tar.unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out" / "photos") == contents(odd_tree)


def test_gnu_tar_restores_modes_times_and_links(odd_tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photos.tar.gz"
    archive.write_bytes(write(Tree(os.fspath(odd_tree), "photos"), tmp_path / "index").object)
    (tmp_path / "out").mkdir()
    gnu_tar(tmp_path / "out", "xzf", os.fspath(archive))
    assert describe(tmp_path / "out" / "photos") == describe(odd_tree)


@pytest.mark.parametrize("mode", ["r:gz", "r|gz", "r|*", "r:*"])
def test_tarfile_lists_every_member(mode: str, odd_tree: Path, tmp_path: Path) -> None:
    written = write(Tree(os.fspath(odd_tree), "photos"), tmp_path / "index")
    with tarfile.open(fileobj=io.BytesIO(written.object), mode=mode) as tar:  # type: ignore[call-overload]
        listed = [(member.name, member.size, member.mode, member.linkname) for member in tar]
    assert listed == [(each.path, each.size, each.mode, each.link or "") for each in written.index.members()]


def test_tarfile_reads_every_file(written: Written) -> None:
    with tarfile.open(fileobj=io.BytesIO(written.object), mode="r|gz") as tar:
        for member, ours in zip(tar, written.index.members(), strict=True):
            if ours.type == "f":
                file = tar.extractfile(member)
                assert file is not None
                assert len(file.read()) == ours.size
