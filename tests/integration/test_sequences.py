"""Sequences of ordinary commands, each of which once lost something: on every kind of store, and of catalog.

`World.play` has the language of the lines, and looks for lost contents after each.
"""

import os
from pathlib import Path

import pytest

from tests.catalogs import Catalogs
from tests.program import Done, Program
from tests.property.contents import World

REFUSED, CONFLICT, BUSY, NOT_FOUND = 7, 10, 11, 4


@pytest.fixture(params=["seaweed", "rclone", "directory"])
def world(request: pytest.FixtureRequest, tmp_path: Path, catalogs: Catalogs) -> World:
    program: Program = request.getfixturevalue(f"on_{request.param}")
    program.ok("ls")
    return World(program, None if request.param == "directory" else request.getfixturevalue(request.param))


def copy_of(world: World, word: str) -> str:
    """The copy in completed/ that holds this."""
    found = [path for path in (world.work / "completed").iterdir() if path.read_text().startswith(word)]
    assert len(found) == 1
    return str(found[0].relative_to(world.work))


def free(world: World, word: str) -> Done:
    return world.play(f"mgmt free {copy_of(world, word)} --yes")


# 1 and 2: a key that is used again


def test_free_refuses_a_copy_whose_archive_was_deleted(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert free(world, "one").returncode == REFUSED
    assert free(world, "two").returncode == 0
    world.end()


def test_free_all_frees_only_copies_of_what_is_archived(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert world.play("mgmt free --all --yes").returncode != 0
    assert [path.read_text()[:3] for path in (world.work / "completed").iterdir()] == ["one"]
    world.end()


def test_an_archive_under_a_key_used_again_has_its_own_members(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert world.play("mgmt verify --all").returncode == 0
    world.end()


# 3: two removals at once


@pytest.mark.parametrize("moment", ["look 1", "past 1"])
@pytest.mark.parametrize("pair", [("delete a", "free completed/a"), ("free completed/a", "delete a")])
def test_of_delete_and_free_at_once_one_is_refused(world: World, pair: tuple[str, str], moment: str) -> None:
    first, second = pair
    world.play("write a one", "mgmt upload a", f"stop {moment}: mgmt {first} --yes | mgmt {second} --yes")
    done, refused = sorted(world.statuses[-2:])
    assert done == 0
    assert refused in (REFUSED, BUSY)
    world.end()


# 4: a backup of the catalog from while an upload ran


@pytest.mark.sqlite
def test_recover_keeps_an_archive_that_a_restored_catalog_calls_unfinished(world: World) -> None:
    world.play("write a one", "stop stored: mgmt upload a | backup", "mgmt free completed/a --yes", "restore")
    assert world.play("mgmt recover").returncode == 0
    assert world.play("mgmt verify a", "mgmt download a --to back").returncode == 0
    world.end()


def test_recover_keeps_an_archive_whose_upload_ended_after_the_backup(world: World) -> None:
    world.play("write a one", "kill stored: mgmt upload a", "backup", "mgmt upload a")
    world.play("mgmt free completed/a --yes", "restore")
    assert world.play("mgmt recover").returncode == 0
    assert world.play("mgmt verify a", "mgmt download a --to back").returncode == 0
    world.end()


# 5: an export from while an upload ran


@pytest.fixture
def imported(world: World) -> World:
    """A second catalog, in which an upload has not ended that ended well in the first."""
    world.play("write a one", "stop stored: mgmt upload a | export", "mgmt free completed/a --yes", "import")
    return world


def test_recover_keeps_an_archive_that_an_imported_catalog_calls_unfinished(imported: World) -> None:
    assert imported.play("mgmt recover").returncode == 0
    assert imported.play("mgmt verify a", "mgmt download a --to back").returncode == 0
    imported.end()


def test_an_upload_does_not_replace_what_an_imported_catalog_calls_unfinished(imported: World) -> None:
    assert imported.play("write a two", "mgmt upload a").returncode == CONFLICT
    imported.end()


# 6: an archive that a killed upload left, and another one found


@pytest.fixture
def adopted(world: World) -> World:
    """The upload of `a` was killed when its archive stood; `other/a`, the same, was uploaded to that, and freed."""
    world.play("write a one", "kill stored: mgmt upload a", "copy a other/a")
    assert world.play("mgmt upload other/a").returncode == 0
    assert world.play("mgmt free other/completed/a --yes").returncode == 0
    return world


@pytest.mark.parametrize("change", ["edit a two", "remove a"])
def test_recover_keeps_an_archive_that_another_upload_relies_on(adopted: World, change: str) -> None:
    adopted.play(change)
    assert adopted.play("mgmt recover").returncode == 0
    assert adopted.play("mgmt verify a.tar.gz", "mgmt download a.tar.gz --to back").returncode == 0
    adopted.end()


def test_an_upload_does_not_replace_an_archive_that_another_relies_on(adopted: World) -> None:
    assert adopted.play("edit a two", "mgmt upload a").returncode == CONFLICT
    adopted.end()


# 7 and 20: a copy that changes while it is the proof


@pytest.mark.parametrize("command", ["free", "delete"])
@pytest.mark.parametrize("change", ["edit completed/f three", "add completed/f three"])
def test_a_copy_that_changes_while_it_is_compared_is_refused(world: World, command: str, change: str) -> None:
    world.play("write f one", "mgmt upload f")
    assert world.play(f"stop open 2: mgmt {command} f --yes | {change}").returncode == REFUSED
    assert world.play("mgmt verify --all").returncode == 0
    world.end()


# 8: a word that meant what is deleted


def test_a_word_never_falls_back_to_another_archive(world: World) -> None:
    world.play("write a one", "mgmt upload a", "write a two", "mgmt upload a --key k.tar.gz")
    assert world.play("mgmt delete --last-copy --yes a").returncode == 0
    assert world.play("mgmt delete --last-copy --yes a").returncode == NOT_FOUND
    assert [key for _, key in world.objects()] == ["k.tar.gz"]
    world.end()


# 9: what was asked to be kept, and is not


@pytest.fixture
def noted(world: World) -> World:
    """A file with an attribute was uploaded without it; the same file is there again."""
    world.play("write a one")
    try:
        world.play("note a x")
    except OSError:
        pytest.skip("no extended attributes here")
    world.play("give a 1234")
    world.play("mgmt upload a", "copy completed/a a")
    return world


@pytest.mark.parametrize("options", ["--xattrs", "--owners", "--xattrs --owners"])
def test_an_archive_without_what_was_asked_for_is_not_the_same(noted: World, options: str) -> None:
    if options == "--owners" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    assert noted.play(f"mgmt upload a {options}").returncode == CONFLICT
    assert noted.play(f"mgmt upload a {options} --on-conflict rename").returncode == 0
    assert len(noted.objects()) == 2
    noted.play("mgmt free --all --yes")
    noted.end()


# What the machine that plays found besides


def test_what_stands_where_a_killed_upload_moved_its_original_away_is_archived_itself(world: World) -> None:
    """Killed when the original was in completed/, and that was not recorded yet."""
    world.play("write a one", "kill moved: mgmt upload a", "write a two")
    assert world.play("mgmt upload a").returncode in (0, CONFLICT)
    if world.statuses[-1] == CONFLICT:
        assert world.play("mgmt recover", "mgmt upload a --on-conflict rename").returncode == 0
    world.end()


def test_delete_removes_no_archive_that_a_restored_catalog_does_not_know(world: World) -> None:
    """The copy of what the catalog believes to stand under that key proves nothing about what stands there now."""
    world.play("write a one", "mgmt upload a", "backup", "mgmt delete a --yes")
    world.play("write other/a two", "mgmt upload other/a", "mgmt free other/completed/a --yes", "restore")
    assert world.play("mgmt delete a --yes").returncode != 0
    assert len(world.objects()) == 1


def test_recover_of_another_machine_keeps_what_this_one_completed(world: World) -> None:
    world.play("write a one", "on nas: kill stored: mgmt upload a", "mgmt upload a", "mgmt free completed/a --yes")
    assert world.play("on nas: mgmt recover").returncode == 0
    world.end()


@pytest.mark.parametrize("change", ["remove a", "edit a two"])
def test_recover_keeps_the_only_archive_of_what_the_user_removed(world: World, change: str) -> None:
    world.play("write a one", "kill stored: mgmt upload a", change)
    assert world.play("mgmt recover").returncode == 0
    world.end()


def test_a_killed_deletion_is_finished_when_its_key_was_used_again(world: World) -> None:
    """Its archive is gone, and its key holds another one; its index is left."""
    world.play("write a one", "copy a other/a", "mgmt upload other/a")
    world.play("kill stored: mgmt delete a.tar.gz --yes --last-copy", "mgmt upload a")
    world.end()
    assert [key for _, key in world.objects()] == ["a.tar.gz"]
