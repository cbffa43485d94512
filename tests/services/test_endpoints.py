"""Whole commands against endpoints that differ from Amazon's."""

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mgmt.storage import publish
from tests.program import Program
from tests.quirks import Endpoint, quirky

Opened = Callable[..., tuple[Endpoint, Program]]
PART_SIZE = "5MiB"
LARGE, LARGER = 6 << 20, 11 << 20
"""Sizes of two and three parts."""


@pytest.fixture(autouse=True)
def _wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PAUSES", (0,) * len(publish.PAUSES))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens endpoints with quirks, and mgmt with each of them as its store."""
    with ExitStack() as stack:

        def make(**quirks: Any) -> tuple[Endpoint, Program]:
            endpoint = stack.enter_context(quirky(**quirks))
            environment = {**endpoint.environment, "MGMT_PART_SIZE": PART_SIZE}
            return endpoint, Program(tmp_path, "s3://quirks/t", environment)

        yield make


def original(program: Program, name: str = "movie", size: int = 1000) -> Path:
    path = program.work / name
    path.write_bytes(random.Random(name).randbytes(size))
    return path


def set_up(program: Program, **variables: str) -> None:
    program.environment = {**program.environment, **variables}


def refused(program: Program, status: int, *arguments: str | os.PathLike[str]) -> dict[str, Any]:
    """The error of a command that fails like this."""
    done = program.run("-o", "json", *arguments)
    assert done.returncode == status, done.stderr
    for line in [*done.stderr.splitlines(), done.stdout]:
        if "error" in line:
            found: Any = json.loads(line)
            found = found[0] if isinstance(found, list) else found
            return dict(found["error"], message=found["error"].get("message") or found["error_message"])
    raise AssertionError(done)


def archives(endpoint: Endpoint) -> list[str]:
    return [key for key in endpoint.objects if key.endswith(".tar.gz")]


def indexes(endpoint: Endpoint) -> list[str]:
    return [key for key in endpoint.objects if key.endswith(".index.jsonl.gz")]


OTHER_REPEATS = [
    ("error", "409 ConditionalRequestConflict"),
    ("error", "400 InvalidPart"),
    ("rename", "412 PreconditionFailed"),
    ("rename", "400 InvalidPart"),
    ("skip", "412 PreconditionFailed"),
    ("skip", "409 ConditionalRequestConflict"),
]


def test_without_quirks_everything_works(opened: Opened) -> None:
    endpoint, program = opened()
    program.ok("upload", original(program, size=LARGE))
    assert program.json("log", "--type", "upload")[0]["proof"] == "server-checksum crc64nvme"
    program.ok("download", "movie", "--to", program.home / "back")
    program.ok("verify", "--all")
    program.ok("db", "rebuild")
    assert sorted(endpoint.objects) == sorted([*archives(endpoint), *indexes(endpoint)])
    assert endpoint.uploads == {}


FOREIGN = ["t/t/", "t/t/2024/", "t/a//b.txt"]


@pytest.fixture
def among_others(opened: Opened) -> tuple[Endpoint, Program]:
    """Two archives among the objects of somebody else; one of those may not be looked at."""
    endpoint, program = opened()
    for name in ("one", "two"):
        program.ok("upload", original(program, name))
    for key in [*FOREIGN, "t/secret"]:
        endpoint.put(key, b"x")
    return endpoint, program


@pytest.mark.parametrize("answer", ["400 ", "403 AccessDenied"])
def test_a_foreign_object_does_not_stop_verify(among_others: tuple[Endpoint, Program], answer: str) -> None:
    endpoint, program = among_others
    endpoint.tell(r"^(HEAD|GET) /quirks/t/secret$", answer, "sealed with a key of the customer")
    done = program.run("-o", "jsonl", "verify", "--all")
    assert done.returncode == 8
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["status"] for each in results].count("success") == 2
    unknown = {each["target_path"]: each["error_message"] for each in results if each["status"] == "failed"}
    assert set(unknown) == {f"s3://quirks/{key}" for key in [*FOREIGN, "t/secret"]}
    assert all("foreign" in message for message in unknown.values())
    assert answer == "400 " or "sealed with a key" in unknown["s3://quirks/t/secret"]


@pytest.mark.parametrize("secret", ["t/secret", "t/secret.tar.gz.0123456789ab.index.jsonl.gz"])
def test_a_foreign_object_does_not_stop_rebuild(among_others: tuple[Endpoint, Program], secret: str) -> None:
    endpoint, program = among_others
    del endpoint.objects["t/secret"]
    endpoint.put(secret, b"x")
    endpoint.tell(rf"^(HEAD|GET) /quirks/{secret}$", "403 AccessDenied")
    fresh = Program(program.home / "fresh", program.store, program.environment)
    done = fresh.run("-o", "json", "db", "rebuild")
    assert done.returncode == (3 if secret == "t/secret" else 0), done.stderr
    assert sorted(each["path"] for each in fresh.json("ls")) == ["one.tar.gz", "two.tar.gz"]
    [operation] = fresh.json("log", "--type", "rebuild")
    details = fresh.json("status", operation["operation_id"])["operation"]["metadata"]
    assert details["archives"] == 2
    assert sorted(details["foreign"]) == sorted(key.removeprefix("t/") for key in FOREIGN)


def test_an_index_that_may_not_be_read_does_not_stop_rebuild(opened: Opened) -> None:
    endpoint, program = opened()
    for name in ("one", "two"):
        program.ok("upload", original(program, name))
    endpoint.tell(r"^GET /quirks/t/one\.tar\.gz\.", "403 AccessDenied")
    fresh = Program(program.home / "fresh", program.store, program.environment)
    assert fresh.run("db", "rebuild").returncode == 3
    assert [each["path"] for each in fresh.json("ls")] == ["two.tar.gz"]


def test_a_listing_of_the_store_names_foreign_objects(among_others: tuple[Endpoint, Program]) -> None:
    _, program = among_others
    listed = {each["path"]: each["type"] for each in program.json("ls", "--live")}
    foreign = {key.removeprefix("t/"): "foreign" for key in FOREIGN}
    assert listed == {"one.tar.gz": "archive", "two.tar.gz": "archive", "secret": "archive", **foreign}


@pytest.mark.parametrize("quirks", [{"tokens": False}, {"only_v1": True}], ids=str)
def test_a_listing_without_a_token_is_continued(opened: Opened, quirks: dict[str, Any]) -> None:
    endpoint, program = opened()
    for number in range(5):
        program.ok("upload", original(program, f"m{number}"))
    for name, value in {"page": 2, **quirks}.items():
        setattr(endpoint.quirks, name, value)
    fresh = Program(program.home / "fresh", program.store, program.environment)
    fresh.ok("db", "rebuild")
    assert len(fresh.json("ls")) == len(program.json("ls", "--live")) == 5
    program.ok("verify", "--all")


def test_a_listing_that_cannot_be_continued_is_an_error(opened: Opened) -> None:
    endpoint, program = opened()
    for number in range(3):
        program.ok("upload", original(program, f"m{number}"))
    endpoint.quirks.page, endpoint.quirks.stuck = 2, True
    fresh = Program(program.home / "fresh", program.store, program.environment)
    assert "cannot list all" in refused(fresh, 1, "db", "rebuild")["message"]
    assert "cannot list all" in refused(fresh, 1, "ls", "--live")["message"]


@pytest.mark.parametrize("where", ["endpoint_url", "services", "profile"])
def test_an_endpoint_is_probed_wherever_it_was_chosen(opened: Opened, tmp_path: Path, where: str) -> None:
    good, program = opened()
    bad, _ = opened(flips=r"\.tar\.gz$", compares=frozenset())

    def choose(endpoint: Endpoint) -> None:
        url = f"endpoint_url = {endpoint.endpoint_url}\n"
        text = {
            "endpoint_url": f"[default]\n{url}",
            "services": f"[default]\nservices = mine\n[services mine]\ns3 =\n  {url}",
            "profile": f"[profile mine]\n{url}",
        }[where]
        (tmp_path / "aws").write_text(text)

    variables = {name: value for name, value in good.environment.items() if name != "AWS_ENDPOINT_URL"}
    program.environment = {**variables, "AWS_CONFIG_FILE": str(tmp_path / "aws")}
    if where == "profile":
        set_up(program, AWS_PROFILE="mine")
    choose(good)
    program.ok("upload", original(program, "first"))
    choose(bad)
    second = original(program, "second")
    assert program.run("upload", second).returncode == 8
    assert second.exists()
    choose(good)
    probes = good.count("POST .*uploads")
    program.ok("upload", second)
    assert good.count("POST .*uploads") == probes


@pytest.mark.parametrize("on_conflict", ["error", "rename", "skip"])
def test_a_slow_completion_is_waited_for(opened: Opened, on_conflict: str) -> None:
    endpoint, program = opened(settles_after=5)
    movie = original(program, size=LARGE)
    program.ok("upload", "--on-conflict", on_conflict, movie)
    assert not movie.exists()
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)


@pytest.mark.parametrize(
    ("on_conflict", "repeat"),
    [
        ("error", None),
        ("rename", None),
        ("skip", None),
        ("error", "412 PreconditionFailed"),
        ("rename", "409 ConditionalRequestConflict"),
        ("skip", "400 InvalidPart"),
        *(pytest.param(*each, marks=pytest.mark.torture) for each in OTHER_REPEATS),
    ],
)
def test_a_completion_that_cannot_be_settled_is_tried_again(
    opened: Opened, on_conflict: str, repeat: str | None
) -> None:
    endpoint, program = opened(settles_after=1000)
    if repeat is not None:
        endpoint.tell("^POST .*uploadId", repeat)
        endpoint.tell("^POST .*uploadId", "503 SlowDown", acts=True, times=2)
    movie = original(program, size=LARGE)
    assert refused(program, 5, "upload", "--on-conflict", on_conflict, movie)["retryable"]
    assert movie.exists()
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)
    endpoint.told.clear()
    endpoint.objects[archives(endpoint)[0]].unseen = 0
    program.ok("upload", "--on-conflict", on_conflict, movie)
    assert not movie.exists()
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)
    program.ok("verify", "--all")


def test_recover_leaves_the_index_of_an_archive_that_may_still_appear(opened: Opened) -> None:
    endpoint, program = opened(settles_after=1000)
    movie = original(program, size=LARGE)
    refused(program, 5, "upload", movie)
    endpoint.uploads.clear()
    program.ok("recover")
    endpoint.objects[archives(endpoint)[0]].unseen = 0
    assert len(indexes(endpoint)) == 1
    program.ok("recover")
    program.ok("verify", "--all")
    assert movie.exists()


def test_an_endpoint_that_turns_dashes_into_underscores_works(opened: Opened) -> None:
    endpoint, program = opened(metadata="underscored")
    program.ok("upload", original(program, size=LARGE))
    program.ok("verify", "--all")
    program.ok("delete", "movie", "--yes")
    assert endpoint.objects == {}


@pytest.mark.parametrize("on_conflict", ["error", "rename", "skip"])
def test_an_endpoint_that_drops_metadata_is_refused_before_anything_is_sent(opened: Opened, on_conflict: str) -> None:
    endpoint, program = opened(metadata="dropped")
    movie = original(program)
    assert "drops the metadata" in refused(program, 1, "upload", "--on-conflict", on_conflict, movie)["message"]
    assert movie.exists()
    assert endpoint.objects == {}
    assert endpoint.uploads == {}


@pytest.mark.parametrize("on_conflict", ["error", "rename", "skip"])
def test_metadata_that_is_dropped_since_the_probe_is_no_conflict(opened: Opened, on_conflict: str) -> None:
    endpoint, program = opened()
    program.ok("upload", original(program, "first"))
    endpoint.quirks.metadata = "dropped"
    movie = original(program)
    assert "drops the metadata" in refused(program, 1, "upload", "--on-conflict", on_conflict, movie)["message"]
    assert movie.exists()
    assert len(archives(endpoint)) == 1


@pytest.mark.parametrize("metadata", ["kept", "dropped"])
def test_doctor_probes_metadata_and_leaves_nothing(opened: Opened, metadata: str) -> None:
    endpoint, program = opened(metadata=metadata)
    done = program.run("doctor")
    assert ("drops the metadata" in done.stdout) == (metadata == "dropped")
    assert done.returncode == (1 if metadata == "dropped" else 0)
    assert endpoint.objects == {}
    assert endpoint.uploads == {}


def test_credentials_that_only_read_can_verify(opened: Opened) -> None:
    endpoint, program = opened()
    for name in ("one", "two"):
        program.ok("upload", original(program, name))
    program.records.change("DELETE FROM endpoints")
    endpoint.tell("^(PUT|POST|DELETE) ", "403 AccessDenied")
    before = len(endpoint.requests)
    program.ok("verify", "--all")
    assert {each["proof"] for each in program.json("log", "--type", "verify") if each["proof"]} == {"read-back"}
    assert sum(line.startswith("POST ") for line in endpoint.requests[before:]) <= 3
    assert "access denied" in refused(program, 1, "upload", original(program, "three"))["message"]


def test_a_store_without_permission_to_remove_is_probed(opened: Opened) -> None:
    endpoint, program = opened()
    endpoint.tell("^DELETE ", "403 AccessDenied")
    program.ok("upload", original(program))
    assert [key for key in endpoint.objects if "probe" in key] == ["t/.mgmt/probe"]
    program.ok("verify", "--all")


def test_a_limit_of_parts_is_learned(opened: Opened) -> None:
    endpoint, program = opened(max_parts=2)
    movie = original(program, size=LARGER)
    refusal = refused(program, 1, "upload", movie)
    assert "more than 2 parts" in refusal["message"]
    program.ok("upload", movie)
    assert endpoint.uploads == {}
    assert len(archives(endpoint)) == 1


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("message", ["as told", "Part number must be an integer between 1 and 2, inclusive"])
def test_a_new_part_size_is_used(opened: Opened, recovered: bool, message: str) -> None:
    endpoint, program = opened()
    endpoint.tell(r"^PUT .*partNumber=3\b", "400 InvalidArgument", message)
    movie = original(program, size=LARGER)
    refused(program, 1, "upload", movie)
    if recovered:
        program.ok("recover")
    set_up(program, MGMT_PART_SIZE="6MiB")
    program.ok("upload", movie)
    assert endpoint.uploads == {}
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)


@pytest.mark.parametrize("quirks", [{"equal_parts": True}, {"exact_uploads": True}], ids=str)
def test_an_upload_that_failed_is_resumed_or_removed(opened: Opened, quirks: dict[str, Any]) -> None:
    endpoint, program = opened(**quirks)
    for name in ("movie", "other"):
        endpoint.tell(r"^PUT .*partNumber=2\b", "403 AccessDenied", times=1)
        refused(program, 1, "upload", original(program, name, LARGE))
    program.ok("upload", program.work / "movie")
    program.ok("recover")
    assert endpoint.uploads == {}
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)


def test_an_upload_that_failed_is_resumed_with_its_own_part_size(opened: Opened) -> None:
    endpoint, program = opened()
    movie = original(program, size=LARGE)
    endpoint.tell(r"^POST .*uploadId", "403 AccessDenied", times=1)
    refused(program, 1, "upload", movie)
    sent = endpoint.count("^PUT .*partNumber")
    program.ok("upload", movie)
    assert endpoint.count("^PUT .*partNumber") == sent


@pytest.mark.parametrize("answer", ["501 NotImplemented", "403 AccessDenied", "405 MethodNotAllowed", "503 SlowDown"])
def test_a_listing_of_uploads_is_no_precondition(opened: Opened, answer: str) -> None:
    endpoint, program = opened()
    endpoint.tell(r"^GET /quirks\?.*uploads", answer)
    endpoint.tell(r"^PUT /quirks/t/movie\.tar\.gz$", "403 AccessDenied", times=1)
    movie = original(program)
    refused(program, 1, "upload", movie)
    recovered = program.json("recover")
    assert [each["operation_type"] for each in recovered][:1] == ["upload"]
    assert "uploads cannot be listed" in recovered[0]["action"] or answer == "503 SlowDown"
    program.ok("upload", movie)
    assert (len(archives(endpoint)), len(indexes(endpoint))) == (1, 1)
    doctor = program.run("doctor")
    assert doctor.returncode == {"501": 0, "503": 5}.get(answer[:3], 1), doctor.stdout
    assert "Traceback" not in doctor.stderr


@pytest.mark.parametrize("fields", [["ETag"], ["LastModified"], ["Size"], ["ETag", "LastModified", "Size"]], ids=str)
def test_optional_fields_are_optional(opened: Opened, fields: list[str]) -> None:
    endpoint, program = opened()
    endpoint.quirks.omits = frozenset(fields)
    for name, size in (("one", LARGE), ("two", 1000)):
        program.ok("upload", original(program, name, size))
    program.ok("download", "one", "--to", program.home / "back")
    program.ok("verify", "--all", "--read-back")
    assert len(program.json("ls", "--live")) == 2
    fresh = Program(program.home / "fresh", program.store, program.environment)
    fresh.ok("db", "rebuild")
    fresh.ok("verify", "--all")
    if "ETag" in fields:  # nothing shows that it is the recorded object
        assert "no ETag" in refused(program, 1, "delete", "two", "--yes")["message"]
        assert len(archives(endpoint)) == 2
    else:
        program.ok("delete", "two", "--yes")


def test_parts_without_optional_fields_are_sent_again(opened: Opened) -> None:
    endpoint, program = opened()
    movie = original(program, size=LARGE)
    endpoint.tell(r"^POST .*uploadId", "403 AccessDenied", times=1)
    refused(program, 1, "upload", movie)
    endpoint.quirks.omits = frozenset({"ETag", "Size"})
    sent = endpoint.count(r"^PUT .*movie.*partNumber")
    program.ok("upload", movie)
    assert endpoint.count(r"^PUT .*movie.*partNumber") == 2 * sent


@pytest.mark.parametrize("compares", [frozenset({"crc64nvme"}), frozenset({"md5"}), frozenset[str]()], ids=str)
def test_weak_etags_are_sent_back_as_given(opened: Opened, compares: frozenset[str]) -> None:
    _, program = opened(weak=True, compares=compares)
    program.ok("upload", original(program, size=LARGE))
    program.ok("download", "movie", "--to", program.home / "back")
    assert (program.home / "back" / "movie").read_bytes() == random.Random("movie").randbytes(LARGE)
    program.ok("verify", "--all", "--read-back")
    program.ok("delete", "movie", "--yes")


@pytest.mark.parametrize("weak", [False, True])
def test_a_proxy_that_comes_later_does_not_change_the_archive(opened: Opened, weak: bool) -> None:
    endpoint, program = opened(weak=weak)
    program.ok("upload", original(program))
    endpoint.quirks.weak = not weak
    program.ok("download", "movie", "--to", program.home / "back")
    program.ok("verify", "--all")
    program.ok("delete", "movie", "--yes")


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize(
    "answer",
    ["400 InvalidArgument", "400 InvalidRequest", "400 NotImplemented", "501 NotImplemented", "501 ", "ignored"],
)
def test_an_endpoint_without_conditional_requests_works(opened: Opened, answer: str, size: int) -> None:
    endpoint, program = opened(condition=answer)
    program.ok("upload", original(program, size=size))
    (program.work / "completed").rename(program.work / "moved")
    movie = program.work / "movie"
    movie.write_text("something else")
    assert program.run("upload", movie).returncode == 10
    assert movie.exists()
    assert len(archives(endpoint)) == 1


@pytest.mark.parametrize("refusal", ["409 OperationAborted", "403 AccessDenied"])
def test_a_cleanup_that_is_refused_does_not_hide_the_cause(opened: Opened, refusal: str) -> None:
    endpoint, program = opened()
    program.ok("upload", original(program, "first"))
    endpoint.tell("^DELETE ", refusal, "may not delete")
    movie = original(program, size=LARGE)
    endpoint.tell(r"^PUT .*partNumber=2\b", "400 BadDigest", "corrupted on its way")
    done = program.run("upload", movie)
    assert done.returncode == 8
    assert "corrupted on its way" in done.stderr
    assert "is left in the store" in done.stderr
    assert movie.exists()
    endpoint.told.clear()
    program.ok("recover")
    assert endpoint.uploads == {}
    assert len(indexes(endpoint)) == 1


def test_a_corrupt_archive_that_may_not_be_removed_is_reported_as_corrupt(opened: Opened) -> None:
    endpoint, program = opened(flips=r"movie\.tar\.gz$", compares=frozenset())
    endpoint.tell("^DELETE ", "403 AccessDenied", "may not delete")
    movie = original(program)
    done = program.run("upload", movie)
    assert done.returncode == 8
    assert "is left in the store" in done.stderr
    assert movie.exists()
