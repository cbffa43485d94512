"""docs/notifications.md: its rules are accepted, its code verifies what is sent, and its lists are complete."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mgmt.catalog import Catalog, UploadRecord, open_catalog
from mgmt.services.notify import listed, try_rules
from mgmt.services.steps.channels import facts_for_command
from mgmt.services.steps.delivery import deliver
from mgmt.services.steps.notices import expected, messages, trial
from mgmt.services.steps.rules import KEYS, parse_rules
from tests.receiver import Receiver, receiver

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "notifications.md").read_text("utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("toml"))
def test_each_rule_on_the_page_is_accepted(text: str) -> None:
    assert parse_rules(tomllib.loads(text)["notify"], "the page")


def test_each_channel_and_key_is_on_the_page() -> None:
    listed_keys = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE.partition("## Channels")[0], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(listed_keys))) == set(KEYS)


def test_each_variable_of_a_command_is_on_the_page() -> None:
    assert set(re.findall(r"`(MGMT_\w+)`", PAGE)) == set(facts_for_command(trial()))


def test_the_payload_on_the_page_has_the_fields_of_a_message(catalog: Catalog) -> None:
    rules = parse_rules([{"name": "mine", "on": ["success"], "slack": "https://a.example/", "silence": "1d"}], "x")
    catalog.notify_at_end(lambda end: messages(end, rules))
    with catalog.journal.record(UploadRecord(target_path="/a")):
        pass
    made = {each.event: each.payload for each in catalog.outbox.messages(9)}
    (example,) = map(json.loads, blocks("json"))
    assert set(made["operation.success"]) == set(example)
    assert set(made["operation.success"]["data"]) == set(example["data"])
    silence = PAGE.partition("For a `silence`")[2].partition("A `test`")[0]
    assert set(made["silence"]["data"]) == set(re.findall(r"`(\w+)`", silence)) - {"data"}
    assert set(trial().payload["data"]) == {"host", "mgmt_version"}
    assert len(list(expected(rules, catalog.outbox))) == 1


def test_the_code_on_the_page_verifies_a_webhook(catalog: Catalog, server: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    table = {"name": "mine", "on": ["success"], "webhook": server.url, "secret_file": str(tmp_path / "secret")}
    rules = parse_rules([{**table, "allow_private": True}], "x")
    assert [each.status for each in try_rules(rules, None)] == ["delivered"]
    assert deliver(catalog, rules, 5) == 0
    assert listed(catalog, 9) == []
    names: dict[str, Any] = {}
    with_library, alone = blocks("python")
    exec(alone, names)
    verify: Callable[[str, dict[str, str], bytes], bool] = names["verify"]
    (got,) = server.got
    assert verify(SECRET, got.headers, got.body)
    assert not verify(SECRET, got.headers, got.body + b" ")
    assert not verify("whsec_AAAA", got.headers, got.body)
    assert not verify(SECRET, {**got.headers, "webhook-timestamp": "1"}, got.body)
    names = {"secret": SECRET, "headers": got.headers, "body": got.body}
    exec(with_library, names)
    assert names["message"]["type"] == "test"
