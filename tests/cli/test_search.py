"""`mgmt search`: how a result is picked, and what is recorded of it."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace

import pytest

from mgmt.errors import Interrupted
from tests.program import Program

pytestmark = pytest.mark.sqlite
Answer = Callable[[Iterable[str | BaseException]], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """As a user at a terminal would; an exception stands for a key such as Ctrl-C."""

    def answer(given: Iterable[str | BaseException]) -> None:
        left = iter(given)

        def prompt(_: str = "") -> str:
            said = next(left)
            if isinstance(said, BaseException):
                raise said
            return said

        monkeypatch.setattr("click.termui.visible_prompt_func", prompt)

    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("mgmt.cli.search.sys", terminal)
    monkeypatch.setattr("mgmt.cli.parameters.sys", terminal)
    return answer


@pytest.fixture
def archived(mgmt: Program) -> Program:
    (mgmt.work / "notes").write_text("precious")
    mgmt.ok("upload", "notes")
    return mgmt


def searches(mgmt: Program) -> list[tuple[str, str | None, str | None]]:
    found = mgmt.json("log", "--type", "search")
    return [(each["status"], each["download_selected"], each["status_checked"]) for each in found]


@pytest.mark.parametrize("asked", [[], ["2"]], ids=["at the result", "at the action"])
@pytest.mark.parametrize(("pressed", "status"), [(KeyboardInterrupt(), 130), (Interrupted(15), 143), (EOFError(), 130)])
def test_an_interrupted_choice_is_cancelled(
    archived: Program, answer: Answer, asked: list[str], pressed: BaseException, status: int
) -> None:
    answer([*asked, pressed])
    assert archived.run("search", "notes", "-i").returncode == status
    assert searches(archived) == [("cancelled", None, None)]


def test_no_choice_is_a_success(archived: Program, answer: Answer) -> None:
    answer(["0"])
    archived.ok("search", "notes", "-i")
    assert searches(archived) == [("success", None, None)]


def test_what_follows_from_the_choice_is_an_operation_of_its_own(archived: Program, answer: Answer) -> None:
    (archived.work / "notes").write_text("in the way")
    answer(["2", "download"])
    assert archived.run("search", "notes", "-i").returncode == 10
    assert searches(archived) == [("success", "notes.tar.gz", None)]
    assert archived.json("log", "--type", "download")[0]["status"] == "failed"
    answer(["2", "delete", "n"])
    assert archived.run("search", "notes", "-i").returncode == 7
    assert searches(archived)[0] == ("success", None, None)
    answer(["2", "status"])
    archived.ok("search", "notes", "-i")
    assert searches(archived)[0] == ("success", None, "notes.tar.gz")


def test_an_interrupted_confirmation_deletes_nothing(archived: Program, answer: Answer) -> None:
    answer([KeyboardInterrupt()])
    assert archived.run("delete", "notes").returncode == 130
    archived.ok("verify", "notes")


def test_a_list_that_may_go_on_says_so(mgmt: Program) -> None:
    for number in range(3):
        (mgmt.work / f"file {number}").write_text(str(number))
    mgmt.ok("upload", "--all")
    for words in (["search", "file"], ["ls"], ["ls", "--live"], ["log"], ["ls", "--members", "file 0"]):
        shown = "the first result is" if "--members" in words else "the first 2 results are"
        limit = "1" if "--members" in words else "2"
        assert mgmt.run(*words, "--limit", limit).stderr == f"note: {shown} shown; --limit N shows more\n"
        assert mgmt.run("-q", *words, "--limit", limit).stderr == ""
        assert mgmt.run(*words, "--limit", "100").stderr == ""


def test_quiet_hides_every_note(mgmt: Program) -> None:
    (mgmt.work / "empty").mkdir()
    for words in (
        ["search", "nothing"], ["ls"], ["log", "--type", "free"], ["recover"], ["upload", "--all", "empty"],
        ["free", "--all"], ["ls", "--live"],
    ):  # fmt: skip
        assert mgmt.run(*words).stderr != "", words
        assert mgmt.run("-q", *words).stderr == "", words
