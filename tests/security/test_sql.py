"""Every argument is a value: it matches literally, and changes nothing."""

import os

import pytest

from tests.conftest import Figure
from tests.program import Program

ODD = (
    "'", "''", '"', "`", ";", "--", "/*", "\\", "\\'", "%", "_", "!", "!%", "%%", "*", "?", ":x", ":1", "$1", "%s",
    "%(x)s", "{0}", "' OR '1'='1", "'; DROP TABLE members; --", "x' UNION SELECT 1--", "a AND b", "NEAR(a b)", "^a",
    "a*", '"a"', "(", ")", "name:a", "+a", "-a", "a OR b", "NOT", "aaa\" OR \"", "abc' AND 'abc", "100%", "a_b",
    "[a]", "#", "\u0130", "\u00df", "\U0001f600", "\u2028",
)  # fmt: skip


@pytest.fixture
def stocked(mgmt: Program) -> Program:
    """A member for each odd text, and decoys that wildcards would match."""
    folder = mgmt.work / "folder"
    folder.mkdir()
    for number, text in enumerate(ODD):
        (folder / f"<{text.replace('/', '.')}>{number}").write_text("x")
    for decoy in ("<aXb>", "<100 percent>", "<x>", "<>"):
        (folder / decoy).write_text("x")
    mgmt.ok("upload", "folder", "--tag", "kind=100%", "--tag", "it's=a\"b")
    return mgmt


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.torture)])
def test_a_keyword_matches_literally(stocked: Program, figure: Figure, step: int) -> None:
    before = stocked.json("ls", "--members", "folder", "--limit", "500")
    names = [os.path.basename(each["path"]) for each in before]
    for text in ODD[::step]:
        wanted = f"<{text.replace('/', '.')}>"
        found = stocked.json("search", wanted, "--limit", "500")
        expected = {name for name in names if wanted.casefold() in name.casefold()}
        assert {each["name"] for each in found} == expected, text
        assert expected
        prefix = stocked.json("ls", f"folder/{wanted}", "--members", "folder")
        assert {os.path.basename(each["path"]) for each in prefix} == {n for n in names if n.startswith(wanted)}, text
    assert stocked.json("ls", "--members", "folder", "--limit", "500") == before
    figure("security", "odd search words", tried=len(ODD[::step]), violations=0)


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.torture)])
def test_tags_targets_users_and_prefixes_match_literally(stocked: Program, step: int) -> None:
    for text in ODD[::step]:
        for arguments in (
            ["log", "--user", text],
            ["log", "--type", text],
            ["log", "--target", f"<{text}>"],
            ["ls", f"<{text}>"],
            ["search", "folder.tar", "--tag", f"kind={text}"],
            ["search", "folder.tar", "--tag", f"{text}=100%"],
        ):
            if text.startswith("-") and arguments[0] == "ls":
                continue
            kept = [] if arguments[-1] != "kind=100%" else ["folder.tar.gz"]
            assert [each["name"] for each in stocked.json(*arguments)] == kept, arguments
        assert stocked.run("ls", "--sort", text).returncode == 2
        assert stocked.run("log", "--after", text).returncode in (2, 4)
        assert stocked.run("status", "--", text).returncode in (2, 4)
    assert [each["name"] for each in stocked.json("search", "folder.tar", "--tag", "it's=a\"b")] == ["folder.tar.gz"]
    assert stocked.json("-o", "json", "db", "check")["sound"]
