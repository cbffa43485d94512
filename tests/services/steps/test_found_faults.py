"""What is said of an archive in which another command than `mgmt verify` has met a fault."""

import pytest

from mgmt.errors import ExitStatus
from tests.program import Program


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    (on_directory.work / "clip").write_text("clip")
    on_directory.ok("upload", "clip")
    return on_directory


def sentence(mgmt: Program, name: str = "clip.tar.gz") -> str:
    said = str(mgmt.json("status", name)["sentence"])
    return said.replace(mgmt.store, "STORE").replace(str(mgmt.work), "WORK")


def damage(mgmt: Program, key: str = "clip.tar.gz") -> bytes:
    """Flip a bit of an archive, and return what it was."""
    stored = mgmt.home / "store" / key
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    return whole


def test_a_fault_that_free_met_counts_until_a_verification(mgmt: Program) -> None:
    whole = damage(mgmt)
    assert mgmt.run("free", "clip", "--yes").returncode == ExitStatus.INTEGRITY
    for name in ("clip.tar.gz", "completed/clip"):
        assert sentence(mgmt, name).startswith("At risk: STORE/clip.tar.gz ")
        assert sentence(mgmt, name).endswith(
            " (found today); 1 proven copy remains (completed/); run mgmt verify STORE/clip.tar.gz"
        )
    assert "may be freed" not in mgmt.ok("ls", "-l")
    assert mgmt.run("free", "clip", "-n").returncode == ExitStatus.INTEGRITY
    (mgmt.home / "store" / "clip.tar.gz").write_bytes(whole)
    mgmt.ok("verify", "clip")
    assert sentence(mgmt).endswith("; may be freed")
    mgmt.ok("free", "clip", "--yes")


@pytest.mark.parametrize("options", [(), ("--archive",)])
def test_a_fault_that_download_met_counts(mgmt: Program, options: tuple[str, ...]) -> None:
    mgmt.ok("free", "clip", "--yes")
    damage(mgmt)
    assert mgmt.run("download", "clip", "--to", "back", *options).returncode == ExitStatus.INTEGRITY
    assert sentence(mgmt).startswith("At risk: ")
    assert sentence(mgmt).endswith("; no other copy is known; run mgmt verify STORE/clip.tar.gz")
    assert "at risk" in mgmt.ok("ls", "-l").casefold()


def test_a_fault_of_one_archive_that_delete_met_says_nothing_of_the_other(mgmt: Program) -> None:
    mgmt.ok("upload", "completed/clip", "--keep", "--key", "second.tar.gz")
    (mgmt.work / "completed" / "clip").unlink()
    damage(mgmt)
    assert mgmt.run("delete", "second.tar.gz", "--yes").returncode == ExitStatus.REFUSED
    assert sentence(mgmt).startswith("At risk: STORE/clip.tar.gz ")
    assert sentence(mgmt, "second.tar.gz").startswith("Safe: 1 proven copy (STORE), ")


def test_free_that_proves_another_archive_tells_which_one_is_damaged(mgmt: Program) -> None:
    mgmt.ok("upload", "completed/clip", "--keep", "--key", "second.tar.gz")
    damage(mgmt, "second.tar.gz")
    mgmt.ok("free", "completed/clip", "--yes")
    assert sentence(mgmt, "second.tar.gz").startswith("At risk: STORE/second.tar.gz ")
    assert sentence(mgmt) == "Safe: 1 proven copy (STORE), last verified today; the original was freed"
    assert sentence(mgmt, "completed/clip") == sentence(mgmt)


def test_a_fault_of_an_object_counts_for_every_url_of_it(mgmt: Program) -> None:
    (mgmt.home / "link").symlink_to(mgmt.home / "store")
    link = f"file://{mgmt.home}/link"
    mgmt.ok("--store", link, "db", "rebuild")
    mgmt.ok("verify", "--all")
    whole = damage(mgmt)
    assert mgmt.run("verify", f"{mgmt.store}/clip.tar.gz", "--read-back").returncode == ExitStatus.INTEGRITY
    for name in (f"{mgmt.store}/clip.tar.gz", f"{link}/clip.tar.gz", "completed/clip"):
        assert sentence(mgmt, name).startswith("At risk: "), name
    assert "may be freed" not in mgmt.ok("ls", "-l")
    assert mgmt.run("free", "completed/clip", "-n").returncode == ExitStatus.INTEGRITY
    (mgmt.home / "store" / "clip.tar.gz").write_bytes(whole)
    mgmt.ok("verify", f"{link}/clip.tar.gz", "--read-back")
    assert sentence(mgmt, f"{mgmt.store}/clip.tar.gz").endswith("; may be freed")


def test_an_object_that_status_finds_missing_is_missing_under_every_url(mgmt: Program) -> None:
    (mgmt.home / "link").symlink_to(mgmt.home / "store")
    mgmt.ok("--store", f"file://{mgmt.home}/link", "db", "rebuild")
    mgmt.ok("verify", "--all")
    (mgmt.home / "store" / "clip.tar.gz").unlink()
    for name in (f"{mgmt.store}/clip.tar.gz", "completed/clip"):
        assert sentence(mgmt, name).startswith("At risk: "), name
