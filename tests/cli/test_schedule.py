"""`mgmt schedule`: what is kept, what is refused, and what `run` does with a time that is due."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mgmt.catalog import ScheduleRecord, open_catalog
from mgmt.catalog.records.process import Owner
from tests.program import Program

pytestmark = pytest.mark.sqlite

CRON = f"{datetime.now(UTC) + timedelta(hours=12):%M %H} * * *"
"""Once a day, half a day from now: no time comes during a test."""


def change(mgmt: Program, name: str, how: Callable[[ScheduleRecord], None]) -> None:
    catalog = open_catalog(mgmt.records.url)
    with catalog.transaction():
        how(catalog.schedules.get(name))
    catalog.close()


def made_ago(mgmt: Program, name: str, **ago: float) -> None:
    """Let the schedule be that old, with none of its times run."""

    def back(schedule: ScheduleRecord) -> None:
        schedule.created_at, schedule.last_time = datetime.now(UTC) - timedelta(**ago), None

    change(mgmt, name, back)


def add(mgmt: Program, *command: str, cron: str = CRON, timezone: str = "UTC") -> dict[str, Any]:
    return dict(mgmt.json("schedule", "add", "nightly", cron, "--timezone", timezone, "--", *command))


def operations(mgmt: Program) -> list[dict[str, Any]]:
    return list(reversed(mgmt.json("log", "--limit", "1000")))


@pytest.fixture
def file(mgmt: Program) -> Path:
    path = mgmt.work / "clip"
    path.write_text("contents")
    return path


def test_a_schedule_keeps_what_it_was_made_with(mgmt: Program) -> None:
    shown = add(mgmt, "upload", "--all", ".", "--exclude", "*.tmp", cron="30  2 * * *", timezone="Europe/Berlin")
    assert shown["command"] == ["upload", "--all", ".", "--exclude", "*.tmp"]
    assert (shown["cron"], shown["timezone"], shown["status"]) == ("30 2 * * *", "Europe/Berlin", "active")
    assert (shown["folder"], shown["store"]) == (str(mgmt.work), mgmt.store)
    assert len(shown["next_times"]) == 5
    local = [datetime.fromisoformat(each).astimezone(ZoneInfo("Europe/Berlin")) for each in shown["next_times"]]
    assert {(each.hour, each.minute) for each in local} <= {(2, 30), (3, 0)}
    assert mgmt.json("schedule", "show", "nightly")["next_times"] == shown["next_times"]
    assert [each["name"] for each in mgmt.json("schedule", "ls")] == ["nightly"]
    assert "30 2 * * *" in mgmt.ok("schedule", "ls")
    assert "next_times" in mgmt.ok("schedule", "show", "nightly")
    assert operations(mgmt) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["db", "prune"], "'db' cannot run on a schedule"),
        (["--store", "file:///x", "upload", "a"], "'--store' cannot run on a schedule"),
        (["schedule", "rm", "x"], "'schedule' cannot run on a schedule"),
        (["upload", "a", "--nonsense"], "upload: No such option"),
        (["upload", "a", "--level", "fastest"], "upload: Invalid value for '--level'"),
        (["upload", "--help"], "upload: No such option '--help'"),
        (["upload"], "nothing was named to work on"),
        (["upload", "a", "-n"], "--dry-run"),
        (["upload", "a", "--later"], "a scheduled command cannot have --later"),
        (["upload", "a", "--at", "22:00"], "a scheduled command cannot have --at"),
        (["upload", "a", "--queue", "q"], "a scheduled command cannot have --queue"),
        (["upload", "--files-from", "-"], "a scheduled command has no input to read"),
        (["upload", "a", "--template", "none"], "there is no template 'none'"),
        (["upload", ""], "is an empty string"),
    ],
)
def test_a_command_that_cannot_run_on_a_schedule_is_refused(mgmt: Program, words: list[str], message: str) -> None:
    done = mgmt.run("schedule", "add", "nightly", CRON, "--", *words)
    assert done.returncode in (2, 4), done.stderr
    assert message in done.stderr
    assert (done.stdout, mgmt.json("schedule", "ls")) == ("", [])


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a%", "ü", "x" * 101, "worker", "a\nb"])
def test_a_name_that_no_unit_can_have_is_refused(mgmt: Program, name: str) -> None:
    assert mgmt.run("schedule", "add", "--", name, CRON, "upload", "a").returncode == 2


def test_a_name_is_taken_once(mgmt: Program) -> None:
    add(mgmt, "upload", "a")
    done = mgmt.run("schedule", "add", "nightly", CRON, "--", "upload", "b")
    assert (done.returncode, "mgmt schedule rm nightly" in done.stderr) == (10, True)
    assert mgmt.json("schedule", "show", "nightly")["command"] == ["upload", "a"]


def test_wrong_times_and_zones_are_refused(mgmt: Program) -> None:
    for words in (["61 * * * *"], ["0 0 31 2 *"], [CRON, "--timezone", "Mars/Olympus"]):
        done = mgmt.run("schedule", "add", "nightly", *words, "--", "upload", "a")
        assert (done.returncode, done.stdout) == (2, "")


def test_what_removes_something_is_confirmed_when_it_is_added(mgmt: Program) -> None:
    words = ["schedule", "add", "weekly", CRON]
    assert mgmt.run(*words, "--", "free", "--older-than", "30d").returncode == 7
    mgmt.ok(*words, "--", "free", "--older-than", "30d", "--yes")
    mgmt.ok("schedule", "rm", "weekly")
    mgmt.ok(*words, "--yes", "--", "free", "--older-than", "30d")


def test_a_time_is_run_once(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip", "--keep")
    made_ago(mgmt, "nightly", days=1)
    mgmt.ok("schedule", "run", "nightly")
    (first,) = operations(mgmt)
    assert (first["status"], first["operation_type"]) == ("success", "upload")
    assert first["command_args"]["schedule"]["name"] == "nightly"
    shown = mgmt.json("schedule", "show", "nightly")
    assert (shown["last_operation_id"], shown["last_status"]) == (first["operation_id"], "success")
    done = mgmt.run("schedule", "run", "nightly")
    assert (done.returncode, done.stdout) == (0, "")
    assert "none of its times is due" in done.stderr
    assert len(operations(mgmt)) == 1
    file.write_text("other contents")
    mgmt.run("schedule", "run", "nightly", "--now")
    assert len(operations(mgmt)) == 2


def test_missed_times_are_run_once_and_the_record_says_how_many(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip")
    made_ago(mgmt, "nightly", days=10)
    done = mgmt.run("schedule", "run", "nightly")
    assert done.returncode == 0
    assert "9 earlier times were missed; it runs once for all of them" in done.stderr
    (only,) = operations(mgmt)
    assert only["command_args"]["schedule"]["missed"] == 9


def test_several_targets_and_what_follows_are_run_in_the_foreground(mgmt: Program) -> None:
    for name in ("a", "b"):
        (mgmt.work / name).write_text(name)
    add(mgmt, "upload", "--all", ".", "--then", "verify")
    made_ago(mgmt, "nightly", days=1)
    mgmt.ok("schedule", "run", "nightly")
    found = operations(mgmt)
    assert sorted(each["operation_type"] for each in found) == ["batch", "upload", "upload", "verify", "verify"]
    assert {each["status"] for each in found} == {"success"}
    assert {each["command_args"]["schedule"]["name"] for each in found} == {"nightly"}


def test_a_failed_run_fails(mgmt: Program) -> None:
    add(mgmt, "upload", "missing")
    done = mgmt.run("schedule", "run", "--now", "nightly")
    assert done.returncode != 0
    assert [each["status"] for each in operations(mgmt)] == ["failed"]


def test_a_run_that_has_not_ended_is_finished_and_the_next_time_skipped(mgmt: Program, file: Path) -> None:
    """The process of the last run was killed, and no worker runs on this machine."""
    add(mgmt, "upload", "clip")
    made_ago(mgmt, "nightly", days=3)
    catalog = open_catalog(mgmt.records.url)
    (first,) = [json.loads(line) for line in mgmt.ok("-o", "jsonl", "upload", "clip", "--later").splitlines()]
    with catalog.transaction():
        job = catalog.jobs.job(first["operation_id"])
        assert job is not None
        me = Owner.current()
        job.schedule, job.taken_by = "nightly", f"{me.host}/another-boot/{me.pid}/1"
    catalog.close()
    done = mgmt.run("schedule", "run", "nightly")
    assert done.returncode == 0, done.stderr
    ran, skipped = operations(mgmt)
    assert (ran["operation_id"], ran["status"]) == (first["operation_id"], "success")
    assert (skipped["status"], skipped["operation_type"]) == ("cancelled", "upload")
    assert f"has not ended; operation {first['operation_id']} is left" in skipped["error_message"]
    shown = mgmt.json("schedule", "show", "nightly")
    assert (shown["last_status"], shown["last_message"]) == ("cancelled", skipped["error_message"])
    assert skipped["error_message"] in done.stderr


def test_a_command_that_can_no_longer_be_requested_is_recorded_as_failed(mgmt: Program) -> None:
    folder = mgmt.work / "gone"
    folder.mkdir()
    mgmt.ok("schedule", "add", "nightly", CRON, "--", "upload", "a", cwd=folder)
    folder.rmdir()
    done = mgmt.run("schedule", "run", "nightly", "--now")
    assert done.returncode == 1
    (failed,) = operations(mgmt)
    assert failed["status"] == "failed"
    assert "cannot be entered" in failed["error_message"]


@pytest.mark.parametrize("planted", [["db", "prune", "--yes"], ["upload", "x", "--later"], ["--help"], []])
def test_kept_words_are_checked_again(mgmt: Program, planted: list[str]) -> None:
    add(mgmt, "upload", "a")

    def plant(schedule: ScheduleRecord) -> None:
        schedule.command = planted

    change(mgmt, "nightly", plant)
    done = mgmt.run("schedule", "run", "nightly", "--now")
    assert (done.returncode, done.stdout) == (1, "")
    assert [(each["status"], each["operation_type"]) for each in operations(mgmt)] == [("failed", "batch")]


def test_a_paused_schedule_does_not_run_and_skips_the_times_of_the_pause(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip")
    assert mgmt.json("schedule", "pause", "nightly")["status"] == "paused"
    made_ago(mgmt, "nightly", days=10)
    assert mgmt.json("schedule", "pause", "nightly")["next_times"] == []
    done = mgmt.run("schedule", "run", "nightly")
    assert (done.returncode, "is paused" in done.stderr) == (0, True)
    assert mgmt.json("schedule", "resume", "nightly")["status"] == "active"
    mgmt.ok("schedule", "resume", "nightly")
    assert "none of its times is due" in mgmt.run("schedule", "run", "nightly").stderr
    assert operations(mgmt) == []


def test_a_schedule_that_is_not_there_is_not_found(mgmt: Program) -> None:
    for verb in ("show", "pause", "resume", "rm", "run", "install"):
        done = mgmt.run("schedule", verb, "none", *(["--cron"] if verb == "install" else []))
        assert (done.returncode, "mgmt schedule ls" in done.stderr) == (4, True), verb


def test_a_schedule_of_another_machine_is_shown_and_not_run(mgmt: Program) -> None:
    add(mgmt, "upload", "a")

    def move(schedule: ScheduleRecord) -> None:
        schedule.host = "elsewhere"

    change(mgmt, "nightly", move)
    assert mgmt.json("schedule", "show", "nightly")["host"] == "elsewhere"
    for words in (["run"], ["run", "--now"], ["install", "--cron"]):
        assert mgmt.run("schedule", *words, "nightly").returncode == 7
    mgmt.ok("schedule", "rm", "nightly")


def test_removing_a_schedule_leaves_what_it_has_done(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip")
    mgmt.ok("schedule", "run", "--now", "nightly")
    mgmt.ok("schedule", "rm", "nightly")
    assert mgmt.json("schedule", "ls") == []
    assert [each["status"] for each in operations(mgmt)] == ["success"]


def test_a_crontab_line_runs_with_the_same_settings(mgmt: Program, file: Path) -> None:
    odd = mgmt.home / "100% $HOME"
    odd.mkdir()
    (odd / "config.toml").write_text("")
    add(mgmt, "upload", "clip", cron="30 2 * * *", timezone="Asia/Kathmandu")
    mgmt.environment = {"MGMT_CONFIG": str(odd / "config.toml"), "MGMT_LEVEL": "balanced"}
    line = mgmt.json("schedule", "install", "nightly", "--cron")["line"]
    assert line.startswith("0,15,30,45 * * * * ")  # this machine's zone is not that of the schedule
    command = line.split("* * * * ", 1)[1]
    assert "%" not in command.replace("\\%", "")
    words = shlex.split(command.replace("\\%", "%"))
    assert words[-4:] == ["schedule", "run", "nightly", ">/dev/null"]
    assert f"--config={odd / 'config.toml'}" in words
    assert "MGMT_LEVEL=balanced" in words
    done = subprocess.run(
        ["sh", "-c", command.replace("\\%", "%") + " --now"],
        env={"HOME": str(mgmt.home), "PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (only,) = operations(mgmt)
    assert only["status"] == "success"


@pytest.mark.parametrize("which", ["worker", "schedule"])
def test_units_are_what_systemd_accepts(mgmt: Program, which: str) -> None:
    add(mgmt, "upload", "clip 100%")
    words = ["worker", "install", "--systemd", "--slots", "2"]
    if which == "schedule":
        words = ["schedule", "install", "nightly", "--systemd"]
    shown = mgmt.json(*words)
    folder = mgmt.home / "config" / "systemd" / "user"
    names = ["mgmt-worker.service"] if which == "worker" else ["mgmt-nightly.service", "mgmt-nightly.timer"]
    assert shown["paths"] == [str(folder / name) for name in names]
    assert f"systemctl --user enable --now {names[-1]}" in shown["next"]
    text = "\n".join((folder / name).read_text() for name in names)
    assert f'ExecStart="{sys.executable}" "-m" "mgmt" ' in text
    for line in (
        ["Restart=on-failure", "SuccessExitStatus=143", "KillMode=mixed", "TimeoutStopSec=900", '"--slots=2"']
        if which == "worker"
        else ["Persistent=true", "RandomizedDelaySec=900", '"schedule" "run" "nightly"', "clip 100%%"]
    ):
        assert line in text
    assert mgmt.json(*words) == shown
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TESTED by systemd: systemd-analyze is not on this machine")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", *shown["paths"]],
        env={"XDG_RUNTIME_DIR": str(mgmt.home), "HOME": str(mgmt.home), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    own = [line for line in done.stderr.splitlines() if "mgmt-" in line]
    assert (own, done.returncode) == ([], 0), done.stderr


def test_a_unit_that_mgmt_did_not_write_is_left(mgmt: Program) -> None:
    folder = mgmt.home / "config" / "systemd" / "user"
    folder.mkdir(parents=True)
    (folder / "mgmt-worker.service").write_text("[Unit]\n")
    done = mgmt.run("worker", "install", "--systemd")
    assert (done.returncode, "was not written by mgmt" in done.stderr) == (7, True)
    assert (folder / "mgmt-worker.service").read_text() == "[Unit]\n"


def test_no_secret_is_written_to_a_unit(mgmt: Program) -> None:
    mgmt.environment = {
        "AWS_SECRET_ACCESS_KEY": "s3cr3t", "HTTPS_PROXY": "http://me:s3cr3t@proxy:1", "AWS_PROFILE": "mine",
    }  # fmt: skip
    shown = mgmt.json("worker", "install", "--systemd")
    text = Path(shown["paths"][0]).read_text()
    assert "s3cr3t" not in text
    assert 'Environment="AWS_PROFILE=mine"' in text
    assert sorted(shown["left_out"]) == ["AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"]
    url = "postgresql://me:s3cr3t@127.0.0.1:1/catalog"
    for words in (["--catalog", url], []):
        mgmt.environment = {} if words else {"MGMT_CATALOG": url}
        done = mgmt.run(*words, "worker", "install", "--systemd")
        assert (done.returncode, "s3cr3t" in done.stderr) == (2, False)


def test_install_needs_to_know_what_for(mgmt: Program) -> None:
    add(mgmt, "upload", "a")
    for words in (
        ["worker", "install"],
        ["worker", "--systemd"],
        ["worker", "install", "--systemd", "--until-empty"],
        ["worker", "instal", "--systemd"],
        ["schedule", "install", "nightly"],
        ["schedule", "install", "nightly", "--systemd", "--cron"],
    ):
        assert mgmt.run(*words).returncode == 2, words


def test_removing_a_schedule_says_that_its_timer_stays(mgmt: Program) -> None:
    add(mgmt, "upload", "a")
    mgmt.ok("schedule", "install", "nightly", "--systemd")
    (timer, service) = (
        mgmt.home / "config" / "systemd" / "user" / f"mgmt-nightly.{each}" for each in ("timer", "service")
    )
    note = mgmt.run("schedule", "rm", "nightly").stderr
    assert f"systemctl --user disable --now mgmt-nightly.timer; rm {timer} {service}; " in note


def test_cron_mails_errors_alone(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip")
    line = mgmt.json("schedule", "install", "nightly", "--cron")["line"]
    command = line.split(" ", 5)[5].replace("\\%", "%")
    made_ago(mgmt, "nightly", days=2)
    env = {**mgmt.env(), "PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env, cwd=mgmt.work)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert [each["status"] for each in operations(mgmt)] == ["success"]
    (mgmt.work / "completed" / "clip").unlink()
    file.write_text("others")
    made_ago(mgmt, "nightly", days=2)
    second = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env, cwd=mgmt.work)
    assert (second.returncode, second.stdout, "1 operation was not done" in second.stderr) == (3, "", True), second


def test_a_paused_schedule_runs_if_it_is_told_to_and_stays_paused(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip")
    mgmt.ok("schedule", "pause", "nightly")
    done = mgmt.run("schedule", "run", "nightly", "--now")
    assert (done.returncode, "is paused; it runs this once" in done.stderr) == (0, True), done
    assert [each["status"] for each in operations(mgmt)] == ["success"]
    assert mgmt.json("schedule", "show", "nightly")["status"] == "paused"


def test_an_upload_that_frees_its_own_copy_needs_no_confirmation(mgmt: Program, file: Path) -> None:
    add(mgmt, "upload", "clip", "--then", "verify", "--then", "free")
    mgmt.ok("schedule", "run", "--now", "nightly")
    assert [each["status"] for each in operations(mgmt)] == ["success"] * 3
    assert not (mgmt.work / "completed" / "clip").exists()
    file.write_text("others")
    mgmt.ok("schedule", "rm", "nightly")
    mgmt.ok("upload", "clip", "--key", "other", "--then", "free")


def test_what_downloads_what_is_ready_cannot_be_scheduled(mgmt: Program) -> None:
    for words in (["schedule", "add", "thaw", CRON, "--", "restore", "--ready"], ["restore", "--ready", "--later"]):
        done = mgmt.run(*words)
        assert (done.returncode, "mgmt download NAME --later" in done.stderr) == (2, True), done
    mgmt.ok("schedule", "add", "thaw", CRON, "--", "restore", "--search", "beach")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["verify", "--sample", "5%"], "verify of a sample of 5%"),
        (["verify", "--all"], "verify of all targets"),
        (["free", "--older-than", "60d", "--yes"], "free of copies older than 60d"),
        (["restore", "--search", "beach"], "restore of what matches beach"),
        (["download", "a", "--member", "x", "--member", "y"], "download of 1 target"),
        (["verify", "a", "b"], "verify of 2 targets"),
    ],
)
def test_a_batch_is_called_after_what_it_works_on(mgmt: Program, words: list[str], name: str) -> None:
    done = mgmt.run(*words, "--later")
    assert (done.returncode, done.stderr) == (0, "note: mgmt worker runs it\n")
    assert [each["target_name"] for each in operations(mgmt)] == [name]


def test_a_machine_without_systemd_is_told(mgmt: Program) -> None:
    mgmt.environment = {"PATH": str(mgmt.home)}
    assert "there is no systemctl here" in mgmt.run("worker", "install", "--systemd").stderr
