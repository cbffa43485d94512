"""Notifications, from the configuration file to the receiver."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_imports import imported
from tests.program import Program
from tests.receiver import Receiver, receiver

SECRET = "zzsecretzz"


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def configure(mgmt: Program, *rules: str, before: str = "") -> Path:
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + "\n".join(f"[[notify]]\n{rule}\n" for rule in rules))
    return path


def hook(server: Receiver, *, name: str = "mine", on: str = '["success", "failed", "partial", "cancelled"]') -> str:
    return f'name = "{name}"\non = {on}\nwebhook = "{server.url}/{SECRET}"\nallow_private = true'


def files(mgmt: Program, *names: str) -> None:
    for name in names:
        (mgmt.work / name).write_text(name)


def events(server: Receiver) -> list[tuple[str, str, str]]:
    contents = [json.loads(each.body) for each in server.got]
    return [(each["type"], each["data"]["operation_type"], each["data"]["target_path"]) for each in contents]


def test_the_end_of_a_command_is_told(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server))
    files(mgmt, "a")
    mgmt.ok("upload", "a")
    assert mgmt.run("verify", "a", "--at", "+1h").returncode == 0
    assert mgmt.run("upload", "nothing").returncode != 0
    path = str(mgmt.work / "a")
    assert events(server)[0] == ("operation.success", "upload", path)
    (first, *_) = mgmt.json("notify", "ls")[::-1]
    assert (first["rule"], first["status"], first["attempts"]) == ("mine", "delivered", 1)
    assert first["text"].startswith(f"mgmt: upload {path} succeeded on ")
    assert first["message_id"] == server.got[0].headers["webhook-id"]
    assert "delivered" in mgmt.ok("notify", "ls")


@pytest.mark.sqlite
def test_a_batch_is_told_once(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server) + '\ntypes = ["upload"]', hook(server, name="not") + '\ntypes = ["verify"]')
    files(mgmt, "a", "b", "c")
    mgmt.ok("upload", "a", "b", "c")
    assert [(event, kind) for event, kind, _ in events(server)] == [("operation.success", "batch")]
    assert json.loads(server.got[0].body)["data"]["batch_of"] == "upload"
    files(mgmt, "d", "e")
    mgmt.ok("upload", "--later", "d", "e")
    mgmt.ok("worker", "--until-empty", "--slots", "2")
    assert [(event, kind) for event, kind, _ in events(server)[1:]] == [("operation.success", "batch")]


def test_a_worker_tells_of_a_chain(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server))
    files(mgmt, "a")
    mgmt.ok("upload", "a", "--then", "verify")
    assert server.got == []
    mgmt.ok("worker", "--until-empty")
    assert [kind for _, kind, _ in events(server)] == ["upload", "verify"]


@pytest.mark.sqlite
def test_a_ping_tells_the_start_before_the_end(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, f'name = "ping"\nping = "{server.url}/uuid"\nallow_private = true')
    files(mgmt, "a", "b")
    mgmt.ok("upload", "a")
    mgmt.ok("upload", "b", "--later")
    mgmt.ok("worker", "--until-empty")
    mgmt.run("upload", "nothing")
    paths = [each.path for each in server.got]
    assert paths == [*["/uuid/start", "/uuid"] * 2, "/uuid/start", "/uuid/fail"]


@pytest.mark.sqlite
def test_a_silence_is_expected_without_a_worker_and_without_any_success(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server, on="[]") + '\nsilence = "26h"\ntypes = ["upload"]')
    mgmt.ok("config", "set", "threads", "2")
    (expected,) = mgmt.json("notify", "ls")
    assert (expected["status"], expected["event"]) == ("expected", "silence")
    long_ago = "'2020-01-01 00:00:00.000000+00:00'"
    mgmt.records.change(f"UPDATE outbox SET created_at = {long_ago}, next_try_at = {long_ago}")
    mgmt.ok("config", "set", "threads", "3")
    (got,) = server.got
    assert json.loads(got.body)["type"] == "silence"
    mgmt.ok("config", "set", "threads", "4")
    assert len(server.got) == 1


@pytest.mark.sqlite
def test_what_is_only_looked_up_is_not_told(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server))
    mgmt.ok("search", "x")
    mgmt.ok("ls")
    assert server.got == []


@pytest.mark.sqlite
def test_an_endpoint_that_hangs_delays_a_command_by_two_seconds_at_most(mgmt: Program) -> None:
    import socket

    files(mgmt, "a")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{SECRET}"
        configure(mgmt, *(
            f'name = "r{number}"\non = ["success"]\nslack = "{url}"\nallow_private = true' for number in range(3)
        ))  # fmt: skip
        began = time.monotonic()
        done = mgmt.run("upload", "a")
        took = time.monotonic() - began
    (operation,) = mgmt.json("log", "--type", "upload")
    assert (done.returncode, operation["status"]) == (0, "success")
    assert took - operation["duration_seconds"] < 2 + 10  # a busy machine takes its time
    assert "note: not every notification was delivered; mgmt notify ls" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert {(each["status"], each["attempts"]) for each in mgmt.json("notify", "ls")} == {("waiting", 1)}


@pytest.mark.sqlite
def test_a_command_that_is_killed_before_it_delivers(mgmt: Program, server: Receiver) -> None:
    """Between the commit and the delivery, and between the delivery and its record."""
    configure(mgmt, hook(server))
    files(mgmt, "a", "b")

    def die() -> None:
        from mgmt.services.steps import delivery

        delivery.deliver = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]

    child = mgmt.fork("upload", "a", arm=die)
    assert child.wait(60) == -signal.SIGKILL
    child.communicate()
    assert (server.got, [each["status"] for each in mgmt.json("notify", "ls")]) == ([], ["waiting"])
    server.before_answer = lambda: os.kill(child.pid, signal.SIGKILL)
    child = mgmt.fork("upload", "b")
    assert child.wait(60) == -signal.SIGKILL
    child.communicate()
    assert len(server.got) == 1  # that of a: b waits behind it
    server.before_answer = lambda: None
    mgmt.records.change("UPDATE outbox SET next_try_at = '2020-01-01 00:00:00.000000+00:00'")
    mgmt.ok("worker", "--until-empty")
    assert [kind for _, kind, _ in events(server)] == ["upload"] * 3
    first, again, other = (each.headers["webhook-id"] for each in server.got)
    assert first == again != other
    assert server.got[0].body == server.got[1].body
    assert [each["status"] for each in mgmt.json("notify", "ls")] == ["delivered"] * 2


@pytest.mark.sqlite
def test_a_signal_during_the_delivery_does_not_change_the_exit_status(mgmt: Program, server: Receiver) -> None:
    configure(mgmt, hook(server))
    files(mgmt, "a")
    server.before_answer = lambda: os.kill(child.pid, signal.SIGINT)
    child = mgmt.fork("upload", "a")
    output, errors = child.communicate()
    assert (child.returncode, "interrupted" in errors, "a.tar.gz" in output) == (0, False, True)
    assert [each["status"] for each in mgmt.json("notify", "ls")] == ["delivered"]


@pytest.mark.sqlite
def test_an_error_of_a_rule_ends_a_command_before_it_begins(mgmt: Program) -> None:
    path = configure(mgmt, f'name = "bad"\nslack = "https://hooks.example/{SECRET}"\non = ["success!"]')
    files(mgmt, "a")
    for words in (["upload", "a"], ["ls"], ["config", "show"], ["notify", "test"]):
        done = mgmt.run(*words)
        assert done.returncode == 2
        assert f"notify rule 'bad' (file {path}): 'on' has 'success!'" in done.stderr
        assert SECRET not in done.stderr
    assert (mgmt.work / "a").exists()
    findings = json.loads(mgmt.run("-o", "json", "doctor").stdout)
    assert [each for each in findings if "notify rule 'bad'" in each["detail"]]


@pytest.mark.sqlite
def test_config_commands_leave_rules_alone(mgmt: Program, server: Receiver) -> None:
    path = configure(mgmt, hook(server, on='["failed"]'), before="# mine\nlevel = 'fast'\n")
    rule = path.read_text().partition("[[notify]]")[2]
    mgmt.ok("config", "set", "threads", "3")
    mgmt.ok("config", "set", "level", "balanced")
    mgmt.ok("config", "unset", "threads")
    mgmt.ok("config", "set", "threads", "2")
    text = path.read_text()
    assert text.partition("[[notify]]")[2] == rule
    assert "# mine" in text
    assert (mgmt.ok("config", "get", "threads"), mgmt.ok("config", "get", "level")) == ("2\n", "balanced\n")
    shown = mgmt.ok("config", "show") + mgmt.ok("-o", "json", "config", "show")
    assert SECRET not in shown
    assert "notify" not in shown
    assert mgmt.run("config", "set", "notify", "x").returncode == 2


@pytest.mark.sqlite
def test_no_secret_is_stored_logged_or_shown(mgmt: Program, server: Receiver) -> None:
    secret = mgmt.home / "secret"
    secret.write_text("whsec_enpzZWNyZXR6eg==\n")
    url = server.url.replace("//", f"//ann:{SECRET}@")
    configure(
        mgmt,
        hook(server).replace(server.url, url) + f'\nsecret_file = "{secret}"',
        f'name = "told"\non = ["success"]\ncommand = ["/bin/sh", "-c", "echo {SECRET}; exit 1"]',
        f'name = "gone"\non = ["success"]\nslack = "http://127.0.0.1:1/{SECRET}"\nallow_private = true',
    )
    files(mgmt, "a")
    done = mgmt.run("-vv", "upload", "a")
    tried = mgmt.run("-vv", "notify", "test")
    listed = mgmt.run("-vv", "notify", "ls", "-l")
    assert (done.returncode, tried.returncode, listed.returncode) == (0, 3, 0)
    everything = "".join(each.stdout + each.stderr for each in (done, tried, listed))
    stored = b"".join(path.read_bytes() for path in mgmt.catalog.parent.iterdir())
    for each in (SECRET, "enpzZWNyZXR6eg"):
        assert each not in everything
        assert each.encode() not in stored
    assert server.got[0].headers["authorization"].startswith("Basic ")


@pytest.mark.sqlite
def test_notify_test(mgmt: Program, server: Receiver) -> None:
    assert mgmt.run("notify", "test").returncode == 4
    configure(mgmt, hook(server), hook(server, name="other"))
    assert [each["status"] for each in mgmt.json("notify", "test")] == ["delivered"] * 2
    assert [each["rule"] for each in mgmt.json("notify", "test", "other")] == ["other"]
    assert [json.loads(each.body)["type"] for each in server.got] == ["test"] * 3
    server.answers = [500]
    done = mgmt.run("notify", "test", "mine")
    assert done.returncode == 1
    assert "1 of 1 notifications were not delivered: 127.0.0.1 answered 500" in done.stderr
    assert not mgmt.catalog.exists()


@pytest.mark.sqlite
def test_without_rules_nothing_is_listed(mgmt: Program) -> None:
    assert mgmt.run("notify", "ls").stderr == "no notifications\n"


@pytest.mark.sqlite
def test_rules_import_only_what_matching_needs(mgmt: Program, server: Receiver) -> None:
    """Unless there is something to deliver. Without rules there is not even that."""
    mgmt.ok("search", "x")
    without = imported(mgmt, "search", "x")
    configure(mgmt, hook(server, on='["failed"]'))
    more = imported(mgmt, "search", "x") - without
    assert {each.removeprefix("mgmt.services.") for each in more if each.startswith("mgmt.services.")} <= {
        "steps.notices", "steps.requests", "steps.request_arguments", "steps.rules",
    }  # fmt: skip
    assert not [each for each in without if re.search("noti|outbox|rules", each)]
