"""Restoring to file systems that cannot hold all that an archive holds: the member is named, and can be left out."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgmt.archive import Tree, extract, read_blocks, read_members, rename_noreplace
from mgmt.errors import IntegrityError, MgmtError
from mgmt.progress import NoProgress
from tests.archive.archives import Written, write
from tests.archive.test_extract import restore
from tests.integration import odd_disks

WAY = "mgmt download --skip-unsupported ...\n# or: --to DIR on another file system, --member PATH for a part"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A folder with all that some file systems cannot hold, and files that each can."""
    root = tmp_path / "root"
    for name in ("plain", "twins", "Case", "case", "12:30"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    (root / "twins" / "a.txt").write_text("small")
    (root / "twins" / "A.TXT").write_text("large")
    (root / "12:30.txt").write_text("noon")
    (root / "link").symlink_to("plain/file")
    (root / "LINK").symlink_to("twins")
    (root / "plain" / "again").hardlink_to(root / "plain" / "file")
    return write(Tree(os.fspath(root), "root"), tmp_path / "index")


def without_case(patch: pytest.MonkeyPatch) -> None:
    """A name is taken when another that differs in case only is there."""

    def checked(function: Callable[..., Any], position: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            name, folder = arguments[position], options.get("dir_fd", options.get("dst_dir_fd"))
            creates = function is not os_open or arguments[1] & os.O_EXCL
            if creates and folder is not None:
                for each in os.listdir(folder):
                    if each.lower() == os.fsdecode(name).lower():
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            return function(*arguments, **options)

        return call

    os_open = os.open
    patch.setattr(os, "open", checked(os.open, 0))
    patch.setattr(os, "mkdir", checked(os.mkdir, 0))
    patch.setattr(os, "symlink", checked(os.symlink, 1))
    patch.setattr(os, "link", checked(os.link, 1))


def without_colons(patch: pytest.MonkeyPatch, number: int) -> None:
    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: Any, *arguments: Any, **options: Any) -> Any:
            if b":" in os.fsencode(name) and options.get("dir_fd") is not None:
                raise OSError(number, os.strerror(number))
            return function(name, *arguments, **options)

        return call

    patch.setattr(os, "open", checked(os.open))
    patch.setattr(os, "mkdir", checked(os.mkdir))


CANNOT: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "symbolic links": (
        lambda patch: patch.setattr(os, "symlink", odd_disks.refusing(errno.EPERM)),
        {"root/link", "root/LINK"},
    ),
    "symbolic links, by ENOSYS": (
        lambda patch: patch.setattr(os, "symlink", odd_disks.refusing(errno.ENOSYS)),
        {"root/link", "root/LINK"},
    ),
    "hard links": (
        lambda patch: patch.setattr(os, "link", odd_disks.refusing(errno.EPERM)),
        {"root/plain/file"},
    ),
    "case": (without_case, {"root/case", "root/case/file", "root/twins/a.txt", "root/link"}),
    "colons": (lambda patch: without_colons(patch, errno.EINVAL), {"root/12:30", "root/12:30/file", "root/12:30.txt"}),
    "colons, by ENOENT": (
        lambda patch: without_colons(patch, errno.ENOENT),
        {"root/12:30", "root/12:30/file", "root/12:30.txt"},
    ),
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_a_disk_cannot_hold_is_named_and_may_be_left_out(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    patch, expected = CANNOT[what]
    with monkeypatch.context() as patched:
        patch(patched)
        with pytest.raises(MgmtError, match=r"out cannot hold root/\S+: its file system") as raised:
            restore(written, out)
        assert not isinstance(raised.value, IntegrityError)
        assert raised.value.next_step == WAY
        assert os.listdir(out) == []
        found = restore(written, out, digest=written.archived.digest, skip_unsupported=True)
    assert {each.path for each in found.unsupported} == expected
    restored = {os.fspath(path.relative_to(out)) for path in (out / "root").rglob("*")}
    assert restored == {member.path for member in written.index.members()} - expected - {"root"}


def test_what_is_in_an_archive_twice_is_still_its_fault(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member for member, _ in read_members(read_blocks(written.index, written.fetch, 2))]
    twice = [(member, iter(())) for member in members if member.path in ("root", "root/Case")]
    without_case(monkeypatch)
    with pytest.raises(IntegrityError, match="more than once"):
        extract([*twice, twice[-1]], os.fspath(out), token="t", progress=NoProgress())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.E2BIG])
def test_attributes_that_do_not_fit_are_left_out_and_the_file_is_kept(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("content")
    try:
        os.setxattr(tmp_path / "root" / "file", "user.large", b"x" * 1000)
    except OSError as error:
        pytest.skip(f"this filesystem has no user attributes: {error}")
    written = write(Tree(os.fspath(tmp_path / "root"), "root"), tmp_path / "index", xattrs=True)
    monkeypatch.setattr(os, "setxattr", odd_disks.refusing(number))
    with pytest.raises(MgmtError, match="out cannot hold the extended attributes of root/file"):
        restore(written, out)
    found = restore(written, out, skip_unsupported=True)
    assert [each.path for each in found.unsupported] == ["root/file"]
    assert (out / "root" / "file").read_text() == "content"
    shutil.rmtree(out / "root")
    monkeypatch.setattr("mgmt.archive.restored_file._has_room", lambda _: False)
    if number == errno.ENOSPC:
        with pytest.raises(MgmtError, match="out cannot be written to: No space left"):
            restore(written, out, skip_unsupported=True)


@pytest.mark.parametrize(("call", "what"), [("fchmod", "mode"), ("utime", "time")])
def test_modes_and_times_that_cannot_be_set_are_named(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch, call: str, what: str
) -> None:
    monkeypatch.setattr(os, call, odd_disks.refusing(errno.EPERM))
    with pytest.raises(MgmtError, match=rf"out cannot hold the {what} of root/\S+: Operation not permitted"):
        restore(written, out)
    found = restore(written, out, skip_unsupported=True)
    assert {"root", "root/12:30.txt"} <= {each.path for each in found.unsupported}
    assert {each.reason for each in found.unsupported} == {f"only the {what} (Operation not permitted)"}
    assert os.readlink(out / "root" / "link") == "plain/file"
    assert (out / "root" / "12:30.txt").read_text() == "noon"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOENT])
def test_a_root_whose_name_a_disk_cannot_hold_is_named(
    written: Written, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setitem(rename_noreplace.__globals__, "_rename_in_one_step", odd_disks.refusing(number))
    with pytest.raises(MgmtError, match=r"out cannot hold 12:30\.txt: its file system does not accept the name"):
        restore(written, out, "12:30.txt", skip_unsupported=True)
    assert os.listdir(out) == []


def test_a_real_exfat(written: Written, tmp_path: Path) -> None:
    with odd_disks.exfat(tmp_path) as out:
        with pytest.raises(MgmtError, match="exfat cannot hold root/"):
            restore(written, out)
        assert os.listdir(out) == []
        found = restore(written, out, skip_unsupported=True)
        assert {each.path for each in found.unsupported} == set.union(*(names for _, names in CANNOT.values())) | {
            "root/LINK"
        }
        assert (out / "root" / "plain" / "again").read_text() == "plain"
        with pytest.raises(MgmtError, match=r"exfat cannot hold 12:30\.txt"):
            restore(written, out, "12:30.txt", skip_unsupported=True)


def test_a_real_ext4_with_large_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from XFS, or from ext4 with the feature ea_inode."""
    (tmp_path / "file").write_text("content")
    monkeypatch.setattr("mgmt.archive.source.read_xattrs", lambda _: {b"user.large": b"x" * 50_000})
    written = write(Tree(os.fspath(tmp_path / "file"), "file"), tmp_path / "index", xattrs=True)
    with odd_disks.small_attributes(tmp_path) as out:
        with pytest.raises(MgmtError, match="ext4 cannot hold the extended attributes of file"):
            restore(written, out)
        assert [each.path for each in restore(written, out, skip_unsupported=True).unsupported] == ["file"]
        assert (out / "file").read_text() == "content"
