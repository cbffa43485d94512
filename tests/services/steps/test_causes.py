"""Messages of the same cause are one, whatever they name."""

import pytest

from mgmt.choices import WORK
from mgmt.services.steps.causes import cause_of
from mgmt.services.steps.requests import KINDS


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("/home/ann/tour 12: Permission denied", "… N: Permission denied"),
        ("…: Permission denied", "…: Permission denied"),
        ("s3://media/a b.tar.gz is frozen; restore it first", "… is frozen; restore it first"),
        (
            "the store s3://media is unreachable: timed out after 60 s",
            "the store … is unreachable: timed out after N s",
        ),
        ("cannot count by 'colour'", "cannot count by …"),
        ("there is no operation 7f3c2a91-5d0e-4b7e-9d55-0a4f3f1f8a11", "there is no operation …"),
        ("holiday.tar.gz: crc32 or size mismatch", "…: crc32 or size mismatch"),
        ("3 of 5 targets were not done: 3 failed", "N of N targets were not done: N failed"),
        ("interrupted by SIGTERM.  Nothing is lost.", "interrupted by SIGTERM"),
        ("KeyError", "KeyError"),
        ("", "no message"),
        (" \n ", "no message"),
    ],
)
def test_the_cause_of_a_message(message: str, cause: str) -> None:
    assert cause_of(message) == cause


def test_a_cause_is_its_own_cause() -> None:
    for message in ("/home/ann/tour 12: Permission denied", "3 of 5 were not done"):
        assert cause_of(cause_of(message)) == cause_of(message)


def test_what_can_be_left_to_do_is_what_can_be_retried() -> None:
    assert set(WORK) == set(KINDS)
