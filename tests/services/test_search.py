"""A search of files on disk finds what a search of their records would."""

import os

import pytest

from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    folder = on_directory.home / "media" / "Beach"
    folder.mkdir(parents=True)
    for name in ("IMG_1.jpg", "Straße.mov", "ΛΌΓΟΣ", "ünï"):
        (folder / name).write_text("x")
    on_directory.environment = {"MGMT_LOCAL_DIR": str(on_directory.home / "media")}
    return on_directory


def local(mgmt: Program, keyword: str) -> set[str]:
    found = mgmt.json("search", keyword, "--location", "local")
    return {os.path.basename(each["path"]) for each in found}


@pytest.mark.parametrize(
    ("keyword", "names"),
    [
        ("img_1", {"IMG_1.jpg"}),
        ("beach/img", {"IMG_1.jpg"}),
        ("media/beach", {"Beach", "IMG_1.jpg", "Straße.mov", "ΛΌΓΟΣ", "ünï"}),
        ("/beach/", {"IMG_1.jpg", "Straße.mov", "ΛΌΓΟΣ", "ünï"}),
        ("straße", {"Straße.mov"}),
        # PostgreSQL compares text in lower case, not with its case folded.
        pytest.param("strasse", {"Straße.mov"}, marks=pytest.mark.sqlite),
        pytest.param("STRASSE", {"Straße.mov"}, marks=pytest.mark.sqlite),
        pytest.param("λόγος", {"ΛΌΓΟΣ"}, marks=pytest.mark.sqlite),
        ("λόγοσ", {"ΛΌΓΟΣ"}),
        ("ÜNÏ", {"ünï"}),
        ("nothing", set()),
    ],
)
def test_files_on_disk_and_their_records_are_found_alike(mgmt: Program, keyword: str, names: set[str]) -> None:
    assert local(mgmt, keyword) == names
    mgmt.environment = {}
    for name in ("IMG_1.jpg", "Straße.mov", "ΛΌΓΟΣ", "ünï"):
        mgmt.ok("upload", "--keep", mgmt.home / "media" / "Beach" / name)
    assert local(mgmt, keyword) == names - {"Beach"}


def test_results_come_in_the_documented_order(on_directory: Program) -> None:
    """Completed copies, other local files, archives, members; of each, what was recorded last first."""
    for name in ("beach one", "beach two"):
        (on_directory.work / name).mkdir()
        (on_directory.work / name / f"{name}.jpg").write_text(name)
        on_directory.ok("upload", name)
        on_directory.ok("download", name, "--to", "back")
    found = on_directory.json("search", "beach")
    kinds = [each["type"] if each["location"] == "s3" else each["location"] for each in found]
    assert kinds == ["completed"] * 2 + ["local"] * 2 + ["archive"] * 2 + ["member"] * 4
    for first in (0, 2, 4):
        assert "two" in found[first]["path"]
        assert "one" in found[first + 1]["path"]
    assert ["two" in each["path"] for each in found[6:]] == [True, True, False, False]
