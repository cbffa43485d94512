"""Sequences of ordinary commands that once lost content, on every kind of store and of catalog.

`World.play` defines the language of the lines, and looks for lost contents after each.
"""

import os
from dataclasses import replace

import pytest

from mgmt.storage import open_store
from tests.catalogs import Catalogs
from tests.program import Done, Program
from tests.property.contents import beside, rehearse
from tests.property.world import World

REFUSED, CONFLICT, BUSY, NOT_FOUND = 7, 10, 11, 4


@pytest.fixture(params=["seaweed", "rclone", "directory"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> World:
    program: Program = request.getfixturevalue(f"on_{request.param}")
    home = tmp_path_factory.mktemp("rehearsed")
    store = f"file://{home}/stores" if request.param == "directory" else program.store.removesuffix("/archive")
    rehearse(beside(replace(program, home=home, store=store), "rehearsed"))
    program.ok("ls")
    return World(program, None if request.param == "directory" else request.getfixturevalue(request.param))


def copy_of(world: World, word: str) -> str:
    """The copy in completed/ whose content starts with `word`."""
    found = [path for path in (world.work / "completed").iterdir() if path.read_text().startswith(word)]
    assert len(found) == 1
    return str(found[0].relative_to(world.work))


def free(world: World, word: str) -> Done:
    return world.play(f"mgmt free {copy_of(world, word)} --yes")


# 1 and 2: a reused key


def test_free_refuses_a_copy_whose_archive_was_deleted(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert free(world, "one").returncode == REFUSED
    assert free(world, "two").returncode == 0
    world.end()


def test_free_all_frees_only_copies_that_are_archived(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert world.play("mgmt free --all --yes").returncode != 0
    assert [path.read_text()[:3] for path in (world.work / "completed").iterdir()] == ["one"]
    world.end()


def test_an_archive_under_a_reused_key_has_its_own_members(world: World) -> None:
    world.play("write a one", "mgmt upload a", "mgmt delete a --yes", "write a two", "mgmt upload a")
    assert world.play("mgmt verify --all").returncode == 0
    world.end()


# 3: two removals at once


@pytest.mark.parametrize("moment", ["look 1", "past 1"])
@pytest.mark.parametrize("pair", [("delete a", "free completed/a"), ("free completed/a", "delete a")])
def test_one_of_concurrent_delete_and_free_is_refused(world: World, pair: tuple[str, str], moment: str) -> None:
    first, second = pair
    world.play("write a one", "mgmt upload a", f"stop {moment}: mgmt {first} --yes | mgmt {second} --yes")
    done, refused = sorted(world.statuses[-2:])
    assert done == 0
    assert refused in (REFUSED, BUSY)
    world.end()


# 4: a backup of the catalog made during an upload


@pytest.mark.sqlite
def test_recover_keeps_an_archive_that_is_unfinished_in_a_restored_catalog(world: World) -> None:
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


# 5: an export made during an upload


@pytest.fixture
def imported(world: World) -> World:
    """A second catalog, in which an upload is unfinished that succeeded in the first."""
    world.play("write a one", "stop stored: mgmt upload a | export", "mgmt free completed/a --yes", "import")
    return world


def test_recover_keeps_an_archive_that_is_unfinished_in_an_imported_catalog(imported: World) -> None:
    assert imported.play("mgmt recover").returncode == 0
    assert imported.play("mgmt verify a", "mgmt download a --to back").returncode == 0
    imported.end()


def test_an_upload_does_not_replace_an_archive_that_is_unfinished_in_an_imported_catalog(imported: World) -> None:
    assert imported.play("write a two", "mgmt upload a").returncode == CONFLICT
    imported.end()


# 6: an archive of a killed upload, adopted by another upload


@pytest.fixture
def adopted(world: World) -> World:
    """The upload of `a` was killed after storing its archive; the same `other/a` adopted the archive, and is freed."""
    world.play("write a one", "kill stored: mgmt upload a", "copy a other/a")
    assert world.play("mgmt upload other/a").returncode == 0
    assert world.play("mgmt free other/completed/a --yes").returncode == 0
    return world


@pytest.mark.parametrize("change", ["edit a two", "remove a"])
def test_recover_keeps_an_archive_that_another_upload_adopted(adopted: World, change: str) -> None:
    adopted.play(change)
    assert adopted.play("mgmt recover").returncode == 0
    assert adopted.play("mgmt verify a.tar.gz", "mgmt download a.tar.gz --to back").returncode == 0
    adopted.end()


def test_an_upload_does_not_replace_an_archive_that_another_adopted(adopted: World) -> None:
    assert adopted.play("edit a two", "mgmt upload a").returncode == CONFLICT
    adopted.end()


# 7 and 20: a copy that changes while it is compared


@pytest.mark.parametrize("command", ["free", "delete"])
@pytest.mark.parametrize("change", ["edit completed/f three", "add completed/f three"])
def test_a_copy_that_changes_while_it_is_compared_is_refused(world: World, command: str, change: str) -> None:
    world.play("write f one", "mgmt upload f")
    assert world.play(f"stop open 2: mgmt {command} f --yes | {change}").returncode == REFUSED
    assert world.play("mgmt verify --all").returncode == 0
    world.end()


# 8: a name of a deleted archive


def test_a_name_never_falls_back_to_another_archive(world: World) -> None:
    world.play("write a one", "mgmt upload a", "write a two", "mgmt upload a --key k.tar.gz")
    assert world.play("mgmt delete --last-copy --yes a").returncode == 0
    assert world.play("mgmt delete --last-copy --yes a").returncode == NOT_FOUND
    assert [key for _, key in world.objects()] == ["k.tar.gz"]
    world.end()


# 9: attributes that an archive does not keep


@pytest.fixture
def noted(world: World) -> World:
    """A file with an attribute was uploaded without it; a copy of the file is in place again."""
    world.play("write a one")
    try:
        world.play("note a x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    world.play("give a 1234")
    world.play("mgmt upload a", "copy completed/a a")
    return world


@pytest.mark.parametrize("options", ["--xattrs", "--owners", "--xattrs --owners"])
def test_an_archive_without_the_requested_attributes_is_a_conflict(noted: World, options: str) -> None:
    if options == "--owners" and os.geteuid() != 0:
        pytest.skip("only root can change owners")
    assert noted.play(f"mgmt upload a {options}").returncode == CONFLICT
    assert noted.play(f"mgmt upload a {options} --on-conflict rename").returncode == 0
    assert len(noted.objects()) == 2
    noted.play("mgmt free --all --yes")
    noted.end()


# Found by the state machine


def test_a_new_file_in_place_of_a_moved_original_is_archived(world: World) -> None:
    """The upload was killed after moving the original, before recording the move."""
    world.play("write a one", "kill moved: mgmt upload a", "write a two")
    assert world.play("mgmt upload a").returncode in (0, CONFLICT)
    if world.statuses[-1] == CONFLICT:
        assert world.play("mgmt recover", "mgmt upload a --on-conflict rename").returncode == 0
    world.end()


def test_delete_keeps_an_archive_that_a_restored_catalog_does_not_know(world: World) -> None:
    """A copy of the archive recorded under the key proves nothing about the object stored there now."""
    world.play("write a one", "mgmt upload a", "backup", "mgmt delete a --yes")
    world.play("write other/a two", "mgmt upload other/a", "mgmt free other/completed/a --yes", "restore")
    assert world.play("mgmt delete a --yes").returncode != 0
    assert len(world.objects()) == 1


def test_recover_on_another_host_keeps_an_archive_completed_here(world: World) -> None:
    world.play("write a one", "on nas: kill stored: mgmt upload a", "mgmt upload a", "mgmt free completed/a --yes")
    assert world.play("on nas: mgmt recover").returncode == 0
    world.end()


@pytest.mark.parametrize("change", ["remove a", "edit a two"])
def test_recover_keeps_the_only_archive_of_a_removed_file(world: World, change: str) -> None:
    world.play("write a one", "kill stored: mgmt upload a", change)
    assert world.play("mgmt recover").returncode == 0
    world.end()


def test_a_killed_deletion_is_finished_when_its_key_was_used_again(world: World) -> None:
    """Its archive is gone, and its key holds another one; its index is left."""
    world.play("write a one", "copy a other/a", "mgmt upload other/a")
    world.play("kill stored: mgmt delete a.tar.gz --yes --last-copy", "mgmt upload a")
    world.end()
    assert [key for _, key in world.objects()] == ["a.tar.gz"]


def test_an_upload_to_another_store_than_an_interrupted_one_is_recorded_there(world: World) -> None:
    """The first was killed before it had a key; the record of the second, killed too, names the store it went to."""
    world.play("write f one", "kill past 1: mgmt --store OTHER upload f", "kill stored: mgmt upload f --key k.tar.gz")
    world.end()
    assert world.play("mgmt verify k.tar.gz").returncode == 0


@pytest.mark.parametrize("then", ["mgmt upload a", "edit a three", "remove a"])
def test_an_interrupted_upload_leaves_no_index_beside_the_archive_of_another(world: World, then: str) -> None:
    """The same contents were archived by another upload under the key, after the first had stored its index."""
    world.play("write a one", "copy a other/a", "kill indexed: mgmt upload a", "mgmt upload other/a", then)
    world.end()


def test_an_interrupted_upload_that_is_renamed_leaves_no_index(world: World) -> None:
    """Another upload archived other contents under the key, after the first had stored its index."""
    world.play("write a one", "write other/a two", "kill indexed: mgmt upload a", "mgmt upload other/a")
    assert world.play("mgmt upload a --on-conflict rename").returncode == 0
    world.end()
    assert len(world.objects()) == 2


@pytest.mark.parametrize("then", ["mgmt upload a", "mgmt recover"])
def test_a_proven_upload_is_not_finished_when_its_archive_was_deleted(world: World, then: str) -> None:
    """It was killed before it moved its original; another copy made the deletion possible."""
    world.play("write a one", "mgmt upload a", "copy completed/a a", "kill in finish_upload: mgmt upload a")
    assert world.play("mgmt delete a.tar.gz --yes").returncode == 0
    assert world.play(then).returncode == 0
    assert (world.work / "a").exists() == (not world.objects())
    world.end()


def test_what_is_left_of_a_completed_upload_is_removed_although_another_archive_follows(world: World) -> None:
    """It was killed before it forgot its parts; its original has other contents by then."""
    world.play("write a one", "kill stored: mgmt upload a", "edit a two")
    assert world.play("mgmt upload a --on-conflict rename").returncode == 0
    assert len(world.objects()) == 2
    assert [each for store in (world.program.store, world.other_store) for each in open_store(store).pending()] == []
    world.end()
