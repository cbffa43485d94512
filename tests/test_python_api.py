"""The Python API as docs/python.md describes it, on both kinds of catalog."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog import FileRecord, FileStatus, Location, MetadataManager, UploadRecord, this_host
from mgmt.config import write
from mgmt.errors import ConfigurationError
from tests.catalogs import Catalogs

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def url(tmp_path: Path, catalogs: Catalogs) -> str:
    return catalogs.at(tmp_path).url


@pytest.fixture
def manager(url: str) -> Iterator[MetadataManager]:
    with MetadataManager(url) as opened:
        yield opened


def local(path: str, **facts: object) -> FileRecord:
    given = {"host": this_host(), "location": "local", **facts}
    return FileRecord(path=path, **given)  # type: ignore[arg-type]


def test_the_example_of_the_page_runs(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MGMT_CATALOG", url)
    exec(compile(EXAMPLE, "docs/python.md", "exec"), {})
    ratio, found, done, same, nothing, count = capsys.readouterr().out.splitlines()
    assert (ratio, found) == ("2.0", "holiday.tar.gz 2500000000 {'who': 'ann'}")
    assert re.fullmatch(r"\S+ \S+\+00:00 /home/me/Videos/holiday \d\S* \{'camera': 'GoPro'\}", done)
    assert (same, nothing, count) == ("True", "None", "1")
    for line in re.findall(r"print\(.*?\)  # (.*)", EXAMPLE):
        assert line in (ratio, same, nothing, count)
    with MetadataManager() as again:
        (upload,) = again.list_operations("upload")
        assert upload.sha256 is not None
        assert upload.seal is not None  # sealed by close()


def test_the_configured_catalog_is_opened_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGMT_CATALOG", raising=False)
    file = tmp_path / "config.toml"
    write(file, "catalog", f"sqlite:///{tmp_path}/configured.db")
    monkeypatch.setenv("MGMT_CONFIG", str(file))
    with MetadataManager() as manager:
        manager.save_operation(UploadRecord(target_path="/a"))
    assert (tmp_path / "configured.db").is_file()
    monkeypatch.setenv("MGMT_CATALOG", f"sqlite:///{tmp_path}/other.db")
    with MetadataManager() as manager:
        assert manager.list_operations() == []


def test_a_missing_record_is_none(manager: MetadataManager) -> None:
    assert manager.get_operation("unknown") is None
    assert manager.get_file_record("/nothing") is None
    assert manager.get_file_record(7) is None
    assert manager.get_upload_history("/nothing") == []
    assert manager.search_files() == []


def test_a_file_is_found_by_its_path_or_its_key(
    manager: MetadataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = manager.save_file_record(local(f"{tmp_path}/caf\udce9"))
    manager.save_file_record(local(f"{tmp_path}/other", host="another host"))
    archives = [
        manager.save_file_record(
            FileRecord(path="a.tar.gz", location=Location.S3, store=f"file:///{n}", status=FileStatus.COMPLETED)
        )
        for n in range(2)
    ]
    assert manager.get_file_record(f"{tmp_path}/caf\udce9") is original
    assert manager.get_file_record("caf\udce9") is original
    assert manager.get_file_record(f"{tmp_path}/other") is None
    assert manager.get_file_record("a.tar.gz") is archives[1]
    archives[1].status = FileStatus.DELETED
    manager.save_file_record(archives[1])
    assert manager.get_file_record("a.tar.gz") is archives[0]
    assert manager.get_file_record(archives[0].place) is archives[0]
    assert manager.get_file_record(archives[1].id) is archives[1]


def test_a_search_without_a_keyword_gives_the_newest_hundred(manager: MetadataManager) -> None:
    for number in range(101):
        manager.save_file_record(local(f"/{number}"))
    found = manager.search_files()
    assert [each.path for each in found] == [f"/{number}" for number in range(100, 0, -1)]
    assert len(manager.search_files(limit=None)) == 101
    assert [each.path for each in manager.search_files(after=found[-1].id)] == ["/0"]


def test_the_catalog_does_not_import_the_command_line() -> None:
    modules = (
        "import sys, mgmt.catalog; print([name for name in sys.modules if name.startswith(('mgmt.cli', 'click'))])"
    )
    done = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"tags": {"year": 2026}}, "tags"),
        ({"tags": {1: "x"}}, "tags"),
        ({"tags": None}, "tags"),
        ({"path": Path("/a")}, "path"),
        ({"path": None}, "path"),
        ({"size": "5"}, "size"),
        ({"size": 2**63}, "size"),
        ({"size": True}, "size"),
        ({"is_directory": "yes"}, "is_directory"),
        ({"modified_at": "2026-01-01"}, "modified_at"),
        ({"status": None}, "status"),
        ({"location": 3}, "location"),
        ({"host": None}, "host="),
        ({"store": "s3://media"}, "no store"),
        ({"location": "s3"}, "store="),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_name(
    manager: MetadataManager, facts: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        manager.save_file_record(FileRecord(**{"path": "/a", "location": "local", "host": this_host(), **facts}))  # type: ignore[arg-type]
    assert manager.list_files() == []
    manager.save_file_record(local("/a"))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda m: m.get_file_record(None), "an id, a path, a key or a Place, not None"),
        (lambda m: m.get_file_record(Path("/a")), "Place"),
        (lambda m: m.get_operation(5), "operation_id must be text"),
        (lambda m: m.list_operations(colour="blue"), "there is no keyword 'colour': use one of after, host, parent"),
        (lambda m: m.list_operations(start_date="2026-01-01"), "start_date must be a datetime"),
        (lambda m: m.list_operations(limit="5"), "limit"),
        (lambda m: m.search_files(limit=-1), "limit"),
        (lambda m: m.search_files("a", colour="blue"), "there is no keyword 'colour'"),
        (lambda m: m.search_files(5), "keyword must be text"),
        (lambda m: m.search_files(tags={"year": 2026}), "tags"),
        (lambda m: m.search_files(since="7d"), "since must be a datetime"),
        (lambda m: m.list_files(colour="blue"), "there is no keyword 'colour'"),
        (lambda m: m.list_files(sort=None), "sort"),
        (lambda m: m.get_upload_history(None), "target_path must be text"),
        (lambda m: m.save_operation(None), "record must be an operation"),
        (lambda m: m.save_file_record(UploadRecord()), "record must be a file"),
        (lambda m: m.save_operation(m), "record must be an operation"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_by_its_name(
    manager: MetadataManager, call: Callable[[MetadataManager], object], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        call(manager)
    assert manager.list_operations() == []


@pytest.mark.parametrize("values", [None, [1], {"when": datetime.now(UTC)}, {"x": {1}}])
@pytest.mark.parametrize("name", ["metadata", "details", "command_args"])
def test_values_by_name_are_what_json_can_hold(name: str, values: object) -> None:
    facts: dict[str, Any] = {name: values}
    with pytest.raises(ConfigurationError, match=r"UploadRecord\.(details|command_args) must be values"):
        UploadRecord(**facts)


def test_sizes_are_numbers() -> None:
    """SQLite would store any text."""
    with pytest.raises(ConfigurationError, match=r"UploadRecord.original_size must be .*, not '5'"):
        UploadRecord(original_size="5")  # type: ignore[arg-type]


def test_an_id_beyond_those_of_a_database_is_none(manager: MetadataManager) -> None:
    assert manager.get_file_record(2**70) is None
    assert manager.get_file_record(-1) is None


def test_a_configuration_that_was_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGMT_CONFIG", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="there is no configuration file"):
        MetadataManager()
