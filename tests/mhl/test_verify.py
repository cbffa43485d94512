"""The verdict on each file of a folder by the lists in it."""

import time

import pytest

from mgmt.errors import IntegrityError
from mgmt.mhl.hashes import hash_of
from mgmt.mhl.verify import Check, Verification
from tests.mhl.lists import ASSETS, asc, ascmhl, histories, legacy, samples, tree, verdicts

CONTENT = b"hallo\n"
MD5 = hash_of("md5", [CONTENT])
XXH64 = hash_of("xxh64", [CONTENT])


def entry(path: str, hashes: str = f"<md5 action='original'>{MD5}</md5>", previous: str = "") -> str:
    before = f"<previousPath>{previous}</previousPath>" if previous else ""
    return f"<hash><path>{path}</path>{hashes}{before}</hash>"


def history(*generations: bytes, folder: str = "") -> dict[str, bytes]:
    """The files of a history of these manifests."""
    base = f"{folder}/ascmhl" if folder else "ascmhl"
    files, lines = {}, ""
    for number, content in enumerate(generations, 1):
        name = f"{number:04}_x.mhl"
        files[f"{base}/{name}"] = content
        c4 = hash_of("c4", [content])
        lines += f'<hashlist sequencenr="{number}"><path>{name}</path><c4>{c4}</c4></hashlist>'
    files[f"{base}/ascmhl_chain.xml"] = f"<ascmhldirectory>{lines}</ascmhldirectory>".encode()
    return files


def all_samples() -> list[str]:
    names = ["scenario_01/travel_01", *(f"scenario_0{each}/{place}" for each in (2, 3, 4) for place in PLACES)]
    return [f"{name}/A002R2EC" for name in names]


PLACES = ("travel_01", "file_server")


@pytest.mark.parametrize("name", all_samples())
def test_each_sample_history_has_the_verdict_of_ascmhl(name: str) -> None:
    folder = samples() / name
    found = verdicts(tree(folder))
    spoilt = "scenario_04/file_server" in name
    assert {path for path, verdict in found.items() if verdict != "ok"} == ({"Sidecar.txt"} if spoilt else set())
    assert found["Clips/A002C006_141024_R2EC.mov"] == "ok"
    assert ascmhl("verify", folder, program="ascmhl-debug") == (11 if spoilt else 0)


def test_every_sample_history_is_tried() -> None:
    found = {str(each.parent.relative_to(samples())) for each in samples().rglob("ascmhl")}
    known = {name for name in found if "scenario_05" not in name}
    assert known == set(all_samples())
    for name in found - known:
        assert set(verdicts(tree(samples() / name)).values()) == {"ok"}


@pytest.mark.parametrize("name", ["offload.mhl", "finder.mhl", "windows.mhl"])
def test_each_shape_of_mhl_1_verifies(name: str) -> None:
    files = {
        "Clips/A001C001.mov": b"abc",
        "Clips/A001C002.mov": b"",
        f"{name}": (ASSETS / name).read_bytes(),
        ".Trashes/x": b"",
        "._Clips": b"",
    }
    assert verdicts(files) == {"Clips/A001C001.mov": "ok", "Clips/A001C002.mov": "ok"}
    assert verdicts({**files, "Clips/A001C001.mov": b"abd"})["Clips/A001C001.mov"] == "mismatch"
    assert verdicts({**files, "Clips/A001C002.mov": b"x"})["Clips/A001C002.mov"] == "mismatch"
    assert verdicts({**files, "new": b""})["new"] == "added"
    del files["Clips/A001C002.mov"]
    assert verdicts(files)["Clips/A001C002.mov"] == "missing"


def test_each_file_is_hashed_in_the_formats_that_its_lists_have_and_no_others() -> None:
    second = asc(entry("a", f"<xxh64 action='verified'>{XXH64}</xxh64>"))
    files = history(asc(entry("a") + entry("b")), second)
    verification = Verification(histories(files))
    first, other = verification.check("a"), verification.check("b")
    assert isinstance(first, Check)
    assert isinstance(other, Check)
    assert sorted(first._hashing.values()) == ["md5", "xxh64"]
    assert sorted(other._hashing.values()) == ["md5"]
    assert verification.formats == ["md5", "xxh64"]


def test_a_failed_hash_is_never_expected() -> None:
    failed = f"<md5 action='failed'>{hash_of('md5', [b'spoilt'])}</md5>"
    files = history(asc(entry("a")), asc(entry("a", failed)))
    assert verdicts({**files, "a": CONTENT}) == {"a": "ok"}
    assert verdicts({**files, "a": b"spoilt"}) == {"a": "mismatch"}
    assert verdicts({**history(asc(entry("a", failed))), "a": b"spoilt"}) == {"a": "mismatch"}


def test_the_first_hash_of_a_format_stands() -> None:
    later = f"<md5 action='verified'>{hash_of('md5', [b'other'])}</md5>"
    files = history(asc(entry("a")), asc(entry("a", later)))
    assert verdicts({**files, "a": b"other"}) == {"a": "mismatch"}


def test_a_renamed_file_keeps_its_hash() -> None:
    later = f"<md5 action='verified'>{MD5}</md5>"
    files = history(asc(entry("a") + entry("b")), asc(entry("c", later, "a") + entry("a", later, "b")))
    assert verdicts({**files, "c": CONTENT, "a": CONTENT}) == {"c": "ok", "a": "ok"}
    spoilt = f"<md5 action='verified'>{hash_of('md5', [b'other'])}</md5>"
    files = history(asc(entry("a")), asc(entry("c", spoilt, "a")))
    assert verdicts({**files, "c": b"other"}) == {"c": "mismatch"}


def test_a_renamed_folder_keeps_its_files() -> None:
    folder = "<directoryhash><path>{}</path><content/><structure/>{}</directoryhash>"
    first = asc(entry("old/in/a") + folder.format("old", "") + folder.format("old/in", ""))
    second = asc(folder.format("new", "<previousPath>old</previousPath>"))
    files = history(first, second)
    assert verdicts({**files, "new/in/a": CONTENT}) == {"new/in/a": "ok"}
    assert verdicts({**files, "new/in/a": b""}) == {"new/in/a": "mismatch"}


def test_a_missing_folder_is_named() -> None:
    files = history(asc("<directoryhash><path>empty</path><content/><structure/></directoryhash>"))
    assert verdicts(files) == {"empty": "missing"}


def test_patterns_of_the_latest_generation_leave_files_out() -> None:
    ignore = "<ignore><pattern>*.tmp</pattern><pattern>/cache/</pattern><pattern>!keep.tmp</pattern></ignore>"
    files = history(asc(entry("a") + entry("gone.tmp")), asc(entry("a"), ignore=ignore))
    there = {"a": CONTENT, "x/b.tmp": b"", "cache/c": b"", "keep.tmp": b"", "x/cache/d": b""}
    assert verdicts({**files, **there}) == {"a": "ok", "keep.tmp": "added", "x/cache/d": "added"}


def test_patterns_of_a_nested_history_hold_in_its_folder() -> None:
    ignore = "<ignore><pattern>*.tmp</pattern></ignore>"
    files = {**history(asc(entry("a"))), **history(asc(entry("b"), ignore=ignore), folder="in")}
    there = {"a": CONTENT, "x.tmp": b"", "in/b": CONTENT, "in/y.tmp": b""}
    assert verdicts({**files, **there}) == {"a": "ok", "x.tmp": "added", "in/b": "ok"}


def test_a_folder_without_a_list_above_lists_is_not_judged() -> None:
    files = {**history(asc(entry("b")), folder="card/1"), "card/1/b": CONTENT, "notes": b"", "card/2/x": b""}
    verification = Verification(histories(files))
    assert [verification.check(path) for path in ("notes", "card/2/x")] == [None, None]
    assert verification.unlisted == 2
    assert verdicts(files) == {"card/1/b": "ok"}


def test_a_nested_history_that_is_gone_is_missing() -> None:
    inner = history(asc(entry("b")), folder="in")
    c4 = hash_of("c4", [inner["in/ascmhl/0001_x.mhl"]])
    reference = f"<hashlistreference><path>in/ascmhl/0001_x.mhl</path><c4>{c4}</c4></hashlistreference>"
    outer = history(asc(entry("a"), f"<references>{reference}</references>"))
    assert verdicts({**outer, **inner, "a": CONTENT, "in/b": CONTENT}) == {"a": "ok", "in/b": "ok"}
    assert verdicts({**outer, "a": CONTENT}) == {"a": "ok", "in/ascmhl/0001_x.mhl": "missing"}
    other = history(asc(entry("c")), folder="in")
    with pytest.raises(IntegrityError, match=r"in/ascmhl/0001_x\.mhl .* another C4 ID"):
        verdicts({**outer, **other, "a": CONTENT})


def test_a_history_that_was_tampered_with_is_refused() -> None:
    files = history(asc(entry("a")), asc(entry("a")))
    name = "ascmhl/0001_x.mhl"
    with pytest.raises(IntegrityError, match=r"ascmhl/0001_x\.mhl .*it was changed"):
        histories({**files, name: files[name].replace(MD5.encode(), b"0" * 32)})
    with pytest.raises(IntegrityError, match=r"ascmhl/0001_x\.mhl .*it is missing"):
        histories({path: content for path, content in files.items() if path != name})
    with pytest.raises(IntegrityError, match=r"ascmhl_chain\.xml is missing"):
        histories({path: content for path, content in files.items() if not path.endswith(".xml")})
    with pytest.raises(IntegrityError, match=r"ascmhl/0003_x\.mhl .*does not name it"):
        histories({**files, "ascmhl/0003_x.mhl": asc(entry("b"))})
    assert len(histories({**files, "ascmhl/._0001_x.mhl": b"of macOS"})) == 1


def test_two_lists_of_one_folder_are_both_compared() -> None:
    good = legacy(f"<hash><file>a</file><md5>{MD5}</md5></hash>")
    bad = legacy(f"<hash><file>a</file><md5>{'0' * 32}</md5></hash>")
    assert verdicts({"a": CONTENT, "1.mhl": good, "2.mhl": good}) == {"a": "ok"}
    assert verdicts({"a": CONTENT, "1.mhl": good, "2.mhl": bad}) == {"a": "mismatch"}


def test_a_hostile_list_takes_little_time() -> None:
    """Deep paths, many renamed folders, and patterns that would backtrack."""
    deep = "/".join("d" * 1200)
    folders = "".join(
        f"<directoryhash><path>n{each}</path><content/><structure/><previousPath>o{each}</previousPath></directoryhash>"
        for each in range(1000)
    )
    many = "".join(entry(f"o{each}/a") for each in range(1000))
    ignore = "<ignore><pattern>x/**</pattern>" + f"<pattern>{'a*' * 60}b</pattern>" * 5 + "</ignore>"
    files = history(asc(many + entry(deep)), asc(folders + entry("a" * 250), ignore=ignore))
    begun = time.process_time()
    found = verdicts({**files, "a" * 250: CONTENT, f"{deep}/x": b""})
    assert time.process_time() - begun < 5
    assert found.pop("a" * 250) == "ok"
    assert found.pop(f"{deep}/x") == "added"
    assert found.pop(deep) == "missing"
    assert set(found.values()) == {"missing"}
    assert sorted(path for path in found if "/" in path) == sorted(f"n{each}/a" for each in range(1000))
