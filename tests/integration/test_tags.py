"""Tags that change: in the catalog, in its history, and with the object if that is asked for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.moving import Mover
from tests.program import Program
from tests.quirks import BUCKET, quirky

KEY = "archive/notes.tar.gz"


@pytest.fixture
def mover() -> Iterator[Mover]:
    with quirky(Mover) as endpoint:
        yield endpoint


@pytest.fixture
def cold(tmp_path: Path, mover: Mover) -> Program:
    program = Program(tmp_path, f"s3://{BUCKET}/archive", mover.environment)
    (program.work / "notes").write_text("precious")
    program.ok("upload", "notes", "--tag", "year=2023", "--tag", "draft=yes")
    return program


def of(program: Program) -> dict[str, Any]:
    """The tags that are recorded of the archive."""
    [found] = [each for each in program.json("ls", "-l") if each["location"] == "s3"]
    return dict(found["tags"])


def test_tags_are_set_and_removed_in_the_catalog(cold: Program, mover: Mover) -> None:
    [changed] = cold.json("tag", "notes", "year=2024", "place=Oslo", "-draft", "-absent")
    assert changed["metadata"]["before"] == {"year": "2023", "draft": "yes"}
    assert changed["metadata"]["after"] == of(cold) == {"year": "2024", "place": "Oslo"}
    assert mover.tags(KEY) == {"year": "2023", "draft": "yes"}
    assert len(cold.json("search", "notes", "--location", "s3", "--tag", "place=Oslo")) == 2  # and its member
    assert cold.json("search", "notes", "--location", "s3", "--tag", "draft=yes") == []
    cold.ok("tag", "notes", "place=Bergen")
    assert [each["metadata"]["after"]["place"] for each in cold.json("log", "--type", "tag")] == ["Bergen", "Oslo"]
    assert cold.run("audit", "verify").returncode == 0


@pytest.mark.parametrize("how", ["option", "setting"])
def test_the_object_gets_all_tags(how: str, cold: Program, mover: Mover) -> None:
    cold.ok("tag", "notes", "place=Oslo")
    if how == "setting":
        cold.ok("config", "set", "sync_tags", "true")
    cold.ok("tag", "notes", "year=2024", *(["--sync-tags"] if how == "option" else []))
    assert mover.tags(KEY) == of(cold) == {"year": "2024", "draft": "yes", "place": "Oslo"}


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ([f"t{number}=1" for number in range(9)], "at most 10 tags"),
        (["k" * 129 + "=1"], "129 characters"),
        (["k=" + "v" * 257], "257 characters"),
        (["k=a;b"], "refuses ';'"),
        (["k,=1"], "refuses ','"),
        (["aws:k=1"], "begin with aws:"),
    ],
)
def test_what_s3_refuses_is_refused_before_anything_is_sent(
    tags: list[str], why: str, cold: Program, mover: Mover
) -> None:
    requests = len(mover.requests)
    refused = cold.run("tag", "notes", *tags, "--sync-tags")
    assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr
    assert len(mover.requests) == requests
    assert cold.json("log", "--type", "tag") == []
    cold.ok("tag", "notes", *tags)  # the catalog has no such limits


def test_an_upload_with_tags_that_s3_refuses_sends_nothing(cold: Program, mover: Mover) -> None:
    (cold.work / "more").write_text("more")
    refused = cold.run("upload", "more", "--tag", "k=a;b")
    assert (refused.returncode, "refuses ';'" in refused.stderr) == (2, True), refused.stderr
    assert mover.count("more.tar.gz") == 0


@pytest.mark.parametrize("by", ["command", "other", "recover"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_change_is_finished(
    by: str, when: str, cold: Program, mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgmt.storage import s3_manage

    told = s3_manage.put_tags

    def killed(*arguments: Any) -> None:
        if when == "after":
            told(*arguments)
        os._exit(9)

    arm = lambda: monkeypatch.setattr(s3_manage, "put_tags", killed)  # noqa: E731
    with cold.fork("tag", "notes", "year=2024", "--sync-tags", arm=arm) as child:
        assert child.wait() == 9
    assert of(cold)["year"] == "2023"
    if by == "recover":
        cold.ok("recover")
    else:
        cold.ok("tag", "notes", *(["year=2024", "--sync-tags"] if by == "command" else ["year=2024"]))
    assert mover.tags(KEY) == of(cold) == {"year": "2024", "draft": "yes"}
    [change] = cold.json("log", "--type", "tag")
    assert change["status"] == "success"


def test_a_key_that_is_an_option_is_removed_by_its_name(cold: Program) -> None:
    cold.ok("tag", "notes", "n=1")
    assert "n" in of(cold)
    cold.ok("tag", "notes", "--remove", "n", "-draft")
    assert of(cold) == {"year": "2023"}


def test_a_dry_run_shows_before_and_after(cold: Program) -> None:
    [plan] = cold.json("tag", "notes", "-n", "-name", "year=2025")
    assert (plan["before"]["year"], plan["after"]["year"]) == ("2023", "2025")
    assert of(cold)["year"] == "2023"


def test_a_change_needs_a_tag_and_no_contradiction(cold: Program) -> None:
    assert cold.run("tag", "notes").returncode == 2
    assert cold.run("tag", "notes", "a=1", "-a").returncode == 2
    assert cold.run("tag", "notes", "nothing").returncode == 2
    assert cold.run("tag", "absent", "a=1").returncode == 4


def test_tags_can_change_later(cold: Program, mover: Mover) -> None:
    cold.ok("tag", "notes", "year=2024", "-draft", "--sync-tags", "--later")
    cold.ok("worker", "--until-empty")
    assert of(cold) == mover.tags(KEY) == {"year": "2024"}


def test_seaweedfs_keeps_the_tags(on_seaweed: Program) -> None:
    (on_seaweed.work / "notes").write_text("precious")
    on_seaweed.ok("upload", "notes")
    on_seaweed.ok("tag", "notes", "year=2024", "--sync-tags")
    assert of(on_seaweed) == {"year": "2024"}


def test_a_directory_has_tags_in_the_catalog_only(on_directory: Program) -> None:
    (on_directory.work / "notes").write_text("precious")
    on_directory.ok("upload", "notes")
    assert on_directory.run("tag", "notes", "year=2024", "--sync-tags").returncode == 7
    on_directory.ok("tag", "notes", "year=2024")
    assert of(on_directory) == {"year": "2024"}


def test_an_undo_of_tags_says_how(cold: Program) -> None:
    [changed] = cold.json("tag", "notes", "year=2024", "place=Oslo", "-draft")
    refused = cold.run("undo", changed["operation_id"], "--yes")
    assert refused.returncode == 7
    assert "notes.tar.gz year=2023 draft=yes -place" in refused.stderr
    [again] = cold.json("replay", changed["operation_id"])
    assert again["metadata"]["after"] == {"year": "2024", "place": "Oslo"}
