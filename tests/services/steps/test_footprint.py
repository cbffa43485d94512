"""Which targets may be uploaded at the same time."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.choices import OnConflict
from mgmt.errors import ConfigurationError
from mgmt.services.steps.footprint import FEW, SMALL, Footprint, footprint
from mgmt.services.steps.plan import UploadOptions

OPTIONS = UploadOptions()
RENAMING = UploadOptions(on_conflict=OnConflict.RENAME)


def made(path: Path, options: UploadOptions = OPTIONS, size: int = 1) -> Footprint | None:
    path.parent.mkdir(exist_ok=True, parents=True)
    if not path.exists():
        path.touch()
        os.truncate(path, size)
    return footprint(str(path), options)


@pytest.mark.parametrize("size", [0, SMALL])
def test_a_small_file_has_a_footprint(tmp_path: Path, size: int) -> None:
    assert made(tmp_path / "x", size=size) == Footprint(str(tmp_path / "x"), size, "x.tar.gz")


def test_what_is_large_is_uploaded_alone(tmp_path: Path) -> None:
    assert made(tmp_path / "file", size=SMALL + 1) is None
    made(tmp_path / "in" / "sum" / "a", size=SMALL // 2)
    assert footprint(str(tmp_path / "in"), OPTIONS) is not None
    made(tmp_path / "in" / "b", size=SMALL // 2 + 1)
    assert footprint(str(tmp_path / "in"), OPTIONS) is None
    for number in range(FEW + 1):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
    assert footprint(str(tmp_path / "many"), OPTIONS) is None


def test_a_file_with_several_names_is_uploaded_alone(tmp_path: Path) -> None:
    """A move of the one changes the other while it is read."""
    made(tmp_path / "x")
    os.link(tmp_path / "x", tmp_path / "y")
    assert footprint(str(tmp_path / "x"), OPTIONS) is None


def test_nothing_is_uploaded_beside_what_another_upload_writes_to(tmp_path: Path) -> None:
    assert made(tmp_path / "x", replace(OPTIONS, keep_archive=str(tmp_path))) is None
    assert made(tmp_path / "x", replace(OPTIONS, completed_dir="../done")) is None
    assert made(tmp_path / "x", replace(OPTIONS, completed_dir="done")) is not None
    assert made(tmp_path / "Done", replace(OPTIONS, completed_dir="done")) is None


def test_what_is_gone_has_a_footprint_and_what_cannot_be_looked_at_has_none(tmp_path: Path) -> None:
    assert footprint(str(tmp_path / "gone"), OPTIONS) == Footprint(str(tmp_path / "gone"), 0, "gone.tar.gz")
    with pytest.raises(ConfigurationError):
        made(tmp_path / ("x" * 250), replace(OPTIONS, key="not//a key"))


@pytest.mark.parametrize(
    ("one", "other", "options", "meets"),
    [
        ("a/x", "b/x", OPTIONS, True),
        ("a/x", "b/X", OPTIONS, True),
        ("a/é", "b/e\u0301", OPTIONS, True),
        ("a/x", "b/y", OPTIONS, False),
        ("a/x", "a/xy", OPTIONS, False),
        ("a/x", "b/x-2", OPTIONS, False),
        ("a/x", "b/x-2", RENAMING, True),
        ("a/x", "b/x-31", RENAMING, True),
        ("a/x-2", "b/x-2-2", RENAMING, True),
        ("a/x", "b/x-2-2", RENAMING, False),
        ("a/x-2", "b/x-3", RENAMING, False),
        ("a/x", "b/x-02", RENAMING, False),
        ("a/x", "b/x-1", RENAMING, False),
    ],
)
def test_two_meet_if_they_could_want_one_key(
    tmp_path: Path, one: str, other: str, options: UploadOptions, meets: bool
) -> None:
    first, second = (made(tmp_path / each, options) for each in (one, other))
    assert first is not None
    assert second is not None
    assert (first.meets(second), second.meets(first)) == (meets, meets)


def test_two_meet_if_one_is_inside_the_other(tmp_path: Path) -> None:
    inner, beside = made(tmp_path / "a" / "b" / "c"), made(tmp_path / "a-b")
    outer = footprint(str(tmp_path / "a"), OPTIONS)
    assert inner is not None
    assert outer is not None
    assert beside is not None
    assert inner.meets(outer)
    assert outer.meets(inner)
    assert not outer.meets(beside)


def test_names_are_found_through_links(tmp_path: Path) -> None:
    inside = made(tmp_path / "a" / "x")
    (tmp_path / "link").symlink_to("a")
    assert footprint(str(tmp_path / "link" / "x"), OPTIONS) == inside
