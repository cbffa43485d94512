"""Every request to a store stays below the prefix, whatever a key, a name or the store contains."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.archive.test_hostile import everything
from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.proxy import proxy
from tests.program import Program
from tests.servers import Server

ESCAPES = (
    "../x", "/x", "a//b", "./a", "a/..", "a/../../x", "..", ".", "a/.", "a/", "//", "a\\..\\x", "a\nb", "\x7f",
    "../other/theirs", "../other/theirs.tar.gz", "archive/../../other", "", "x" * 901, "a\udcff",
)  # fmt: skip
RECORDLESS = ("download", "verify", "status")


@pytest.mark.sqlite  # the requests to a store do not depend on the catalog
def test_every_request_stays_below_the_prefix(
    tmp_path: Path,
    seaweed: Server,
    new_bucket: Callable[[Server], str],
    catalogs: Catalogs,
    figure: Figure,
) -> None:
    bucket, client = new_bucket(seaweed), seaweed.client()
    for key in ("other/theirs.tar.gz", "archive-2/theirs.tar.gz", "theirs.tar.gz"):
        client.put_object(Bucket=bucket, Key=key, Body=b"theirs")
    with proxy(seaweed) as between:
        program = Program(
            tmp_path,
            f"s3://{bucket}/archive",
            {**seaweed.environment, "AWS_ENDPOINT_URL": between.endpoint_url},
            catalogs,
        )
        for name in ("one", "two", "..%2f", "%2e%2e", "?x#y&prefix="):
            (program.work / name).write_text(name)
        program.ok("upload", "one", "two", "./..%2f", "./%2e%2e", "./?x#y&prefix=")
        for line in ("ls --live", "search one --live", "verify --all --read-back", "download one --to out", "recover",
                     "status one", "db rebuild", "free --all --yes", "delete two --yes --last-copy"):  # fmt: skip
            program.ok(*line.split())
        (program.work / "three").write_text("three")
        for key in ESCAPES:
            if key:
                assert program.run("upload", "three", f"--key={key}").returncode == 2, key
            for command in RECORDLESS:
                assert program.run(command, "--", key).returncode in (2, 4), (command, key)
            assert program.run("delete", "--yes", "--", key).returncode in (2, 4), key
        program.run("ls", "--live", "../other")
        requests = list(between.requests)
    assert len(requests) > 40
    for request in requests:
        method, _, target = request.partition(" ")
        url = urlsplit(target)
        path, prefix = url.path, parse_qs(url.query).get("prefix", [""])[0]
        if path.rstrip("/") == f"/{bucket}":  # a listing, or a request about the bucket itself
            assert method in ("GET", "HEAD"), request
            assert prefix.startswith("archive/") or method == "HEAD" or "uploads" in url.query, request
            assert "uploads" not in url.query or prefix.startswith("archive/"), request
        else:
            assert path.startswith(f"/{bucket}/archive/"), request
            assert not {"", ".", ".."} & set(path.split("/")[1:]), request
    held = {each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert {key for key in held if not key.startswith("archive/")} == {
        "other/theirs.tar.gz",
        "archive-2/theirs.tar.gz",
        "theirs.tar.gz",
    }
    figure("security", "requests below the prefix", tried=len(requests), violations=0)


@pytest.fixture
def outside(mgmt: Program) -> Path:
    """A folder beside the store; the store has links to it."""
    folder = mgmt.home / "outside"
    folder.mkdir()
    (folder / "theirs.tar.gz").write_bytes(b"theirs")
    store = mgmt.home / "store"
    (store / "link").symlink_to(folder)
    (store / "up").symlink_to("..")
    (store / "file.tar.gz").symlink_to(folder / "theirs.tar.gz")
    (store / "dangling.tar.gz").symlink_to(folder / "new")
    return folder


@pytest.mark.sqlite
def test_neither_links_nor_keys_lead_out_of_a_directory_store(mgmt: Program, outside: Path, figure: Figure) -> None:
    before, links = everything(outside), sorted(os.listdir(mgmt.home / "store"))
    (mgmt.work / "notes").write_text("notes")
    tried = 0
    for key in (*ESCAPES, "link/theirs.tar.gz", "link/new", "up/outside/new", "file.tar.gz", "dangling.tar.gz",
                ".mgmt/uploads/x", ".mgmt", "file.tar.gz/x"):  # fmt: skip
        if key:
            done = mgmt.run("upload", "notes", f"--key={key}", "--keep")
            assert done.returncode != 0, (key, done)
        for arguments in (["download"], ["verify"], ["delete", "--yes", "--last-copy"]):
            done = mgmt.run(*arguments, "--", key)
            assert done.returncode in (2, 4), (arguments, key, done)
            tried += 1
        assert everything(outside) == before, key
    assert [each["path"] for each in mgmt.json("ls", "--live")] == []
    assert [name for name in sorted(os.listdir(mgmt.home / "store")) if name != ".mgmt"] == links
    figure("security", "keys that would leave a directory", tried=tried, violations=0)


def test_a_link_in_place_of_the_mgmt_folder_is_refused(mgmt: Program, outside: Path) -> None:
    (mgmt.home / "store" / ".mgmt").symlink_to(outside)
    before = everything(outside)
    (mgmt.work / "notes").write_text("notes")
    assert mgmt.run("upload", "notes").returncode != 0
    assert everything(outside) == before
    assert (mgmt.work / "notes").exists()
