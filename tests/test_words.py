"""What a message tells the user to type means in bash what mgmt meant."""

import os
import subprocess

import pytest

from mgmt.shown import safe
from mgmt.words import operand, shell_word

EVIL = (
    *(
        "a b",
        "it's",
        'say "x"',
        "$HOME",
        "`id`",
        "a\\b",
        "!!",
        "x\ny",
        "caf\udce9",
        "\udce9\\'!$a",
        "\udce90",
        "",
        "*",
        "~",
    ),
    *("é", "日本", "\u202eb", "\x1b[31m", "a\u00a0b", "-dash f", "--", "a;b", "(c)", "#", "\t", "\x7f0"),
)


def split_by_bash(words: str) -> list[str]:
    script = f"printf '%s\\0' {words}"
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def test_every_text_is_one_word_that_means_itself_and_that_a_terminal_shows_as_it_is() -> None:
    words = [shell_word(text) for text in EVIL]
    assert split_by_bash(" ".join(words)) == list(EVIL)
    assert [safe(word) for word in words] == words
    assert all(word.isprintable() for word in words)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("notes", "notes"),
        ("a b", "'a b'"),
        ("caf\udce9", r"$'caf\xe9'"),
        ("x\ny", r"$'x\x0ay'"),
        ("it's\n", r"$'it\x27s\x0a'"),
        ("\u202e", r"$'\xe2\x80\xae'"),
    ],
)
def test_a_word_is_written_as_plainly_as_bash_permits(text: str, word: str) -> None:
    assert shell_word(text) == word


@pytest.mark.parametrize(
    ("text", "words"), [("-x", "-- -x"), ("-dash f", "-- '-dash f'"), ("--", "-- --"), ("a-b", "a-b"), ("./-x", "./-x")]
)
def test_an_operand_is_never_an_option(text: str, words: str) -> None:
    assert operand(text) == words
