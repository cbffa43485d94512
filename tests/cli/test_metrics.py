"""`mgmt metrics`, and the file that is written after commands."""

import json
import os
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.catalogs import SQLITE
from tests.program import Program


def operations(text: str) -> dict[tuple[str, str], float]:
    """The number of operations by type and status, where there are any."""
    return {
        (sample.labels["type"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "mgmt_operations_total" and sample.value
    }


@pytest.fixture
def used(mgmt: Program) -> Program:
    (mgmt.work / "clip").write_text("clip")
    mgmt.ok("upload", "clip")
    return mgmt


def test_metrics_on_stdout_and_in_a_file(used: Program) -> None:
    assert operations(used.ok("metrics", "-")) == {("upload", "success"): 1}
    assert used.ok("metrics", "m.prom") == ""
    file = used.work / "m.prom"
    assert operations(file.read_text()) == {("upload", "success"): 1}
    assert file.stat().st_mode & 0o777 == 0o644
    told = json.loads(used.ok("-o", "json", "metrics", "m.prom"))
    assert (told["path"], told["size"]) == ("m.prom", file.stat().st_size)
    done = used.run("metrics", "missing/m.prom")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the metrics file missing/m.prom cannot be written: No such file or directory" in done.stderr


@pytest.fixture
def watched(used: Program) -> Program:
    used.environment = {**used.environment, "MGMT_METRICS_FILE": str(used.home / "m.prom")}
    return used


def age(program: Program) -> Path:
    """Let the file be an hour old, so that it is due."""
    file = program.home / "m.prom"
    os.utime(file, (0, file.stat().st_mtime - 3600))
    return file


def test_the_file_is_written_after_a_command_that_changed_the_catalog(watched: Program) -> None:
    (watched.work / "more").write_text("more")
    watched.ok("upload", "more")
    file = watched.home / "m.prom"
    assert operations(file.read_text()) == {("upload", "success"): 2}
    age(watched)
    assert watched.run("upload", "missing").returncode == 4
    assert operations(file.read_text()) == {("upload", "success"): 2, ("upload", "failed"): 1}
    age(watched)
    watched.ok("tag", "more", "a=b")
    assert operations(file.read_text())["tag", "success"] == 1


@pytest.mark.parametrize("command", ["ls", "log", "queue", "config show", "report", "doctor", "upload missing -n"])
def test_a_command_that_only_reads_does_not_write_it(watched: Program, command: str) -> None:
    watched.run(*command.split())
    assert not (watched.home / "m.prom").exists()


def test_what_waits_is_counted_too(watched: Program) -> None:
    watched.ok("verify", "clip", "--later")
    assert 'mgmt_queue_length{queue="' in (watched.home / "m.prom").read_text()


def test_a_file_that_cannot_be_written_is_a_warning(used: Program) -> None:
    used.environment = {**used.environment, "MGMT_METRICS_FILE": str(used.home / "missing" / "m.prom")}
    (used.work / "more").write_text("more")
    done = used.run("upload", "more")
    assert done.returncode == 0
    assert "warning: no metrics were written: the metrics file" in done.stderr
    assert "success" in done.stdout
    assert used.run("upload", "gone").returncode == 4


def test_a_file_just_written_after_a_long_look_is_kept(watched: Program) -> None:
    file = watched.home / "m.prom"
    file.write_text("mgmt_metrics_seconds 60\n")
    watched.ok("tag", "clip", "a=b")
    assert file.read_text() == "mgmt_metrics_seconds 60\n"


@pytest.mark.parametrize("command", ["metrics", "report --html"])
def test_what_mgmt_works_with_is_no_place_for_a_file(used: Program, command: str) -> None:
    """Not even for what would be replaced elsewhere: a page that was archived, or an empty file."""
    store = Path(used.store.removeprefix("file://"))
    used.ok("report", "--html", "page.html")
    used.ok("upload", "page.html")
    (used.work / "folder").mkdir()
    (used.work / "folder" / "empty").touch()
    used.ok("upload", "folder")
    done = used.work / "completed"
    places = [done / "clip", done / "page.html", done / "new", done / "folder" / "empty"]
    if used.store.startswith("file://"):
        places += [store / "clip.tar.gz", store / "new"]
    if used.catalogs is SQLITE:
        places += [used.catalog, Path(f"{used.catalog}-journal")]
    for path in places:
        before = path.read_bytes() if path.exists() else None
        assert used.run(*command.split(), path).returncode == 2
        assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.sqlite
def test_another_file_is_a_conflict_and_with_the_setting_a_warning(watched: Program) -> None:
    file = watched.home / "m.prom"
    file.write_text("mine")
    assert watched.run("metrics", file).returncode == 10
    done = watched.run("tag", "clip", "a=b")
    assert done.returncode == 0
    assert "warning: no metrics were written:" in done.stderr
    assert "is not a metrics file of mgmt" in done.stderr
    assert file.read_text() == "mine"


@pytest.mark.sqlite
@pytest.mark.parametrize("there", ["link", "pipe"])
def test_the_setting_never_opens_what_is_not_a_regular_file(watched: Program, there: str) -> None:
    file, victim = watched.home / "m.prom", watched.home / ".bashrc"
    victim.write_text("mine")
    os.mkfifo(file) if there == "pipe" else file.symlink_to(victim)
    done = watched.run("tag", "clip", "a=b")
    assert done.returncode == 0
    assert "warning: no metrics were written:" in done.stderr
    assert victim.read_text() == "mine"


@pytest.mark.sqlite
def test_a_signal_ends_the_writing_and_not_the_command(watched: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "text"

    monkeypatch.setattr("mgmt.services.metrics.metrics", interrupted)
    done = watched.run("tag", "clip", "a=b")
    assert done.returncode == 0
    assert "warning: no metrics were written: interrupted" in done.stderr
    assert not (watched.home / "m.prom").exists()
    assert watched.records.rows("SELECT count(*) FROM operations WHERE operation_type = 'tag'") == [(1,)]
