"""The Python API as docs/python.md describes it, on both kinds of catalog."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.catalog import FileRecord, FileStatus, Location, MetadataManager, UploadRecord, this_host
from mgmt.config import write
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
