"""Settings: their sources, and the values that are refused."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.config import NAMES, load, parse_size, write
from mgmt.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


def test_a_flag_overrides_the_environment_which_overrides_the_file(file: Path) -> None:
    assert load({}, file, {}).level == "fast"
    write(file, "level", "balanced")
    settings = load({}, file, {})
    assert (settings.level, settings.origins["level"]) == ("balanced", f"file {file}")
    settings = load({}, file, {"MGMT_LEVEL": "fast"})
    assert (settings.level, settings.origins["level"]) == ("fast", "environment MGMT_LEVEL")
    settings = load({"level": "balanced"}, file, {"MGMT_LEVEL": "fast"})
    assert (settings.level, settings.origins["level"]) == ("balanced", "flag")


def test_the_older_variables_of_a_store_are_accepted() -> None:
    older = {"MGMT_BUCKET": "footage", "MGMT_OBJECT_PREFIX": "archive/"}
    assert load({}, Path("/nowhere"), older).store == "s3://footage/archive"
    assert load({}, Path("/nowhere"), {**older, "MGMT_STORE": "s3://other"}).store == "s3://other"


def test_the_metrics_file_is_the_same_in_each_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(file, "metrics_file", "below/m.prom")
    assert load({}, file, {}).metrics_file == f"{tmp_path}/below/m.prom"
    assert load({}, file, {"MGMT_METRICS_FILE": "~/m.prom"}).metrics_file == f"{Path.home()}/m.prom"
    for wrong in ("m.prom", "/folder/", "/nul\0"):
        with pytest.raises(ConfigurationError, match="must be the absolute path of a file"):
            load({}, file, {"MGMT_METRICS_FILE": wrong})
    file.write_text('metrics_file = "m.prom"\n')
    with pytest.raises(ConfigurationError, match="must be the absolute path of a file"):
        load({}, file, {})
    with pytest.raises(ConfigurationError, match="must be the absolute path of a file"):
        write(file, "metrics_file", "")


def test_writing_keeps_comments_and_the_file_is_private(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('# my own comment\nlevel = "fast"  # for now\n')
    write(file, "store", "file:///archive")
    write(file, "threads", "8")
    text = file.read_text()
    assert "# my own comment" in text
    assert "# for now" in text
    assert load({}, file, {}).threads == 8
    write(file, "threads", None)
    assert load({}, file, {}).threads == 4
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", "best"),
        ("threads", "0"),
        ("threads", "many"),
        ("part_size", "1M"),
        ("store", "ftp://x"),
        ("store", "s3://"),
        ("store", "file:///"),
        ("proof", ""),
    ],
)
def test_a_refused_value_changes_nothing(file: Path, name: str, value: str) -> None:
    write(file, "level", "balanced")
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match=name):
        write(file, name, value)
    assert file.read_bytes() == before


def test_a_misspelled_name_gets_a_suggestion(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'storage_class'"):
        write(file, "storage_clas", "STANDARD")


def test_an_invalid_file_is_refused(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("level = ")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load({}, file, {})
    file.write_text("colour = 'blue'")
    with pytest.raises(ConfigurationError, match="no setting 'colour'"):
        load({}, file, {})


def test_every_setting_has_an_environment_variable() -> None:
    values = {
        "store": "file:///x",
        "storage_class": "GLACIER",
        "on_conflict": "skip",
        "proof": "read-back",
        "level": "balanced",
        "mirror": "true",
        "sync_tags": "true",
        "part_size": "8M",
        "threads": "2",
        "attempts": "3",
        "backoff": "10",
        "budget": "12.50",
        "metrics_file": "/tmp/m.prom",
        "catalog": "sqlite:////tmp/catalog.db",
    }
    given = {f"MGMT_{name.upper()}": values.get(name, "anything") for name in NAMES}
    settings = load({}, Path("/nowhere"), given)
    assert set(settings.origins.values()) == {f"environment {name}" for name in given}


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("8M", 8 << 20), ("8MiB", 8 << 20), ("1.5g", 3 << 29), ("64 kB".replace(" ", ""), 65536)],
)
def test_sizes_with_units_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text(max_size=8))
def test_any_text_is_a_size_or_raises_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_size(text), int)


def test_infinity_is_not_a_size() -> None:
    with pytest.raises(ValueError, match="inf"):
        parse_size("infk")


@pytest.mark.parametrize(("given", "expected"), [("true", True), ("True", True), ("false", False)])
def test_a_boolean_must_be_true_or_false(given: str, expected: bool, file: Path) -> None:
    write(file, "mirror", given)
    assert file.read_text() == f"mirror = {str(expected).lower()}\n"
    assert load({}, file, {}).mirror is expected
    with pytest.raises(ConfigurationError, match="must be true or false"):
        load({}, file, {"MGMT_MIRROR": "1"})
