"""`mgmt download` of archives that other programs made, which have no index."""

import tarfile
from pathlib import Path

import pytest

from tests.program import Program

pytestmark = pytest.mark.sqlite


@pytest.fixture
def foreign(mgmt: Program, tmp_path: Path) -> Path:
    """A tar.gz in the store that mgmt did not make."""
    folder = tmp_path / "trip" / "beach"
    folder.mkdir(parents=True)
    (folder / "B.jpg").write_text("picture")
    path = mgmt.home / "store" / "trip.tar.gz"
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "trip", "trip")
    return path


@pytest.mark.parametrize("member", ["beach/B.jpg", "trip/beach/B.jpg"])
def test_a_member_may_omit_the_root_without_an_index(mgmt: Program, foreign: Path, member: str) -> None:
    mgmt.ok("download", "trip", "--member", member)
    assert (mgmt.work / "B.jpg").read_text() == "picture"


@pytest.mark.parametrize("member", ["beach", "trip/beach/"])
def test_a_folder_may_omit_the_root_without_an_index(mgmt: Program, foreign: Path, member: str) -> None:
    mgmt.ok("download", "trip", "--member", member)
    assert (mgmt.work / "beach" / "B.jpg").read_text() == "picture"


def test_a_missing_member_of_an_archive_without_an_index(mgmt: Program, foreign: Path) -> None:
    done = mgmt.run("download", "trip", "--member", "C.jpg")
    assert done.returncode == 4
    assert "has no member C.jpg" in done.stderr
    assert "tar tzf" in done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"\0\0" + data, "is damaged or not gzip (Error -3"),
        (lambda data: data[:-9], "is truncated"),
        (lambda _: b"", "is empty"),
    ],
)
def test_a_damaged_archive_is_named(mgmt: Program, foreign: Path, damage: object, message: str) -> None:
    foreign.write_bytes(damage(foreign.read_bytes()))  # type: ignore[operator]
    done = mgmt.run("download", "trip")
    assert done.returncode == 8
    assert f"file://{foreign} {message}" in done.stderr
