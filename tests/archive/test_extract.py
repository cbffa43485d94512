import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.archive import (
    Extracted,
    Limits,
    Member,
    Tree,
    Wanted,
    extract,
    inflate,
    read_blocks,
    read_members,
    read_selection,
    remove_partial,
    select,
)
from mgmt.errors import ConflictError, IntegrityError, MgmtError, NotFoundError
from mgmt.progress import NoProgress
from tests.archive.archives import Written, chunked, raw, set_times, write
from tests.integration.odd_disks import refusing
from tests.trees import describe, random_file, walk


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def restore(written: Written, out: Path, name: str | None = None, **options: object) -> Extracted:
    members = read_members(read_blocks(written.index, written.fetch, 2))
    wanted = Wanted(name, **options)  # type: ignore[arg-type]
    return extract(members, os.fspath(out), wanted, token="t", progress=NoProgress())


def test_a_tree_is_restored_unchanged(tree: Tree, written: Written, out: Path) -> None:
    found = restore(written, out, digest=written.archived.digest, limits=Limits.of(written.index.end))
    assert describe(out / "photos") == describe(Path(tree.root))
    assert os.listdir(out) == ["photos"]
    assert found == Extracted(
        path=os.fspath(out / "photos"),
        digest=written.archived.digest,
        file_sha256=None,
        members=written.archived.members,
        size=written.archived.original_size,
    )


def test_a_tree_is_restored_under_another_name(tree: Tree, written: Written, out: Path) -> None:
    assert restore(written, out, "other\nname").path == os.fspath(out / "other\nname")
    assert describe(out / "other\nname") == describe(Path(tree.root))


def test_a_single_file_and_a_single_link_are_restored(tmp_path: Path, out: Path) -> None:
    file = random_file(tmp_path / "clip.mov", 3_000_000)
    os.utime(file, ns=(7, 1_234_567_890_123_456_789))
    file.chmod(0o604)
    written = write(Tree(os.fspath(file), "clip.mov"), tmp_path / "index")
    found = restore(written, out, digest=written.archived.digest)
    assert found.file_sha256 == written.archived.file_sha256
    assert (out / "clip.mov").read_bytes() == file.read_bytes()
    assert (out / "clip.mov").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert stat.S_IMODE((out / "clip.mov").stat().st_mode) == 0o604
    (tmp_path / "link").symlink_to("nowhere")
    restore(write(Tree(os.fspath(tmp_path / "link"), "link"), tmp_path / "index 2"), out)
    assert os.readlink(out / "link") == "nowhere"
    assert (out / "link").lstat().st_mtime_ns == (tmp_path / "link").lstat().st_mtime_ns


def test_setuid_and_setgid_are_stripped(tmp_path: Path, out: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    modes = {"setuid": 0o4755, "setgid": 0o2755, "sticky": 0o1777, "all": 0o7777}
    if os.geteuid() == 0:  # others could not read it
        modes["none"] = 0
    for name, mode in modes.items():
        (root / name).mkdir()
        (root / f"{name}.txt").write_text(name)
        (root / name).chmod(mode)
        (root / f"{name}.txt").chmod(mode)
    root.chmod(0o2550)
    restore(write(Tree(os.fspath(root), "root"), tmp_path / "index"), out)
    for name, mode in modes.items():
        assert stat.S_IMODE((out / "root" / name).stat().st_mode) == mode & 0o1777
        assert stat.S_IMODE((out / "root" / f"{name}.txt").stat().st_mode) == mode & 0o1777
    assert stat.S_IMODE((out / "root").stat().st_mode) == 0o550


def test_read_only_folders_are_restored_by_an_ordinary_user(as_user: Path) -> None:
    root = as_user / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("x")
    for folder in (root / "a" / "b", root / "a", root):
        folder.chmod(0o555)
    before = describe(root)
    written = write(Tree(os.fspath(root), "root"), as_user / "index")
    (as_user / "out").mkdir()
    restore(written, as_user / "out")
    assert describe(as_user / "out" / "root") == before
    with pytest.raises(ConflictError):
        restore(written, as_user / "out")
    assert os.listdir(as_user / "out") == ["root"]


def test_the_umask_is_ignored(tree: Tree, written: Written, out: Path) -> None:
    old = os.umask(0o077)
    try:
        restore(written, out)
    finally:
        os.umask(old)
    assert describe(out / "photos") == describe(Path(tree.root))


def test_user_attributes_are_restored(tmp_path: Path, out: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_text("x")
    try:
        for path in walk(root):
            os.setxattr(path, "user.mgmt=%", os.fsencode(path.name))
        if os.geteuid() == 0:
            os.setxattr(root / "folder" / "file", "trusted.mgmt", b"not for everyone")
    except OSError as error:
        pytest.skip(f"this filesystem has no user attributes: {error}")
    (root / "folder" / "file").chmod(0o444)
    restore(write(Tree(os.fspath(root), "root"), tmp_path / "index", xattrs=True), out)
    for path in walk(out / "root"):
        assert os.listxattr(path) == ["user.mgmt=%"]
        assert os.getxattr(path, "user.mgmt=%") == os.fsencode(path.name)


@pytest.mark.parametrize(("length", "depth"), [(100, 60), (1, 1500)])
def test_a_tree_deeper_than_path_and_descriptor_limits_is_restored(
    tmp_path: Path, out: Path, length: int, depth: int
) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    name = "d" * length
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("at the bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    written = write(Tree(os.fspath(tmp_path / name), name), tmp_path / "index")
    found = restore(written, out, digest=written.archived.digest)
    assert found.members == depth + 1
    again = write(Tree(os.fspath(out / name), name), tmp_path / "index again")
    assert again.object == written.object
    for folder in (out, tmp_path):
        (folder / name).rename(folder / ".mgmt-t.partial")
        remove_partial(os.fspath(folder), "t")
        assert name not in os.listdir(folder)


def test_a_taken_name_is_a_conflict(written: Written, out: Path) -> None:
    (out / "photos").write_text("mine")
    with pytest.raises(ConflictError, match="photos already exists"):
        restore(written, out)
    assert (out / "photos").read_text() == "mine"
    assert os.listdir(out) == ["photos"]


def test_a_name_taken_concurrently_is_a_conflict(written: Written, out: Path) -> None:
    class TakeIt(NoProgress):
        def advance(self, count: int) -> None:
            (out / "photos").mkdir(exist_ok=True)

    members = read_members(inflate([written.object]))
    with pytest.raises(ConflictError, match="photos already exists"):
        extract(members, os.fspath(out), token="t", progress=TakeIt())
    assert os.listdir(out) == ["photos"]
    assert os.listdir(out / "photos") == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/x", "a\0b"])
def test_an_invalid_name_is_rejected(written: Written, out: Path, name: str) -> None:
    with pytest.raises(IntegrityError, match="not a valid name"):
        restore(written, out, name)
    assert os.listdir(out) == []


def test_an_unexpected_archive_never_appears(written: Written, out: Path) -> None:
    with pytest.raises(IntegrityError, match="digest"):
        restore(written, out, digest="0" * 64)
    with pytest.raises(IntegrityError, match="more than the 5 members"):
        restore(written, out, limits=Limits(members=5))
    with pytest.raises(IntegrityError, match="more than the 1000 bytes"):
        restore(written, out, limits=Limits(size=1000))
    assert os.listdir(out) == []
    restore(written, out, limits=Limits(written.archived.members, written.archived.original_size))


def test_a_truncated_archive_leaves_nothing(written: Written, out: Path) -> None:
    for cut in (100, 20_000, len(written.object) // 2):
        with pytest.raises(IntegrityError):
            extract(read_members(inflate([written.object[:-cut]])), os.fspath(out), token="t", progress=NoProgress())
        assert os.listdir(out) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MgmtError("the store is gone")])
def test_any_interruption_leaves_nothing(written: Written, out: Path, error: BaseException) -> None:
    def interrupted() -> Iterator[bytes]:
        for number, piece in enumerate(inflate(chunked(written.object, 5000))):
            if number == 7:
                raise error
            yield piece

    with pytest.raises(type(error)):
        extract(read_members(interrupted()), os.fspath(out), token="t", progress=NoProgress())
    assert os.listdir(out) == []


def test_leftovers_are_not_touched_but_can_be_removed(written: Written, out: Path) -> None:
    (out / ".mgmt-t.partial" / "locked").mkdir(parents=True)
    (out / ".mgmt-t.partial" / "locked" / "file").write_text("x")
    (out / ".mgmt-t.partial" / "locked").chmod(0)
    (out / ".mgmt-other.partial").write_text("another operation's")
    with pytest.raises(ConflictError, match="left over from an interrupted run"):
        restore(written, out)
    remove_partial(os.fspath(out), "t")
    remove_partial(os.fspath(out), "t")
    restore(written, out)
    assert sorted(os.listdir(out)) == [".mgmt-other.partial", "photos"]


def test_a_full_disk_is_reported(written: Written, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", refusing(errno.ENOSPC))
    with pytest.raises(MgmtError, match="out cannot be written to: No space left"):
        restore(written, out)
    assert os.listdir(out) == []


def test_a_file_too_large_for_the_disk_is_reported(written: Written, out: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(MgmtError, match="out cannot hold photos/odd/sparse: it is too large for its file system"):
            restore(written, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(out) == []


def test_an_invalid_destination_is_reported(written: Written, tmp_path: Path) -> None:
    with pytest.raises(MgmtError, match="missing cannot be written to: No such file"):
        restore(written, tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(MgmtError, match="Not a directory"):
        restore(written, tmp_path / "file")


@pytest.mark.parametrize("path", ["photos/odd", "photos/odd/sparse", "photos/odd/link", "photos/odd/empty folder"])
@pytest.mark.parametrize("how", ["whole", "selection"])
def test_a_member_is_restored_with_everything_below_it(
    tree: Tree, written: Written, out: Path, path: str, how: str
) -> None:
    if how == "whole":
        found = restore(written, out, member=path)
    else:
        selection = select(written.index, path)
        tar = read_selection(written.index, selection, written.fetch, 2)
        found = extract(
            read_members(tar),
            os.fspath(out),
            Wanted(selection.name, member=selection.path, digest=selection.digest),
            token="t",
            progress=NoProgress(),
        )
    name = os.path.basename(path)
    assert found.path == os.fspath(out / name)
    original = Path(tree.disk_path(path))
    if original.is_dir():
        assert describe(out / name) == describe(original)
    else:
        assert (out / name).lstat().st_mtime_ns == original.lstat().st_mtime_ns
        assert (out / name).lstat().st_size == original.lstat().st_size


def test_a_selected_hard_link_is_restored_as_a_file(tree: Tree, written: Written, out: Path) -> None:
    selection = select(written.index, "odd/second name")
    assert selection.name == "second name"
    tar = read_selection(written.index, selection, written.fetch, 2)
    extract(
        read_members(tar),
        os.fspath(out),
        Wanted(selection.name, member=selection.path, digest=selection.digest),
        token="t",
        progress=NoProgress(),
    )
    assert (out / "second name").read_text() == "hard"


@pytest.mark.parametrize("path", ["", "/a.txt", "/empty"])
def test_a_member_is_found_without_the_root(tmp_path: Path, out: Path, path: str) -> None:
    root = tmp_path / "photos"
    for folder in (root / "photos" / "empty", root / "beach" / "empty", root / "beach" / "beach"):
        folder.mkdir(parents=True)
        (folder.parent / "a.txt").write_text(os.fspath(folder))
    written = write(Tree(os.fspath(root), "photos"), tmp_path / "index")
    chosen = restore(written, out, "without", member=f"beach{path}")
    assert chosen.digest == restore(written, out, "with", member=f"photos/beach{path}").digest
    assert chosen.digest == select(written.index, f"beach{path}").digest
    assert restore(written, out, "root", member="photos").digest == written.archived.digest


def test_a_missing_member_is_reported(written: Written, out: Path) -> None:
    for path in ("photos/missing", "photos/od", "other"):
        with pytest.raises(NotFoundError, match="no member"):
            restore(written, out, member=path)
        with pytest.raises(NotFoundError, match="no member"):
            select(written.index, path)
    assert os.listdir(out) == []


def test_progress_adds_up_to_the_content_size(written: Written, out: Path) -> None:
    counts: list[int] = []

    class Counting(NoProgress):
        def advance(self, count: int) -> None:
            counts.append(count)

    extract(read_members(inflate([written.object])), os.fspath(out), token="t", progress=Counting())
    assert sum(counts) == written.archived.original_size


def test_no_descriptor_stays_open(written: Written, out: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    restore(written, out)
    with pytest.raises(ConflictError):
        restore(written, out)
    assert len(os.listdir("/dev/fd")) == before


def test_fallbacks_for_other_systems(tree: Tree, written: Written, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.archive.restore.ONE_SYNC", False)
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    restore(written, out)
    assert describe(out / "photos") == describe(Path(tree.root))
    assert len(synced) == written.archived.files + written.archived.folders + 1


def test_a_foreign_archive_without_folder_entries(out: Path) -> None:
    members: list[tuple[Member, list[bytes]]] = [
        (Member("a/b/c", "f", 0o600, 5, 1, 0, 0, None, None), [b"c"]),
        (Member("a/b", "d", 0o700, 6, 0, 0, 0, None, None), []),
        (Member("a/d/e", "l", 0o777, 7, 0, 0, 0, None, "x"), []),
    ]
    extract(members, os.fspath(out), token="t", progress=NoProgress())
    assert (out / "a" / "b" / "c").read_text() == "c"
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o755
    assert (out / "a" / "b").stat().st_mtime_ns == 6
    assert stat.S_IMODE((out / "a" / "b").stat().st_mode) == 0o700
    assert os.readlink(out / "a" / "d" / "e") == "x"


def test_names_of_arbitrary_bytes_are_restored(tmp_path: Path, out: Path) -> None:
    root = raw(tmp_path, b"\xffroot")
    root.mkdir()
    for name in (b"\xfe", b"\n", b"-", b"e\xcc\x81", b"\xc3\xa9", b"\\", b"\x7f" * 255):
        raw(root, name).write_bytes(name)
    set_times(walk(root), 10**18)
    written = write(Tree(os.fspath(root), os.fsdecode(b"\xffroot")), tmp_path / "index")
    restore(written, out, digest=written.archived.digest)
    assert describe(raw(out, b"\xffroot")) == describe(root)
