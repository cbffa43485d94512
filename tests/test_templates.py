"""Templates in the configuration file: what they take over, and what is refused."""

from pathlib import Path

import pytest

from mgmt.errors import ConfigurationError, NotFoundError
from mgmt.templates import resolved, template_names


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("""
level = "fast"
[templates.base]
keep = true
exclude = ["*.tmp"]
[templates.raw]
extends = "base"
storage_class = "DEEP_ARCHIVE"
keep = false
[templates.rawer]
extends = "raw"
[templates.loop]
extends = "pool"
[templates.pool]
extends = "loop"
[templates.self]
extends = "self"
[templates.orphan]
extends = "nobody"
[templates.number]
extends = 3
[templates.twice]
on-conflict = "skip"
on_conflict = "error"
""")
    return path


def values(name: str, path: Path) -> dict[str, object]:
    return {each.name: each.value for each in resolved(name, path).options.values()}


def test_a_template_takes_over_the_options_of_another_and_its_own_win(file: Path) -> None:
    assert values("base", file) == {"keep": True, "exclude": ["*.tmp"]}
    assert values("raw", file) == {"keep": False, "exclude": ["*.tmp"], "storage-class": "DEEP_ARCHIVE"}
    assert values("rawer", file) == values("raw", file)
    origins = {each.name: each.template for each in resolved("rawer", file).options.values()}
    assert origins == {"keep": "raw", "exclude": "base", "storage-class": "raw"}
    assert template_names(file)[:3] == ["base", "raw", "rawer"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loop", "template 'loop' extends itself: loop -> pool -> loop"),
        ("self", "template 'self' extends itself: self -> self"),
        ("orphan", "template 'orphan' extends 'nobody', which is no template"),
        ("number", "template 'number' extends 3, which is no template"),
        ("twice", "template 'twice' has the option --on-conflict twice"),
    ],
)
def test_what_cannot_be_resolved_is_refused(file: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        resolved(name, file)
    assert error.value.message == message


def test_a_template_that_is_not_there_is_not_found(file: Path, tmp_path: Path) -> None:
    for path in (file, tmp_path / "none.toml", None):
        with pytest.raises(NotFoundError):
            resolved("none", path)
    assert template_names(tmp_path / "none.toml") == template_names(None) == []


@pytest.mark.parametrize("text", ["[[templates]]\nname = 'raw'\n", "[templates]\nraw = 'x'\n", "templates = 'x'\n"])
def test_templates_are_tables(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        template_names(path)
