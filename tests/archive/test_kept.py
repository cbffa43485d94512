"""Tokens of owners and extended attributes, on which writer, hasher and reader agree."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from mgmt.archive import Index, Tree, covers, digest_members, hash_tree, inflate
from mgmt.archive.header import Header, end
from mgmt.errors import IntegrityError
from mgmt.progress import NoProgress
from tests.archive.archives import write
from tests.archive.tools import gnu_tar


def token(name: str, lines: Iterable[bytes]) -> str:
    return f"{name}:{hashlib.sha256(b''.join(lines)).hexdigest()}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "file").write_text("content")
    (root / "same").hardlink_to(root / "file")
    (root / "link").symlink_to("file")
    try:
        os.setxattr(root / "file", "user.b=%", b"\0\n")
        os.setxattr(root / "file", "user.a", b"")
        os.setxattr(root / "folder", "user.c", b"value")
    except OSError as error:
        pytest.skip(f"{tmp_path} keeps no extended attributes, so they were not tried: {error}")
    if os.geteuid() == 0:
        os.chown(root / "file", 1000, 3_000_000_000)
        os.chown(root / "link", 7, 8, follow_symlinks=False)
    return root


def test_the_tokens_match_the_specification(root: Path, tmp_path: Path) -> None:
    def owned(path: str) -> bytes:
        status = os.lstat(root / path)
        return b"%s\0%d\0%d\n" % (os.fsencode(path), status.st_uid, status.st_gid)

    owners = token("owners", [owned("."), owned("file"), owned("folder"), owned("link")])
    xattrs = token(
        "xattrs",
        [b"file\x002\0" + b"user.a\x000\0" + b"user.b=%\x002\0\0\n" + b"\n", b"folder\x001\0user.c\x005\0value\n"],
    )
    tree = Tree(os.fspath(root), "r")
    written = write(tree, tmp_path / "index", owners=True, xattrs=True)
    assert written.archived.kept == f"{owners} {xattrs}"
    contents = digest_members(inflate([written.object]))
    assert (contents.owners, contents.xattrs, contents.kept) == (owners, xattrs, f"{owners} {xattrs}")
    assert write(tree, tmp_path / "2", owners=True).archived.kept == owners
    assert write(tree, tmp_path / "3", xattrs=True).archived.kept == xattrs
    assert hash_tree(tree, NoProgress(), xattrs=True).kept == xattrs
    assert hash_tree(tree, NoProgress()).kept == ""


def test_an_archive_holds_exactly_what_was_requested(root: Path, tmp_path: Path) -> None:
    tree = Tree(os.fspath(root), "r")
    all_of_it = hash_tree(tree, NoProgress(), owners=True, xattrs=True).kept
    bare = write(tree, tmp_path / "index")
    contents = digest_members(inflate([bare.object]))
    assert (bare.archived.kept, contents.kept) == ("", "")
    assert contents.holds("")
    assert not contents.holds(all_of_it)
    assert not contents.holds(all_of_it.split()[1])
    assert not contents.holds("colours:" + "0" * 64)
    lines = gzip.decompress(bare.index_path.read_bytes()).splitlines()
    assert json.loads(lines[-1])["kept"] == ""
    assert not {"owners", "xattrs"} & json.loads(lines[0]).keys()
    full = write(tree, tmp_path / "full", owners=True, xattrs=True)
    assert (full.index.header.owners, full.index.header.xattrs) == (True, True)
    first, *_, last = map(json.loads, gzip.decompress(full.index_path.read_bytes()).splitlines())
    assert (first["owners"], first["xattrs"], last["kept"]) == (True, True, all_of_it)


def test_covers() -> None:
    one, other, owners = token("xattrs", [b"1"]), token("xattrs", [b"2"]), token("owners", [b"1"])
    none = token("xattrs", [])
    assert covers("", "")
    assert covers(f"{owners} {one}", one)
    assert covers(f"{owners} {one}", f"{owners} {one}")
    assert not covers(one, other)
    assert not covers(one, f"{owners} {one}")
    assert not covers("", owners)
    assert covers("", none)  # there are none, so none is missing
    assert covers(owners, f"{owners} {none}")
    assert not covers(one, none)  # the archive has some


def write_index(path: Path, lines: list[bytes], last: dict[str, object]) -> Path:
    last["sha256"] = hashlib.sha256(b"".join(lines)).hexdigest()
    path.write_bytes(gzip.compress(b"".join(lines) + json.dumps(last).encode() + b"\n"))
    return path


def test_an_older_index_has_no_kept_field(root: Path, tmp_path: Path) -> None:
    written = write(Tree(os.fspath(root), "r"), tmp_path / "index")
    *lines, end = gzip.decompress(written.index_path.read_bytes()).splitlines(keepends=True)
    last = json.loads(end)
    del last["kept"]
    index = Index.open(os.fspath(write_index(tmp_path / "old", lines, last)))
    assert index.end.kept is None
    assert (index.header.owners, index.header.xattrs) == (False, False)
    for wrong in (1, "owners", f"{'0' * 64}", f"owners:{'0' * 64} ", f" owners:{'0' * 64}", ["owners"], "owners:\n"):
        with pytest.raises(IntegrityError, match=r"instead of (tokens of what is kept|a text)"):
            Index.open(os.fspath(write_index(tmp_path / "wrong", lines, last | {"kept": wrong})))
    lines[0] = lines[0].replace(b'"level"', b'"owners":1,"level"')
    with pytest.raises(IntegrityError, match="instead of true or false"):
        Index.open(os.fspath(write_index(tmp_path / "wrong", lines, last)))


def test_owners_in_an_archive_of_another_tool(root: Path, tmp_path: Path) -> None:
    """GNU tar writes large ids in base 256, and the names of known users."""
    kept = hash_tree(Tree(os.fspath(root), "root"), NoProgress(), owners=True).kept
    contents = digest_members([gnu_tar(tmp_path, "-c", "--format=gnu", "--sort=name", "root")])
    assert contents.owners == kept
    named = gnu_tar(tmp_path, "-c", "--format=ustar", "--owner=photographer:0", "--group=0", "root/folder")
    assert digest_members([named]).kept == digest_members([named]).owners
    damaged = bytearray(gnu_tar(tmp_path, "-c", "--format=ustar", "--numeric-owner", "--owner=0", "--group=0", "root"))
    damaged[108:116] = b"nobody\0\0"
    damaged[148:156] = b"%06o\0 " % (sum(damaged[:148]) + sum(damaged[156:512]) + 8 * 32)
    assert digest_members([bytes(damaged)]).kept == ""


def test_an_impossible_attribute_name_is_rejected_when_read_back() -> None:
    for name in (b"", b"user.a\0b"):
        header = Header("r", "f", mode=0o644, mtime_ns=0, xattrs={name: b"value"}).pack()
        with pytest.raises(IntegrityError, match="invalid name"):
            digest_members([header + bytes(end(len(header)))])
