"""Every name that Linux allows round-trips byte for byte: as a member, a file, a key, a tag, a search word.

Single files and keys have a limit of their own: neither a disk nor SeaweedFS allows more than 255 bytes between two
slashes, and the index beside an archive has the longer key. Longer names are refused, and the original stays.
"""

import json
import os
import random
from pathlib import Path

import pytest

from mgmt.storage import key_for
from tests.assets.naughty_strings import NAUGHTY
from tests.conftest import Figure
from tests.program import Program
from tests.trees import describe


def random_names(count: int, seed: int = 14) -> list[str]:
    """Names of 1 to 255 bytes, any but slash and NUL."""
    chance = random.Random(seed)
    allowed = [code for code in range(1, 256) if code != ord("/")]
    names: dict[bytes, None] = {}
    while len(names) < count:
        name = bytes(chance.choices(allowed, k=chance.choice((1, 2, 3, 8, 20, 60, 254, 255))))
        if name not in (b".", b".."):
            names[name] = None
    return [os.fsdecode(name) for name in names]


def names_of(step: int) -> list[str]:
    """Every `step`-th of the 2,000 random and the naughty names."""
    return list(dict.fromkeys((*NAUGHTY, *random_names(2000))))[::step]


def fits(key: str) -> bool:
    """Whether the stores of these tests can hold the key of the archive's index."""
    return len(f"{key}.0123456789ab.index.jsonl.gz".encode()) <= 255


STEP = pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.torture)])
FEW = pytest.mark.parametrize("step", [120, pytest.param(1, marks=pytest.mark.torture)])


def test_the_lists_of_names_are_complete() -> None:
    assert len(NAUGHTY) >= 490
    assert len(set(random_names(2000))) == 2000


@STEP
@pytest.mark.parametrize("where", ["on_directory", "on_seaweed"])
@pytest.mark.usefixtures("catalogs")
def test_names_in_a_folder_round_trip(where: str, step: int, request: pytest.FixtureRequest, figure: Figure) -> None:
    program: Program = request.getfixturevalue(where)
    names = names_of(step)
    folder = program.work / "folder"
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / name).write_text(f"{number}")
    before = describe(folder)
    program.ok("upload", "folder")
    assert not folder.exists()
    assert describe(program.work / "completed" / "folder") == before
    listed = program.json("ls", "--members", "folder", "--limit", "100000")
    assert {each["path"] for each in listed} == {"folder", *(f"folder/{name}" for name in names)}
    program.ok("download", "folder", "--to", "out")
    assert describe(program.work / "out" / "folder") == before
    for number, name in list(enumerate(names))[:: 25 if step > 1 else 100]:
        to = program.work / f"one-{number}"
        program.ok("download", "folder", f"--member=folder/{name}", "--to", to)
        assert {each.name: each.read_text() for each in to.iterdir()} == {name: f"{number}"}
        found = program.json("search", "--limit", "100000", "--", name)
        assert name in {each["name"] for each in found}, name
    figure(14, f"names in one folder, {where.removeprefix('on_')}", tried=len(names), violations=0)


@FEW
@pytest.mark.parametrize("where", ["on_directory", "on_seaweed"])
@pytest.mark.usefixtures("catalogs")
def test_names_of_single_files_round_trip(
    where: str, step: int, request: pytest.FixtureRequest, figure: Figure
) -> None:
    program: Program = request.getfixturevalue(where)
    candidates = [name for name in names_of(step) if name != "completed"]
    names = [name for name in candidates if fits(key_for(name))]
    too_long = next(name for name in NAUGHTY if not fits(key_for(name)))
    (program.work / too_long).write_text("stays")
    refused = 7 if where == "on_directory" else 1  # only the server knows its limit
    assert program.run("upload", "--", too_long).returncode == refused
    assert (program.work / too_long).read_text() == "stays"
    assert program.json("ls", "--live") == []
    (program.work / too_long).unlink()
    listing = program.home / "names"
    listing.write_bytes(b"".join(os.fsencode(program.work / name) + b"\0" for name in names))
    for number, name in enumerate(names):
        (program.work / name).write_text(f"{number}")
    done = json.loads(program.ok("-o", "json", "upload", "--files-from", listing, "-0"))
    keys = {os.path.basename(each["target_path"]): each["s3_object_key"] for each in done}
    assert set(keys) == set(names)
    assert len(set(keys.values())) == len(names)
    assert {path.name for path in (program.work / "completed").iterdir()} == set(names)
    assert {each["path"] for each in program.json("ls", "--live", "--limit", "100000")} == set(keys.values())
    program.ok("download", "--to", "out", "--", *keys.values())
    assert {path.name: path.read_text() for path in (program.work / "out").iterdir()} == {
        name: f"{number}" for number, name in enumerate(names)
    }
    figure(
        14,
        f"names of single files, {where.removeprefix('on_')}",
        tried=len(names),
        violations=0,
        note=f"{len(candidates) - len(names)} more are too long for these stores",
    )


@FEW
def test_names_as_keys_and_tags_round_trip(on_directory: Program, step: int, figure: Figure) -> None:
    accepted = 0
    names = [*names_of(step)]
    for number, name in enumerate(names):
        path = Path(on_directory.work / f"file-{number}")
        path.write_text(f"{number}")
        done = on_directory.run("-o", "json", "upload", path, f"--key={name}", f"--tag=name={name}")
        if done.returncode == 2 or (done.returncode == 7 and not fits(name)):
            assert path.exists(), name
            continue
        accepted += 1
        assert done.returncode == 0, (name, done)
        (row,) = json.loads(done.stdout)
        assert row["s3_object_key"] == name
        on_directory.ok("download", "--to", "out", "--", name)
        assert (on_directory.work / "out" / path.name).read_text() == f"{number}"
        tagged = on_directory.json("search", "--location", "s3", f"--tag=name={name}", "--", name)
        assert name in {each["path"] for each in tagged}, name
    assert accepted > len(names) // 8
    figure(
        14, "names as keys and tags", tried=len(names), violations=0, note=f"{accepted} are keys, the others refused"
    )
