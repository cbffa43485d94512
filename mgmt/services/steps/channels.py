"""How a message is sent through each channel."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mgmt.catalog import OutboxRecord
from mgmt.services.steps.post import Request, UndeliveredError, post
from mgmt.services.steps.request_arguments import WORKER
from mgmt.services.steps.rules import Rule
from mgmt.services.steps.signatures import key_of, signed_headers

REQUEST_SECONDS = 5.0
"""How long a receiver may take to answer."""

COMMAND_SECONDS = 30.0
"""How long a command may run."""

_SECRET_SECONDS = 10.0
_MOST_OF_A_SECRET = 4096
_GOOD = ("operation.success", "test")


def limit(rule: Rule) -> float:
    """How many seconds an attempt may take."""
    return COMMAND_SECONDS if rule.channel == "command" or rule.secret_commands else REQUEST_SECONDS


def send(rule: Rule, message: OutboxRecord, seconds: float) -> None:
    """Send `message` as `rule` says, within about `seconds`. Raises UndeliveredError unless it is accepted."""
    payload, deadline = message.content, time.monotonic() + seconds
    if rule.channel == "command":
        _run(rule, message, seconds)
        return
    url = str(rule.target)
    secrets = _secrets(rule, min(seconds, _SECRET_SECONDS))
    match rule.channel:
        case "webhook":
            request = _webhook(url, message, secrets)
        case "ping":
            request = Request(_ping_url(url, payload), text_of(payload).encode(), _TEXT)
        case "ntfy":
            request = Request(url, text_of(payload).encode(), _ntfy_headers(payload, secrets))
        case _:
            text = text_of(payload).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            request = Request(url, json.dumps({"text": text}).encode(), _JSON)
    post(request, private=rule.allow_private, seconds=min(deadline - time.monotonic(), REQUEST_SECONDS))


def body_of(payload: Mapping[str, Any]) -> bytes:
    """The body of a webhook: the same in each attempt."""
    return json.dumps({key: payload.get(key) for key in ("type", "timestamp", "data")}, sort_keys=True).encode()


def text_of(payload: Mapping[str, Any]) -> str:
    """One line for people."""
    facts = _facts(payload)
    on = f" on {facts.get('host')}"
    match payload.get("type"):
        case "test":
            return f"mgmt: a test{on}"
        case "silence":
            what = facts.get("schedule") or facts.get("operation_type") or "operation"
            seconds = facts.get("silent_seconds")
            hours = seconds / 3600 if isinstance(seconds, int | float) else 0
            last = f"; the last success was at {at}" if (at := facts.get("last_success_at")) else ""
            return f"mgmt: no {what} has succeeded for {hours:.4g} h{on}{last}"
    if not facts:
        return "mgmt: an event that this mgmt does not know"
    kind = f"{facts['batch_of']} of" if facts.get("batch_of") else facts.get("operation_type")
    what = " ".join(str(each) for each in (kind, facts.get("target_path")) if each)
    status, error = facts.get("status"), facts.get("error_message")
    how = {"success": "succeeded", "cancelled": "was cancelled", "partial": "was done in part"}.get(str(status), status)
    return f"mgmt: {what} {how}{on}" + (f": {error}" if error and status != "success" else "")


def _facts(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What happened. Another program may have written other JSON."""
    facts = payload.get("data")
    return facts if isinstance(facts, Mapping) else {}


_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_JSON = {"Content-Type": "application/json"}


def _webhook(url: str, message: OutboxRecord, secrets: list[str]) -> Request:
    try:
        keys = [key_of(each) for each in secrets]
    except ValueError as exc:
        raise UndeliveredError(str(exc)) from None
    body = body_of(message.content)
    return Request(url, body, _JSON | signed_headers(message.message_id, int(time.time()), body, keys))


def _ping_url(url: str, payload: Mapping[str, Any]) -> str:
    """As healthchecks.io has it: the URL itself says success, with `/start` or `/fail` after its path the others."""
    if payload.get("type") in _GOOD:
        return url
    parts, what = urlsplit(url), "/start" if payload.get("type") == "operation.started" else "/fail"
    return parts._replace(path=parts.path.rstrip("/") + what).geturl()


def _ntfy_headers(payload: Mapping[str, Any], secrets: list[str]) -> dict[str, str]:
    event = str(payload.get("type"))
    good = event in _GOOD
    headers = {
        "Title": f"mgmt: {event.removeprefix('operation.')}",
        "Priority": "3" if good else "4",
        "Tags": "white_check_mark" if good else "warning",
    }
    return _TEXT | headers | ({"Authorization": f"Bearer {secrets[0]}"} if secrets else {})


def _secrets(rule: Rule, seconds: float) -> list[str]:
    """What the rule's files and commands have as secrets. Raises UndeliveredError, which repeats none of it."""
    found = []
    for path in rule.secret_files:
        try:
            with open(os.path.expanduser(path), encoding="ascii") as file:
                found.append(file.read(_MOST_OF_A_SECRET).strip())
        except OSError as exc:
            raise UndeliveredError(f"secret_file cannot be read: {exc.strerror}") from exc
        except UnicodeError:
            raise UndeliveredError("secret_file holds no text in ASCII") from None
    for command in rule.secret_commands:
        done = _completed(command, dict(os.environ), seconds, "secret_command", subprocess.PIPE)
        try:
            found.append(done[:_MOST_OF_A_SECRET].decode("ascii").strip())
        except UnicodeError:
            raise UndeliveredError("secret_command prints no text in ASCII") from None
    if not all(each.isprintable() and each for each in found):
        raise UndeliveredError("a secret is empty, or not one line")
    return found


def facts_for_command(message: OutboxRecord) -> dict[str, str]:
    """The environment variables in which a command finds what has happened."""
    data = _facts(message.content)
    values = {
        "MGMT_EVENT": message.event,
        "MGMT_MESSAGE_ID": message.message_id,
        "MGMT_TEXT": text_of(message.content),
        "MGMT_TIMESTAMP": message.content.get("timestamp"),
        "MGMT_PAYLOAD": body_of(message.content).decode(),
        "MGMT_OPERATION_ID": data.get("operation_id"),
        "MGMT_OPERATION_TYPE": data.get("operation_type"),
        "MGMT_STATUS": data.get("status"),
        "MGMT_TARGET": data.get("target_path"),
        "MGMT_ERROR": data.get("error_message"),
        "MGMT_SCHEDULE": data.get("schedule"),
        "MGMT_HOST": data.get("host"),
    }
    return {name: str(value or "").replace("\0", "") for name, value in values.items()}


def _run(rule: Rule, message: OutboxRecord, seconds: float) -> None:
    environment = {name: value for name, value in os.environ.items() if name != WORKER}
    _completed(rule.target, environment | facts_for_command(message), min(seconds, COMMAND_SECONDS), "command")


def _completed(
    words: str | tuple[str, ...],
    environment: dict[str, str],
    seconds: float,
    what: str,
    stdout: int = subprocess.DEVNULL,
) -> bytes:
    """Run a command, never in a shell, with all that it starts. Raises UndeliveredError; returns its output."""
    try:
        with subprocess.Popen(
            list(words),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                _end(process)
                raise UndeliveredError(f"{what} did not end within {seconds:.3g} s") from None
    except OSError as exc:
        raise UndeliveredError(f"{what} cannot be run: {exc.strerror}") from exc
    if process.returncode:
        raise UndeliveredError(f"{what} ended with exit status {process.returncode}")
    return output or b""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command that takes too long, and what it has started."""
    os.killpg(process.pid, 9)
    process.communicate()
