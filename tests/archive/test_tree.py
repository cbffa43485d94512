import os
import resource
import socket
from pathlib import Path

import pytest

from mgmt.archive import Skipped, Tree, hash_tree, remove_tree, same_state, survey
from mgmt.archive.patterns import Patterns
from mgmt.archive.tree import Entry
from mgmt.errors import ConfigurationError, MgmtError, NotFoundError, RefusedError, SourceChangedError
from mgmt.progress import NoProgress
from tests.archive.archives import raw, write


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path)
    return root


def walk(tree: Tree) -> tuple[list[str], list[Skipped]]:
    skipped: list[Skipped] = []
    return [entry.name for entry in tree.walk(skipped.append)], skipped


def test_the_walk_is_depth_first_and_sorted_by_bytes(tmp_path: Path) -> None:
    make(tmp_path / "r", "b/z", "b/a", "B", "a!", "a/x", "empty/", "é", "\uffff", "𝒳")
    raw(tmp_path / "r", b"\xc3").write_text("not utf-8")
    raw(tmp_path / "r", b"\xff").write_text("not utf-8")
    names, skipped = walk(Tree(os.fspath(tmp_path / "r"), "root"))
    paths = ["B", "a", "a/x", "a!", "b", "b/a", "b/z", "empty", "\udcc3", "é", "\uffff", "𝒳", "\udcff"]
    assert names == ["root", *(f"root/{path}" for path in paths)]
    assert skipped == []


def test_a_single_file_and_a_link_are_trees(tmp_path: Path) -> None:
    make(tmp_path, "file")
    (tmp_path / "link").symlink_to("file")
    assert walk(Tree(os.fspath(tmp_path / "file"), "name")) == (["name"], [])
    assert survey(Tree(os.fspath(tmp_path / "link"), "name")).links == 1


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret", "r/")
    (tmp_path / "r" / "link").symlink_to("../outside")
    assert walk(Tree(os.fspath(tmp_path / "r"), "r")) == (["r", "r/link"], [])


def test_special_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    root = make(tmp_path / "r", "a")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root)  # a socket's path must be short
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        names, skipped = walk(Tree(os.fspath(root), "r"))
    assert names == ["r", "r/a"]
    assert skipped == [Skipped(f"{root}/fifo", "a FIFO"), Skipped(f"{root}/socket", "a socket")]
    with pytest.raises(RefusedError, match="a FIFO"):
        survey(Tree(f"{root}/fifo", "fifo"))
    with pytest.raises(RefusedError, match="a device"):
        survey(Tree("/dev/null", "null"))


def test_an_unreadable_folder_is_skipped(as_user: Path) -> None:
    make(as_user / "r", "a", "locked/x", "z", "listed/x")
    (as_user / "r" / "locked").chmod(0)
    (as_user / "r" / "listed").chmod(0o400)
    names, skipped = walk(Tree(os.fspath(as_user / "r"), "r"))
    assert names == ["r", "r/a", "r/listed", "r/z"]
    assert [(os.path.basename(skip.path), skip.reason) for skip in skipped] == [
        ("x", "unreadable: Permission denied"),
        ("locked", "unreadable: Permission denied"),
    ]
    (as_user / "r").chmod(0)
    with pytest.raises(MgmtError, match="Permission denied"):
        walk(Tree(os.fspath(as_user / "r"), "r"))


def test_a_missing_root_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        survey(Tree(os.fspath(tmp_path / "missing"), "missing"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b"])
def test_an_invalid_name_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a valid name"):
        Tree(os.fspath(tmp_path), name)


def test_running_out_of_descriptors_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "r", "a/x", "b/x")
    walking = Tree(os.fspath(tmp_path / "r"), "r").walk(lambda skipped: pytest.fail(f"skipped {skipped}"))
    assert next(walking).name == "r"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(MgmtError, match="r/a cannot be opened: Too many open files"):
            next(walking)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_entry_that_vanishes_during_the_walk_is_a_change(tmp_path: Path) -> None:
    root = make(tmp_path / "r", "a", "b")
    walking = Tree(os.fspath(root), "r").walk(lambda skipped: None)
    assert [next(walking).name, next(walking).name] == ["r", "r/a"]
    (root / "b").unlink()
    with pytest.raises(SourceChangedError, match="r/b changed"):
        next(walking)


def test_a_tree_deeper_than_the_path_limit_is_walked(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    depth = 120
    for _ in range(depth):  # 120 * 101 bytes; a path may have 4096
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("at the bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    before = len(os.listdir("/dev/fd"))
    names, skipped = walk(Tree(os.fspath(tmp_path / ("d" * 100)), "r"))
    assert names[-1].count("/") == depth
    assert names[-1].endswith("/at the bottom")
    assert skipped == []
    assert len(os.listdir("/dev/fd")) == before


def test_an_abandoned_walk_closes_its_descriptors(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 15)
    make(tmp_path / "r", f"{deep}/x")
    before = len(os.listdir("/dev/fd"))
    walking = Tree(os.fspath(tmp_path / "r"), "r").walk(lambda skipped: None)
    for _ in range(16):
        next(walking)
    walking.close()
    assert len(os.listdir("/dev/fd")) == before


def test_a_walk_below_a_descriptor_ignores_a_swapped_path(tmp_path: Path) -> None:
    """The folder above the root is replaced by a link to another one with the same names."""
    make(tmp_path, "parent/r/a/x", "parent/r/b")
    make(tmp_path, "secret/r/a/x", "secret/r/b")
    (tmp_path / "secret/r/b").write_text("of somebody else")
    parent = os.open(tmp_path / "parent", os.O_RDONLY)
    try:
        tree = Tree(os.fspath(tmp_path / "parent" / "r"), "r", folder=parent)
        before, hashed = survey(tree), hash_tree(tree, NoProgress())
        (tmp_path / "parent").rename(tmp_path / "away")
        (tmp_path / "parent").symlink_to("secret")
        assert survey(tree) == before
        assert hash_tree(tree, NoProgress()) == hashed
        assert hash_tree(Tree(tree.root, "r"), NoProgress()).digest != hashed.digest
        assert write(tree, tmp_path / "index").archived.digest == hashed.digest
        (tmp_path / "away" / "r").rename(tmp_path / "away" / "gone")
        with pytest.raises(NotFoundError, match="parent/r: no such file"):
            survey(tree)
        with pytest.raises(ConfigurationError, match="does not end with the name"):
            Tree(f"{tmp_path}/parent/..", "r", folder=parent)
    finally:
        os.close(parent)


@pytest.mark.parametrize("swapped", ["r", "r/a"])
def test_a_folder_swapped_for_a_link_during_the_walk_is_a_change(tmp_path: Path, swapped: str) -> None:
    make(tmp_path, "r/a/b/x", "r/a/c", "secret/b/x", "secret/a/b/x", "secret/a/secret")
    names = []
    for entry in Tree(os.fspath(tmp_path / "r"), "r").walk(lambda skipped: None):
        names.append(entry.name)
        if entry.name == "r/a":
            (tmp_path / swapped).rename(tmp_path / "away")
            (tmp_path / swapped).symlink_to(tmp_path / "secret")
    assert names == ["r", "r/a", "r/a/b", "r/a/b/x", "r/a/c"]


def test_a_folder_swapped_before_it_is_entered_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "r/a/x", "other/x")
    stat = os.stat

    def and_swap(path: bytes, **arguments: int | None) -> os.stat_result:
        status = stat(path, **arguments)  # type: ignore[arg-type]
        if path == b"a":
            (tmp_path / "r" / "a").rename(tmp_path / "away")
            (tmp_path / "other").rename(tmp_path / "r" / "a")
        return status

    monkeypatch.setattr(os, "stat", and_swap)
    with pytest.raises(SourceChangedError, match="r/a changed"):
        walk(Tree(os.fspath(tmp_path / "r"), "r"))


def test_depth_is_not_bounded_by_descriptors_or_recursion(tmp_path: Path) -> None:
    here, depth = os.open(tmp_path, os.O_RDONLY), 1200
    for level in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        if level % 100 == 0:
            os.close(os.open("z", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)
    tree = Tree(os.fspath(tmp_path / "d"), "r")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 60, hard))
    try:
        found, hashed = survey(tree), hash_tree(tree, NoProgress())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.folders, found.files) == (hashed.folders, hashed.files) == (depth, 11)
    assert found.source_state == hashed.source_state
    remove_tree(os.fspath(tmp_path), "d")


FILES = ("a.tmp", "a.jpg", "cache/x", "sub/cache/y", "sub/b.tmp", "sub/deep/er/c.jpg", "sub/keep/d.mov", "cache.txt")


@pytest.mark.parametrize(
    ("exclude", "gone"),
    [
        (("*.tmp",), {"a.tmp", "sub/b.tmp"}),
        (("cache/",), {"cache/x", "sub/cache/y"}),
        (("/cache",), {"cache/x"}),
        (("cache",), {"cache/x", "sub/cache/y"}),
        (("sub/*.tmp",), {"sub/b.tmp"}),
        (("sub/*",), {"sub/b.tmp", "sub/cache/y", "sub/deep/er/c.jpg", "sub/keep/d.mov"}),
        (("sub/**/c.jpg",), {"sub/deep/er/c.jpg"}),
        (("**/c.jpg",), {"sub/deep/er/c.jpg"}),
        (("sub/**",), {"sub/b.tmp", "sub/cache/y", "sub/deep/er/c.jpg", "sub/keep/d.mov"}),
        (("?.jpg",), {"a.jpg", "sub/deep/er/c.jpg"}),
        (("[ab].*",), {"a.tmp", "a.jpg", "sub/b.tmp"}),
        (("[!a].*",), {"sub/b.tmp", "sub/deep/er/c.jpg", "sub/keep/d.mov"}),
        (("nothing",), set()),
        (("*.tmp", "*.jpg"), {"a.tmp", "a.jpg", "sub/b.tmp", "sub/deep/er/c.jpg"}),
    ],
)
def test_exclude(tmp_path: Path, exclude: tuple[str, ...], gone: set[str]) -> None:
    make(tmp_path / "r", *FILES)
    names, skipped = walk(Tree(os.fspath(tmp_path / "r"), "r", exclude=exclude))
    assert {name.removeprefix("r/") for name in names} & set(FILES) == set(FILES) - gone
    assert bool(skipped) == bool(gone)
    assert {skip.reason for skip in skipped} <= {"excluded"}


def test_an_excluded_folder_is_not_entered(tmp_path: Path) -> None:
    make(tmp_path / "r", "cache/a", "cache/b", "x")
    names, skipped = walk(Tree(os.fspath(tmp_path / "r"), "r", exclude=("cache/",)))
    assert names == ["r", "r/x"]
    assert skipped == [Skipped(f"{tmp_path}/r/cache", "excluded")]


@pytest.mark.parametrize(
    ("include", "kept"),
    [
        (("*.jpg",), {"a.jpg", "sub/deep/er/c.jpg"}),
        (("cache/",), {"cache/x", "sub/cache/y"}),
        (("sub/keep",), {"sub/keep/d.mov"}),
    ],
)
def test_include(tmp_path: Path, include: tuple[str, ...], kept: set[str]) -> None:
    make(tmp_path / "r", *FILES)
    names, _ = walk(Tree(os.fspath(tmp_path / "r"), "r", include=include))
    assert {name.removeprefix("r/") for name in names} & set(FILES) == kept


def test_exclude_wins_over_include(tmp_path: Path) -> None:
    make(tmp_path / "r", *FILES)
    names, _ = walk(Tree(os.fspath(tmp_path / "r"), "r", include=("*.jpg",), exclude=("deep/",)))
    assert {name.removeprefix("r/") for name in names} & set(FILES) == {"a.jpg"}


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("a\\*b", "a*b"),
        ("[", "["),
        ("a[", "a["),
        ("[]]", "]"),
        ("[^a]", "b"),
        ("[a-c]x", "bx"),
        ("a.b", "a.b"),
        ("*", "\n"),
    ],
)
def test_unusual_globs_match(glob: str, path: str) -> None:
    assert Patterns((glob,)).match(path, folder=False)


@pytest.mark.parametrize(
    ("glob", "path"), [("a\\*b", "axb"), ("a.b", "axb"), ("[!a]", "a"), ("?", "é\n"), ("[!x]b", "/b")]
)
def test_unusual_globs_match_nothing_else(glob: str, path: str) -> None:
    assert not Patterns((glob,)).match(path, folder=False)


def test_a_survey_counts_files_folders_and_links(tmp_path: Path) -> None:
    root = make(tmp_path / "r", "a/x", "b/")
    (root / "y").write_bytes(bytes(1000))
    (root / "link").symlink_to("y")
    (root / "again").hardlink_to(root / "y")
    found = survey(Tree(os.fspath(root), "r"))
    assert (found.files, found.folders, found.links, found.size) == (2, 3, 2, 1003)


def test_the_state_ignores_only_a_rename_of_the_root(tmp_path: Path) -> None:
    root = make(tmp_path / "r", "a/x", "b")
    first = survey(Tree(os.fspath(root), "r"))
    assert survey(Tree(os.fspath(root), "r")) == first
    moved = root.rename(tmp_path / "moved")
    after = survey(Tree(os.fspath(moved), "another name"))
    assert after.source_state == first.source_state
    assert after.root_ctime_ns == moved.stat().st_ctime_ns
    (moved / "b").chmod(0o600)
    assert survey(Tree(os.fspath(moved), "moved")).source_state != first.source_state


def test_a_renamed_tree_may_have_other_inodes(tmp_path: Path) -> None:
    """As on mergerfs; the state that an earlier version recorded has only the first of its two hashes."""
    root = make(tmp_path / "r", "a/x", "b")
    before = survey(Tree(os.fspath(root), "r")).source_state
    facts = before.split()[1]
    moved = f"{'0' * 64} {facts}"
    assert same_state(before, before)
    assert same_state(before, moved, renamed=True)
    assert not same_state(before, moved)
    assert not same_state(before, f"{'0' * 64} {'0' * 64}", renamed=True)
    earlier = before.split()[0]
    assert same_state(earlier, before)
    assert not same_state(earlier, moved, renamed=True)
    assert not same_state(None, before, renamed=True)


@pytest.mark.parametrize("change", ["content", "touch", "replace", "add", "remove", "rename", "mode of the root"])
def test_every_change_changes_the_state(tmp_path: Path, change: str) -> None:
    root = make(tmp_path / "r", "a/x", "b")
    tree = Tree(os.fspath(root), "r")
    os.utime(root / "b", ns=(0, 0))
    os.utime(root / "a", ns=(0, 0))
    os.utime(root, ns=(0, 0))
    before = survey(tree).source_state
    if change == "content":
        (root / "b").write_text("longer than before")
    elif change == "touch":
        os.utime(root / "b", ns=(1, 1))
    elif change == "replace":
        (root / "c").write_text("b")
        os.utime(root / "c", ns=(0, 0))
        (root / "c").rename(root / "b")
        os.utime(root, ns=(0, 0))
    elif change == "add":
        (root / "a" / "new").write_text("")
    elif change == "remove":
        (root / "b").unlink()
    elif change == "rename":
        (root / "b").rename(root / "c")
    else:
        root.chmod(0o700)
    assert survey(tree).source_state != before


def test_an_entry_can_be_opened_by_its_descriptor(tmp_path: Path) -> None:
    make(tmp_path / "r", "a/x")
    found: list[Entry] = []
    for entry in Tree(os.fspath(tmp_path / "r"), "r").walk(lambda skipped: None):
        found.append(entry)
        assert os.stat(entry.path, dir_fd=entry.folder).st_ino == entry.stat.st_ino
    assert len(found) == 3
