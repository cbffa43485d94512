"""A path means what it means to the kernel."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mgmt import paths
from mgmt.errors import ConfigurationError, MgmtError, NotFoundError
from mgmt.paths import absolute, canonical, folder_to_make, held_parent, path_of, real_folder, split_name

NOBODY = 65534


@pytest.fixture(params=["with /proc", "without /proc"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `real/inner`, a link to it, and a file `file`; `beside` is its sibling."""
    base = tmp_path.resolve() / "here"
    (base / "real" / "inner").mkdir(parents=True)
    (base / "link").symlink_to("real/inner")
    (base / "dangling").symlink_to("nowhere")
    (base / "file").write_text("file")
    (base.parent / "beside").mkdir()
    monkeypatch.chdir(base)
    if request.param == "without /proc":

        def no_links(path: str, *, dir_fd: int | None = None) -> str:
            if path.startswith("/proc/"):
                raise FileNotFoundError(path)
            return readlink(path, dir_fd=dir_fd)

        readlink = os.readlink
        monkeypatch.setattr(os, "readlink", no_links)
    return base


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("file", "file"),
        ("./file", "file"),
        ("missing", "missing"),
        ("real", "real"),
        ("real/", "real"),
        ("real///", "real"),
        ("real/.", "real"),
        ("real/inner/..", "real"),
        ("link", "link"),
        ("link/", "link"),
        ("link/.", "real/inner"),
        ("link/..", "real"),
        ("link/../file", "real/file"),
        ("link/../../file", "file"),
        (".", ""),
        ("..", ".."),
        ("../beside", "../beside"),
        ("~", "~"),
        ("~root", "~root"),
        ("$HOME", "$HOME"),
        ("-rf", "-rf"),
        ("two\nlines", "two\nlines"),
        (" ", " "),
    ],
)
def test_canonical_resolves_a_path_like_the_kernel(here: Path, typed: str, expected: str) -> None:
    assert canonical(typed) == os.path.normpath(here / expected)


@pytest.mark.parametrize("typed", ["missing/x", "missing/..", "file/x", "file/..", "file/", "dangling/x", "~/x"])
def test_canonical_refuses_a_missing_folder(here: Path, typed: str) -> None:
    with pytest.raises(NotFoundError):
        canonical(typed)


@pytest.mark.parametrize("typed", ["", "/", "//", "/.", "/..", "a\0b"])
def test_canonical_refuses_invalid_paths(here: Path, typed: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        canonical(typed)
    assert error.value.next_step


@pytest.mark.parametrize("typed", ["file", "link/../file", "real/inner", "link/..", ".", "missing"])
def test_held_parent_opens_the_folder_of_the_target(here: Path, typed: str) -> None:
    with held_parent(typed) as (path, folder):
        assert os.path.samestat(os.fstat(folder), os.stat(os.path.dirname(path)))
        assert not os.get_inheritable(folder)
        if os.path.lexists(typed):
            assert os.path.samestat(os.stat(os.path.basename(path), dir_fd=folder), os.stat(typed))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(folder)


def test_a_held_folder_stays_the_same_after_a_rename(here: Path) -> None:
    (here / "real" / "target").write_text("ours")
    with held_parent("real/target") as (path, folder):
        (here / "real").rename(here / "moved")
        (here / "real").mkdir()
        (here / "real" / "target").write_text("theirs")
        with open(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=folder)) as file:
            assert file.read() == "ours"


def test_path_of_a_removed_folder_is_refused(here: Path) -> None:
    folder = os.open("real/inner", os.O_RDONLY)
    try:
        assert path_of(folder, "real/inner") == str(here / "real" / "inner")
        (here / "real" / "inner").rmdir()
        with pytest.raises(NotFoundError, match="moved or removed"):
            path_of(folder, "real/inner")
        (here / "real" / "inner").mkdir()  # another one
        with pytest.raises(NotFoundError, match="moved or removed"):
            path_of(folder, "real/inner")
    finally:
        os.close(folder)


def test_a_removed_current_folder_is_refused(here: Path) -> None:
    os.chdir("real/inner")
    (here / "real" / "inner").rmdir()
    for typed in (".", "x"):
        with pytest.raises(MgmtError):
            canonical(typed)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_canonical_needs_no_permission_to_read_a_folder() -> None:
    with TemporaryDirectory() as base:
        os.chmod(base, 0o711)
        os.mkdir(f"{base}/inner")
        for typed, expected in (("inner", "/inner"), (".", ""), ("inner/..", "")):
            child = os.fork()
            if child == 0:
                try:
                    os.setresuid(NOBODY, NOBODY, NOBODY)
                    os._exit(canonical(f"{base}/{typed}") != base + expected)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, typed


def test_real_folder_resolves_links(here: Path) -> None:
    assert real_folder("link") == real_folder("link/") == str(here / "real" / "inner")
    assert real_folder("link/..") == str(here / "real")
    assert real_folder("/") == "/"
    for typed in ("missing", "missing/..", "file", "file/..", "dangling", "~"):
        with pytest.raises(NotFoundError):
            real_folder(typed)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("real", "real"),
        ("link", "real/inner"),
        ("link/..", "real"),
        ("link/../new", "real/new"),
        ("new/./sub/", "new/sub"),
        ("./~/x", "~/x"),
        (".", ""),
    ],
)
def test_folder_to_make_resolves_existing_parents(here: Path, typed: str, expected: str) -> None:
    assert folder_to_make(typed) == os.path.join(here, expected).rstrip("/")


@pytest.mark.parametrize("typed", ["", "file", "file/x", "dangling", "dangling/x", "new/..", "new/../x", "~", "~/x"])
def test_folder_to_make_refuses_a_path_that_cannot_be_made(here: Path, typed: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        folder_to_make(typed)
    assert error.value.next_step


def test_an_existing_folder_called_tilde_is_used(here: Path) -> None:
    (here / "~").mkdir()
    assert folder_to_make("~/x") == str(here / "~" / "x")


def test_absolute_keeps_dot_dot(here: Path) -> None:
    assert absolute("./a//b") == str(here / "a" / "b")
    assert absolute("link/../x") == f"{here}/link/../x"
    assert absolute("/a/../b") == "/a/../b"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a", ("a", "")),
        ("a.txt", ("a", ".txt")),
        ("a.tar.gz", ("a", ".tar.gz")),
        ("a.b.tar.zst", ("a.b", ".tar.zst")),
        ("a.tar", ("a", ".tar")),
        (".hidden", (".hidden", "")),
        (".tar.gz", (".tar", ".gz")),
    ],
)
def test_a_name_is_split_before_its_suffix(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_a_folder_that_another_makes_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder = paths._open_folder

    def late(path: str) -> int:
        try:
            return open_folder(path)
        except FileNotFoundError:
            os.makedirs(path, exist_ok=True)
            raise

    monkeypatch.setattr(paths, "_open_folder", late)
    assert paths.folder_to_make(f"{tmp_path}/completed") == f"{tmp_path}/completed"
