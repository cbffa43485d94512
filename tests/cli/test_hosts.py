"""Several hosts share a catalog: commands show the local files of one of them."""

import socket
from typing import Any

import pytest

from tests.program import Program


@pytest.fixture
def on(on_directory: Program, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on the host of a name."""

    def run(name: str) -> Program:
        monkeypatch.setattr(socket, "gethostname", lambda: name)
        return on_directory

    return run


@pytest.fixture
def clip(on: Any) -> str:
    """Two hosts uploaded a file at the same path: it is still there on `ant`, and was moved on `bee`."""
    path = on("ant").work / "clip"
    path.write_text("of ant")
    on("ant").ok("-q", "upload", "clip", "--keep", "--key", "ant.tar.gz")
    path.write_text("of bee")
    on("bee").ok("-q", "upload", "clip", "--key", "bee.tar.gz")
    return str(path)


def places(found: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return sorted((each["location"], each["host"]) for each in found)


def test_ls_shows_the_local_files_of_one_host(on: Any, clip: str) -> None:
    archives: list[tuple[str, str | None]] = [("s3", None), ("s3", None)]
    of_ant, of_bee = [("local", "ant")], [("completed", "bee")]
    assert places(on("ant").json("ls")) == of_ant + archives
    assert places(on("bee").json("ls")) == of_bee + archives
    assert places(on("bee").json("ls", "--host", "ant")) == of_ant + archives
    assert places(on("cat").json("ls")) == archives
    assert places(on("cat").json("ls", "--host", "*")) == of_bee + of_ant + archives
    assert places(on("bee").json("ls", "--location", "local", "--host", "ant")) == of_ant
    table = on("cat").ok("ls", "--host", "*")
    assert "HOST" in table
    assert "ant" in table
    assert "HOST" not in on("ant").ok("ls")


def test_search_finds_the_local_files_of_one_host(on: Any, clip: str) -> None:
    def found(name: str, *arguments: str) -> list[tuple[str, str | None]]:
        return places(on(name).json("search", "clip", "--location", "local", *arguments))

    assert found("ant") == [("local", "ant")]
    assert found("bee") == [("completed", "bee")]
    assert found("cat") == []
    assert found("cat", "--host", "ant") == [("local", "ant")]
    assert found("cat", "--host", "*") == [("completed", "bee"), ("local", "ant")]
    assert on("cat").json("log", "--type", "search")[0]["command_args"]["host"] == "*"


def test_files_in_local_dir_belong_to_this_host(on: Any, clip: str) -> None:
    on("ant").ok("config", "set", "local_dir", str(on("ant").work))
    (on("ant").work / "clip 2").write_text("unrecorded")
    for arguments in (["search", "clip"], ["ls", "--location", "local"]):
        assert "clip 2" in on("ant").ok(*arguments)
        assert "clip 2" not in on("ant").ok(*arguments, "--host", "bee")
        assert "clip 2" in on("ant").ok(*arguments, "--host", "*")


def test_status_shows_a_local_file_of_another_host(on: Any, clip: str) -> None:
    on("bee").ok("-q", "delete", "bee", "--last-copy", "--yes")
    on("bee").ok("-q", "delete", "ant", "--last-copy", "--yes")
    assert on("ant").json("status", clip)["file"]["host"] == "ant"
    assert on("bee").json("status", clip, "--host", "ant")["file"]["host"] == "ant"
    everywhere = on("cat").json("status", clip, "--host", "*")
    assert everywhere["file"] is not None


def test_a_path_means_the_original_on_this_host_first(on: Any, clip: str) -> None:
    for name in ("ant", "bee"):
        assert on(name).json("status", clip)["file"]["path"] == f"{name}.tar.gz"
    done = on("cat").run("status", clip)  # there is none of its own, so it may be either
    assert done.returncode == 2 or "ant.tar.gz" in done.stdout + done.stderr
    on("cat").ok("-q", "delete", "bee", "--last-copy", "--yes")
    on("cat").ok("-q", "download", clip, "--to", "back")
    assert (on("cat").work / "back" / "clip").read_text() == "of ant"


def test_log_filters_by_host(on: Any, clip: str) -> None:
    for name in ("ant", "bee"):
        (upload,) = on("cat").json("log", "--host", name, "--type", "upload")
        assert upload["host"] == name
    assert on("cat").json("log", "--host", "nobody") == []


def test_an_upload_does_not_resume_that_of_another_host(on: Any, clip: str) -> None:
    """The same path, the same key: it is another file."""
    (on("cat").work / "clip").write_text("of cat")
    done = on("cat").run("-q", "upload", "clip", "--key", "ant.tar.gz")
    assert done.returncode == 10
    assert on("cat").json("log", "--host", "cat", "--type", "upload")[0]["archive_id"] is None
