"""The `[[notify]]` rules: what is accepted, and what an error says of one that is not."""

from datetime import timedelta
from typing import Any

import pytest

from mgmt.catalog import OperationRecord
from mgmt.errors import ConfigurationError
from mgmt.services.steps.rules import QUESTIONS, TYPES, Rule, parse_rules

SECRET = "https://hooks.example/services/T0/B0/zzsecretzz"


def parsed(**table: Any) -> Rule:
    (rule,) = parse_rules([{"name": "mine", **table}], "file config.toml")
    return rule


def test_the_types_are_those_of_the_catalog() -> None:
    assert sorted(TYPES) == sorted(OperationRecord.__mapper__.polymorphic_map)


def test_a_rule_tells_of_failures_unless_it_says_otherwise() -> None:
    rule = parsed(slack=SECRET)
    assert rule.on == ("failed", "partial")
    assert rule.concerns("upload", "upload", None)
    assert rule.concerns("batch", "verify", "nightly")
    assert not any(rule.concerns(each, each, None) for each in QUESTIONS)
    assert set(parsed(ping=SECRET).on) == {"started", "failed", "partial", "success", "cancelled"}
    assert parsed(silence="26h", slack=SECRET).on == ()


def test_a_rule_may_be_about_some_types_and_schedules() -> None:
    rule = parsed(types=["search"], schedules=["nightly"], on=["success"], silence="90min", slack=SECRET)
    assert rule.concerns("search", "search", "nightly")
    assert not rule.concerns("search", "search", None)
    assert not rule.concerns("upload", "upload", "nightly")
    assert rule.silence == timedelta(minutes=90)
    assert (rule.subjects, rule.subject_of("search", "search", "nightly")) == (("nightly",), "nightly")
    assert parsed(types=["upload", "verify"], slack=SECRET).subjects == ("upload", "verify")
    assert parsed(slack=SECRET).subjects == ("",)


def test_a_batch_is_of_its_own_type_and_of_that_of_its_operations() -> None:
    assert parsed(types=["upload"], slack=SECRET).concerns("batch", "upload", None)
    assert parsed(types=["batch"], slack=SECRET).concerns("batch", "upload", None)
    assert not parsed(types=["verify"], slack=SECRET).concerns("batch", "upload", None)
    for types, subject in ((["upload"], "upload"), (["batch"], "batch"), (["batch", "upload"], "upload")):
        assert parsed(types=types, slack=SECRET).subject_of("batch", "upload", None) == subject


def test_secrets_may_be_in_several_files_or_from_several_commands() -> None:
    rule = parsed(webhook=SECRET, secret_file="/new", secret_command=["pass", "old"])
    assert (rule.secret_files, rule.secret_commands) == (("/new",), (("pass", "old"),))
    rule = parsed(webhook=SECRET, secret_file=["/new", "~/old"], secret_command=[["pass", "new"], ["pass", "old"]])
    assert (rule.secret_files, rule.secret_commands) == (("/new", "~/old"), (("pass", "new"), ("pass", "old")))


WRONG: dict[str, dict[str, Any]] = {
    "no channel": {},
    "two channels": {"slack": SECRET, "ping": SECRET},
    "an unknown key": {"slack": SECRET, "secrets": "zzsecretzz"},
    "a secret itself": {"webhook": SECRET, "secret": "whsec_zzsecretzz"},
    "an unknown status": {"slack": SECRET, "on": ["failure"]},
    "a start for slack": {"slack": SECRET, "on": ["started"]},
    "an unknown type": {"slack": SECRET, "types": ["backup"]},
    "no statuses": {"slack": SECRET, "on": []},
    "statuses that are no texts": {"slack": SECRET, "on": [1]},
    "no duration": {"slack": SECRET, "silence": "often"},
    "a number as duration": {"slack": SECRET, "silence": 26},
    "a short silence": {"slack": SECRET, "silence": "1s"},
    "a long silence": {"slack": SECRET, "silence": "9999999999999y"},
    "a command as text": {"command": "mail zzsecretzz"},
    "an empty command": {"command": []},
    "a command with NUL": {"command": ["a\0"]},
    "a secret for slack": {"slack": SECRET, "secret_file": "/s"},
    "a relative path": {"webhook": SECRET, "secret_file": "zzsecretzz"},
    "allow_private as text": {"slack": SECRET, "allow_private": "yes"},
    "a URL that is a number": {"slack": 5},
    "no URL": {"slack": "zzsecretzz"},
    "another scheme": {"slack": "ftp://hooks.example/zzsecretzz"},
    "a file": {"slack": "file:///zzsecretzz"},
    "no host": {"slack": "https:///zzsecretzz"},
    "a port that is none": {"slack": "https://hooks.example:99999/zzsecretzz"},
    "a space": {"slack": "https://hooks.example/zzsecretzz x"},
    "a line break": {"slack": "https://hooks.example/zzsecretzz\r\nX: y"},
    "not ASCII": {"slack": "https://hööks.example/zzsecretzz"},
    "a backslash": {"slack": "https://hooks.example\\@127.0.0.1/zzsecretzz"},
    "a fragment": {"slack": "https://hooks.example/zzsecretzz#x"},
    "two users": {"slack": "https://a@b@hooks.example/zzsecretzz"},
}


@pytest.mark.parametrize("table", WRONG.values(), ids=WRONG)
def test_an_error_names_the_rule_and_the_file_and_no_secret(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^notify rule 'mine' \(file config\.toml\): ") as caught:
        parsed(**table)
    assert "zzsecretzz" not in caught.value.message
    assert caught.value.next_step == "see docs/notifications.md"


def test_a_rule_without_a_name_is_numbered() -> None:
    with pytest.raises(ConfigurationError, match=r"^notify rule number 2 \(x\): it needs a name"):
        parse_rules([{"name": "a", "slack": SECRET}, {"slack": SECRET}], "x")


def test_names_are_unique() -> None:
    with pytest.raises(ConfigurationError, match="the name is taken"):
        parse_rules([{"name": "a", "slack": SECRET}] * 2, "x")


@pytest.mark.parametrize("tables", [{"name": "a"}, "a", [1], 1])
def test_rules_are_an_array_of_tables(tables: object) -> None:
    with pytest.raises(ConfigurationError, match=r"\[\[notify\]\]"):
        parse_rules(tables, "x")


def test_what_is_secret_is_not_in_its_representation() -> None:
    assert "zzsecretzz" not in repr(parsed(slack=SECRET))
