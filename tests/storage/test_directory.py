"""What is specific to a directory store: folders, links, files of other programs, the disk."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.errors import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
)
from mgmt.storage import open_store
from mgmt.storage.directory import DirectoryStore
from mgmt.storage.store import OPERATION, ObjectStore
from mgmt.umask import keep_private
from tests.integration.odd_disks import exfat, refusing
from tests.storage.test_contract import KEY, content, started, uploaded

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> ObjectStore:
    return open_store(f"file://{root}")


def everything(root: Path) -> set[str]:
    """All files below `root` except the lock."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def test_an_object_is_a_plain_file(store: ObjectStore, root: Path) -> None:
    uploaded(store, b"plain")
    assert (root / KEY).read_bytes() == b"plain"
    assert (root / KEY).stat().st_nlink == 1
    assert everything(root) - {KEY} == {path for path in everything(root) if path.startswith(".mgmt/objects/")}
    assert [each.key for each in store.list()] == [KEY]
    assert [each.key for each in store.list(".mgmt")] == []


def test_delete_leaves_nothing_behind(store: ObjectStore, root: Path) -> None:
    uploaded(store, b"1", "a/b/c")
    uploaded(store, b"2", "a/d")
    store.delete("a/b/c")
    assert [path.name for path in (root / "a").iterdir()] == ["d"]
    store.delete("a/d")
    assert everything(root) == set()
    assert [path.name for path in root.iterdir()] == [".mgmt"]


def test_files_of_other_tools_are_objects(store: ObjectStore, root: Path) -> None:
    (root / "folder").mkdir(parents=True)
    (root / KEY).write_bytes(b"theirs")
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"no-utf8-\xff")).write_bytes(b"")
    assert [each.key for each in store.list()] == [KEY]
    assert store.head(KEY).metadata == {}
    assert b"".join(store.stream(KEY)) == b"theirs"
    with pytest.raises(NotFoundError):
        store.head("fifo")
    with pytest.raises(NotFoundError):
        list(store.stream("fifo"))
    with pytest.raises(ConflictError):
        uploaded(store, b"theirs")
    assert (root / KEY).read_bytes() == b"theirs"


def test_a_file_of_another_tool_can_be_deleted(store: ObjectStore, root: Path) -> None:
    root.mkdir()
    (root / "theirs").write_bytes(b"x")
    store.delete("theirs")
    assert not (root / "theirs").exists()


def test_an_upload_removed_in_progress_is_reported(store: ObjectStore, root: Path) -> None:
    ids: list[str] = []
    upload = started(store, on_started=lambda upload_id, _: ids.append(upload_id))
    upload.write(b"data")
    store.abort(KEY, ids[0])
    with pytest.raises(StoreUnavailableError, match="removed"):
        upload.complete()
    assert everything(root) == set()


def test_metadata_of_a_replaced_file_is_ignored(store: ObjectStore, root: Path) -> None:
    uploaded(store, b"ours")
    (root / KEY).unlink()
    (root / KEY).write_bytes(b"other")
    assert store.head(KEY).metadata == {}
    [note] = (root / ".mgmt/objects").iterdir()
    note.write_bytes(b'{"size": 5, "meta')  # cut off by a power failure
    assert store.head(KEY).metadata == {}


@pytest.mark.parametrize("key", [".mgmt/lock", ".mgmt/objects/x", ".MGMT/x", ".mgmt"])
def test_the_mgmt_folder_holds_no_objects(store: ObjectStore, key: str) -> None:
    for call in (lambda: store.head(key), lambda: store.delete(key), lambda: uploaded(store, b"x", key)):
        with pytest.raises(ConfigurationError, match="reserved for mgmt"):
            call()


def test_no_symlink_leads_out_of_the_store(store: ObjectStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")

    calls: list[Callable[[], object]] = [
        lambda: store.head("link/secret"),
        lambda: store.read("link/secret", 0, 1),
        lambda: list(store.stream("link/secret")),
        lambda: store.head("file"),
        lambda: store.read("file", 0, 1),
        lambda: list(store.stream("file")),
        lambda: uploaded(store, b"x", "link/new"),
        lambda: uploaded(store, b"x", "dangling"),
    ]
    for call in calls:
        with pytest.raises((NotFoundError, StoreError, ConflictError)):
            call()
    store.delete("link/secret")
    assert list(store.list()) == []
    assert {path.name for path in outside.iterdir()} == {"secret"}
    assert (outside / "secret").read_bytes() == b"secret"


def test_the_store_can_be_reached_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    uploaded(open_store(f"file://{tmp_path}/link"), b"x")
    assert (tmp_path / "disk" / KEY).read_bytes() == b"x"


def test_a_missing_directory_is_created(root: Path, store: ObjectStore) -> None:
    assert list(store.list()) == []
    assert list(store.pending()) == []
    store.delete(KEY)
    with pytest.raises(NotFoundError):
        store.head(KEY)
    assert not root.exists()
    uploaded(store, b"x")
    assert (root / KEY).exists()


def test_an_unmounted_disk_is_reported(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/disk/store")
    for call in (lambda: uploaded(store, b"x"), lambda: store.head(KEY), lambda: list(store.list())):
        with pytest.raises(StoreUnavailableError) as raised:
            call()
        assert "mkdir" in (raised.value.next_step or "")
    assert not (tmp_path / "disk").exists()


def test_a_file_in_place_of_a_folder_is_reported(store: ObjectStore) -> None:
    uploaded(store, b"x", "a")
    with pytest.raises(NotFoundError):
        store.head("a/b")
    with pytest.raises(ConflictError, match="a/b"):
        uploaded(store, b"x", "a/b")
    uploaded(store, b"x", "c/d")
    with pytest.raises(ConflictError):
        uploaded(store, b"x", "c")


def test_a_name_too_long_for_the_disk_is_reported(store: ObjectStore) -> None:
    with pytest.raises(StoreError, match="too long") as raised:
        uploaded(store, b"x", "x" * 300)
    assert "--key" in (raised.value.next_step or "")


def test_a_file_that_changes_while_read_is_reported(store: ObjectStore, root: Path) -> None:
    uploaded(store, content(3 * MIB))
    chunks = store.stream(KEY)
    next(chunks)
    os.truncate(root / KEY, 2 * MIB)
    with pytest.raises(IntegrityError, match="changed"):
        list(chunks)
    with pytest.raises(IntegrityError):
        store.read(KEY, 2 * MIB, 3 * MIB)


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT."""

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_hard_links")
def test_publishing_without_hard_links(store: ObjectStore, root: Path) -> None:
    _, there = uploaded(store, b"first")
    assert uploaded(store, b"first")[1] == there
    with pytest.raises(ConflictError):
        uploaded(store, b"other", operation="op-2")
    assert b"".join(store.stream(KEY)) == b"first"
    assert list(store.pending()) != []  # of the loser, which did not abort


@pytest.mark.usefixtures("no_hard_links")
def test_a_name_claimed_before_a_crash_without_hard_links(
    store: ObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    upload = started(store)
    upload.write(b"data")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            upload.complete()
    assert (root / KEY).read_bytes() == b""
    other = started(store, operation="op-2")
    other.write(b"late")
    with pytest.raises(ConflictError):
        other.complete()
    other.abort()
    uploaded(store, b"data")
    assert b"".join(store.stream(KEY)) == b"data"
    upload.abort()
    assert list(store.pending()) == []


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES, errno.EINVAL])
def test_a_file_is_published_whatever_refuses_its_link(
    store: ObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    uploaded(store, b"first")
    assert (root / KEY).read_bytes() == b"first"
    monkeypatch.setattr(os, "rename", refusing(errno.EROFS))
    with pytest.raises(StoreError, match="Read-only"):
        uploaded(store, b"second", "second")
    assert not (root / "second").exists()


def test_a_store_on_a_real_exfat(tmp_path: Path) -> None:
    with exfat(tmp_path) as disk:
        store = open_store(f"file://{disk}/store")
        uploaded(store, b"first")
        store.anchor("one", b"1")
        with pytest.raises(ConflictError):
            uploaded(store, b"other", operation="op-2")
        assert b"".join(store.stream(KEY)) == b"first"
        store.delete(KEY)
        assert [*store.list()] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_reported(small_disk: Path) -> None:
    store = open_store(f"file://{small_disk}/store")
    uploaded(store, content(MIB), "first")
    upload = started(store)
    with pytest.raises(StoreError, match="disk is full") as raised:
        upload.write(content(3 * MIB))
    assert raised.value.next_step
    assert not isinstance(raised.value, StoreUnavailableError)
    upload.abort()
    with pytest.raises(StoreError, match="disk is full"):
        store.put("i", io.BytesIO(content(3 * MIB)), size=3 * MIB, metadata={OPERATION: "op"})
    assert list(store.pending()) == []
    assert [each.key for each in store.list()] == ["first"]
    uploaded(store, b"small enough")


@pytest.mark.parametrize("verb", ["upload", "abandon", "delete"])
def test_killed_at_every_step(tmp_path: Path, verb: str) -> None:
    """The process dies at its first, second, ... call that opens or changes a file; then it runs again."""
    steps = subprocess.run(
        [sys.executable, "-m", "tests.storage.crash", verb, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert steps.returncode == 0, steps.stderr
    assert int(steps.stdout) > (10 if verb == "delete" else 25)


def test_a_lock_kept_by_a_signal_is_released(store: ObjectStore) -> None:
    """After a signal at the end of `_locked`, the process must not wait for its own lock."""
    uploaded(store, b"locked")
    assert isinstance(store, DirectoryStore)
    cut_off = store._locked()
    cut_off.__enter__()

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.alarm(10)
        store.delete(KEY)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert list(store.list()) == []


def test_an_anchor_survives_a_kill_and_is_read_only(store: ObjectStore, root: Path) -> None:
    store.anchor("1-ab", b"one")
    anchors = root / ".mgmt/anchors"
    assert (anchors / "1-ab").stat().st_mode & 0o777 == 0o444
    (anchors / ".partial").write_bytes(b"tw")  # as a killed process leaves it
    (anchors / ".partial").chmod(0o444)
    assert list(store.anchors()) == ["1-ab"]
    store.anchor("2-cd", b"two")
    assert (anchors / "2-cd").read_bytes() == b"two"
    assert sorted(path.name for path in anchors.iterdir()) == ["1-ab", "2-cd"]


def test_objects_of_any_age_are_listed(store: ObjectStore, root: Path) -> None:
    uploaded(store, b"1", "a")
    for name, seconds in (("before the year 1", -70_000_000_000), ("after the year 9999", 400_000_000_000)):
        (root / name).write_bytes(b"x")
        try:
            os.utime(root / name, (seconds, seconds))
        except OSError as error:
            pytest.skip(f"this file system has no such time: {error}")
    assert [each.key for each in store.list()] == ["a", "after the year 9999", "before the year 1"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_modes_are_as_the_users_umask_says(
    store: ObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """Although everything else that the command creates is private."""
    monkeypatch.setattr("mgmt.umask._Given.umask", None)
    before = os.umask(umask)
    try:
        keep_private()
        uploaded(store, b"1", "a/b")
        store.anchor("one", b"1")
        store.put("note", io.BytesIO(b"1"), size=1, metadata={})
        assert os.umask(0o077) == umask | 0o077
    finally:
        os.umask(before)
    modes = {str(path.relative_to(root)): path.stat().st_mode & 0o7777 for path in [root, *root.rglob("*")]}
    assert {modes[name] for name in modes if (root / name).is_dir()} == {0o777 & ~umask}
    assert modes.pop(".mgmt/anchors/one") == 0o444 & ~umask
    assert {mode for name, mode in modes.items() if (root / name).is_file()} == {0o666 & ~umask}


def test_a_store_shared_by_a_group_stays_shared(store: ObjectStore, root: Path) -> None:
    root.mkdir()
    root.chmod(0o2775)
    uploaded(store, b"1", "a/b")
    folders = [path for path in root.rglob("*") if path.is_dir()]
    assert all(path.stat().st_mode & 0o2000 for path in folders)
