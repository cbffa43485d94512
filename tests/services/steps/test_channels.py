"""What each channel sends."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from mgmt.catalog import OutboxRecord
from mgmt.config import NAMES
from mgmt.services.steps import channels
from mgmt.services.steps.channels import facts_for_command, limit, send, text_of
from mgmt.services.steps.notices import trial
from mgmt.services.steps.post import UndeliveredError
from mgmt.services.steps.request_arguments import WORKER
from mgmt.services.steps.rules import Rule, parse_rules
from tests.receiver import Receiver, receiver

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_enpzZWNyZXR6emFub3RoZXI="]


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def rule(**table: Any) -> Rule:
    (made,) = parse_rules([{"name": "mine", "allow_private": "command" not in table, **table}], "config.toml")
    return made


def message(status: str = "failed", **facts: object) -> OutboxRecord:
    data = {
        "operation_id": "7f3c2a91", "operation_type": "upload", "status": status, "target_path": "/Fotos/für <b> & c",
        "error_message": "the disk is full", "schedule": None, "host": "nas", **facts,
    }  # fmt: skip
    payload = {"type": f"operation.{status}", "timestamp": "2026-11-28T18:49:03+00:00", "data": data}
    return OutboxRecord(message_id="msg_1", rule="mine", event=payload["type"], payload=payload, host="nas")  # type: ignore[arg-type]


def silence(**facts: object) -> OutboxRecord:
    data = {
        "operation_type": "upload",
        "schedule": None,
        "silent_seconds": 93600.0,
        "last_success_at": None,
        "host": "nas",
    }
    payload = {"type": "silence", "timestamp": "2026-11-28T18:49:03+00:00", "data": data | facts, "subject": "upload"}
    return OutboxRecord(message_id="msg_2", rule="mine", event="silence", payload=payload, host="nas")


def test_a_webhook_is_verified_by_the_official_library(server: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRETS[0]}\n")
    command = [sys.executable, "-c", f"print({SECRETS[1]!r})"]
    made = rule(webhook=server.url, secret_file=str(tmp_path / "secret"), secret_command=command)
    for _ in range(2):
        send(made, message(), limit(made))
    first, second = server.got
    for secret in SECRETS:
        assert Webhook(secret).verify(first.body, first.headers) == json.loads(first.body)
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "msg_1"
    assert abs(int(first.headers["webhook-timestamp"]) - time.time()) < 60
    content = json.loads(first.body)
    assert set(content) == {"type", "timestamp", "data"}
    assert content["data"]["target_path"] == "/Fotos/für <b> & c"


def test_what_is_known_besides_a_payload_is_not_sent(server: Receiver) -> None:
    send(rule(webhook=server.url), silence(), 5)
    assert set(json.loads(server.got[0].body)) == {"type", "timestamp", "data"}
    assert "webhook-signature" not in server.got[0].headers


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (message("success"), "/uuid?a=b"), (trial(), "/uuid?a=b"), (message("failed"), "/uuid/fail?a=b"),
        (message("partial"), "/uuid/fail?a=b"), (message("cancelled"), "/uuid/fail?a=b"), (silence(), "/uuid/fail?a=b"),
    ],
    ids=["success", "test", "failed", "partial", "cancelled", "silence"],
)  # fmt: skip
def test_a_ping_says_by_its_path_what_happened(server: Receiver, made: OutboxRecord, path: str) -> None:
    send(rule(ping=f"{server.url}/uuid?a=b"), made, 5)
    assert server.got[0].path == path
    assert server.got[0].body.decode() == text_of(made.payload)


def test_ntfy(server: Receiver, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tk_zz\n")
    made = rule(ntfy=f"{server.url}/topic", secret_file=str(tmp_path / "token"))
    send(made, message(), 5)
    send(made, message("success"), 5)
    failed, success = server.got
    assert (failed.path, failed.headers["authorization"]) == ("/topic", "Bearer tk_zz")
    assert failed.body.decode() == "mgmt: upload /Fotos/für <b> & c failed on nas: the disk is full"
    assert (failed.headers["title"], failed.headers["priority"], failed.headers["tags"]) == (
        "mgmt: failed",
        "4",
        "warning",
    )
    assert success.headers["priority"] == "3"


def test_slack(server: Receiver) -> None:
    send(rule(slack=f"{server.url}/services/T/B/x"), message(), 5)
    (got,) = server.got
    assert (got.path, got.headers["content-type"]) == ("/services/T/B/x", "application/json")
    text = "mgmt: upload /Fotos/für &lt;b&gt; &amp; c failed on nas: the disk is full"
    assert json.loads(got.body) == {"text": text}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (message("success"), "mgmt: upload /Fotos/für <b> & c succeeded on nas"),
        (message("cancelled", error_message=None), "mgmt: upload /Fotos/für <b> & c was cancelled on nas"),
        (message("partial"), "mgmt: upload /Fotos/für <b> & c was done in part on nas: the disk is full"),
        (message(target_path=None), "mgmt: upload failed on nas: the disk is full"),
        (message("success", operation_type="batch", batch_of="upload", target_path="3 targets"),
         "mgmt: upload of 3 targets succeeded on nas"),
        (silence(), "mgmt: no upload has succeeded for 26 h on nas"),
        (silence(operation_type=None), "mgmt: no operation has succeeded for 26 h on nas"),
        (silence(schedule="nightly", operation_type=None, last_success_at="2026-11-27T16:49:03+00:00"),
         "mgmt: no nightly has succeeded for 26 h on nas; the last success was at 2026-11-27T16:49:03+00:00"),
    ],
)  # fmt: skip
def test_the_text(made: OutboxRecord, text: str) -> None:
    assert text_of(made.payload) == text


def test_a_command_gets_facts_and_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKER, "host/boot/1/2")
    out = tmp_path / "out"
    program = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[1], 'w')); print('seen')"
    send(rule(command=[sys.executable, "-c", program, str(out), "$(touch x); `id` *"]), message(), 30)
    words, environment = json.loads(out.read_text())
    assert words == [str(out), "$(touch x); `id` *"]
    assert environment.items() >= {
        "MGMT_EVENT": "operation.failed", "MGMT_STATUS": "failed", "MGMT_TARGET": "/Fotos/für <b> & c",
        "MGMT_ERROR": "the disk is full", "MGMT_HOST": "nas", "MGMT_MESSAGE_ID": "msg_1", "MGMT_SCHEDULE": "",
    }.items()  # fmt: skip
    assert WORKER not in environment
    assert json.loads(environment["MGMT_PAYLOAD"])["type"] == "operation.failed"


def test_no_fact_is_taken_for_a_setting() -> None:
    assert not set(facts_for_command(message())) & {f"MGMT_{name.upper()}" for name in NAMES}
    assert "\0" not in facts_for_command(message(target_path="a\0b"))["MGMT_TARGET"]


def test_the_output_of_a_command_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('zzsecretzz'); print('zzsecretzz', file=sys.stderr); sys.exit(3)"
    with pytest.raises(UndeliveredError, match=r"^command ended with exit status 3$"):
        send(rule(command=[sys.executable, "-c", program]), message(), 30)
    assert capfd.readouterr() == ("", "")


def test_a_command_that_does_not_end_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    program = f"exec 3>{fifo}; /bin/sleep 600 & /bin/sleep 600"
    with pytest.raises(UndeliveredError, match=r"did not end within 0\.3 s"):
        send(rule(command=["/bin/sh", "-c", program]), message(), 0.3)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # nobody has it open
    os.close(reader)


@pytest.mark.parametrize("words", [["/nowhere/tell"], ["/"]])
def test_a_command_that_cannot_be_run(words: list[str]) -> None:
    with pytest.raises(UndeliveredError, match=r"^command cannot be run: "):
        send(rule(command=words), message(), 5)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"secret_file": "/nowhere/secret"}, "secret_file cannot be read: No such file or directory"),
        ({"secret_file": "/dev/null"}, "a secret is empty, or not one line"),
        ({"secret_command": ["/nowhere/pass"]}, "secret_command cannot be run: No such file or directory"),
        ({"secret_command": ["/bin/sh", "-c", "echo zzsecretzz; exit 1"]}, "secret_command ended with exit status 1"),
        ({"secret_command": ["/bin/echo", "zzsecretzz!"]}, "a secret is not whsec_ and base64"),
        ({"secret_command": ["/bin/printf", r"zz\nsecret"]}, "a secret is empty, or not one line"),
        ({"secret_command": ["/bin/printf", r"\303\274"]}, "secret_command prints no text in ASCII"),
    ],
    ids=str,
)  # fmt: skip
def test_a_secret_that_cannot_be_used_sends_nothing(server: Receiver, table: dict[str, Any], error: str) -> None:
    with pytest.raises(UndeliveredError) as caught:
        send(rule(webhook=server.url, **table), message(), 30)
    assert (str(caught.value), server.got) == (error, [])


def test_a_secret_command_has_a_time_limit(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_SECRET_SECONDS", 0.1)
    with pytest.raises(UndeliveredError, match="secret_command did not end within"):
        send(rule(webhook=server.url, secret_command=["/bin/sleep", "600"]), message(), 30)
    assert server.got == []
