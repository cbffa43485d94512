"""The members of archives: recorded, listed, found and searched."""

import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from mgmt.catalog import Catalog, FileFilter, FileRecord, FileStatus, MemberRecord
from mgmt.catalog.files import members
from mgmt.catalog.files import name_index as names
from mgmt.errors import NotFoundError

Make = Callable[..., FileRecord]
Member = Callable[..., Any]
Reopen = Callable[[], Catalog]

TREE = [
    "photos",
    "photos/2023",
    "photos/2023/Été.jpg",
    "photos/2023/b.jpg",
    "photos/2024",
    "photos/2024/ÉTÉ.mov",
    "photos/z%_",
]


@pytest.fixture
def archive(catalog: Catalog, make_archive: Make) -> FileRecord:
    return catalog.metadata.save_file_record(make_archive("photos.tar.gz"))


@pytest.fixture
def photos(catalog: Catalog, archive: FileRecord, make_member: Member) -> FileRecord:
    facts = [make_member(path, header_offset=512 * n, type="f" if "." in path else "d") for n, path in enumerate(TREE)]
    assert catalog.members.record(archive.id, facts) == len(TREE)
    return archive


def paths(found: list[MemberRecord]) -> list[str]:
    return [member.path for member in found]


ODD: list[dict[str, Any]] = [
    {"path": "a", "type": "d", "mode": 0o7777, "sha256": None, "size": 0},
    {"path": "a/\udcff\udcfe", "mtime_ns": -1},
    {"path": "\udce9t\udce9/\udcff", "sha256": os.urandom(32)},
    {"path": r"a/\xff"},
    {"path": "a/" + "x" * 255, "size": 2**62, "data_offset": 2**62, "header_offset": 2**62 - 512},
    {"path": "a/new\nline", "mtime_ns": 2**62},
    {"path": "a/link", "type": "l", "link": "../\udcff", "sha256": None},
    {"path": "a/plain", "type": "l", "link": "../x", "sha256": None},
    {"path": "a/hard", "type": "h", "link": "a/\udcff\udcfe", "sha256": None},
]


def test_a_member_keeps_every_field(catalog: Catalog, archive: FileRecord, make_member: Member, reopen: Reopen) -> None:
    catalog.members.record(archive.id, (make_member(**facts) for facts in ODD))
    again = reopen().members
    listed = again.list(archive.id)
    assert len(listed) == len(ODD)
    for facts, found in zip((make_member(**odd) for odd in ODD), listed, strict=True):
        for name in ("path", "type", "mode", "mtime_ns", "size", "header_offset", "data_offset", "sha256", "link"):
            assert getattr(found, name) == getattr(facts, name), name
        assert again.find(archive.id, facts.path) == found
        assert found.archive_id == archive.id


def test_recording_again_replaces_the_members(
    catalog: Catalog, photos: FileRecord, make_archive: Make, make_member: Member
) -> None:
    other = catalog.metadata.save_file_record(make_archive("other.tar.gz"))
    catalog.members.record(other.id, [make_member("photos/2023/b.jpg")])
    catalog.members.record(photos.id, [make_member("photos/new.jpg")])
    assert paths(catalog.members.list(photos.id)) == ["photos/new.jpg"]
    assert paths(catalog.members.list(other.id)) == ["photos/2023/b.jpg"]
    assert (catalog.members.count(photos.id), catalog.members.count(other.id)) == (1, 1)


def test_members_are_committed_with_the_callers_transaction(
    catalog: Catalog, make_archive: Make, make_member: Member, reopen: Reopen
) -> None:
    with catalog.database.transaction():
        archive = catalog.metadata.save_file_record(make_archive("a.tar.gz"))
        catalog.members.record(archive.id, [make_member("a")])
        assert reopen().members.count(archive.id) == 0
        assert catalog.members.count(archive.id) == 1
    assert reopen().members.count(archive.id) == 1


def test_a_failed_recording_is_rolled_back(catalog: Catalog, photos: FileRecord, make_member: Member) -> None:
    def facts() -> Any:
        for number in range(members.BATCH * 2):
            yield make_member(f"a/{number}")
        raise KeyError("the archive cannot be read")

    with pytest.raises(KeyError):
        catalog.members.record(photos.id, facts())
    assert paths(catalog.members.list(photos.id)) == TREE


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (None, TREE),
        ("photos", TREE),
        ("photos/", TREE[1:]),
        ("photos/2023", TREE[1:4]),
        ("photos/2023/", TREE[2:4]),
        ("photos/202", TREE[1:6]),
        ("photos/z%_", TREE[6:]),
        ("photos/%", []),
        ("Photos", []),
    ],
)
def test_members_are_listed_in_the_order_of_the_archive(
    prefix: str | None, expected: list[str], catalog: Catalog, photos: FileRecord
) -> None:
    assert paths(catalog.members.list(photos.id, prefix)) == expected
    paged: list[MemberRecord] = []
    while page := catalog.members.list(photos.id, prefix, limit=2, after=paged[-1].id if paged else None):
        paged += page
    assert paths(paged) == expected


@pytest.fixture(params=["unindexed", "indexed", "half indexed"])
def searched(
    request: pytest.FixtureRequest,
    photos: FileRecord,
    catalog: Catalog,
    make_member: Member,
    monkeypatch: pytest.MonkeyPatch,
) -> Catalog:
    """The photos, known to the index, or not yet, or some of them."""
    monkeypatch.setattr(names, "BLOCK", 2)
    if request.param != "unindexed":
        catalog.members.index_names()
    if request.param == "half indexed":
        facts = [make_member(member.path, type=member.type) for member in catalog.members.list(photos.id)]
        catalog.members.record(photos.id, facts[:3])
        catalog.members.index_names()
        catalog.members.record(photos.id, facts)
    return catalog


SEARCHES: list[tuple[str, list[str]]] = [
    ("été", ["photos/2024/ÉTÉ.mov", "photos/2023/Été.jpg"]),
    ("été.j", ["photos/2023/Été.jpg"]),
    ("JPG", ["photos/2023/b.jpg", "photos/2023/Été.jpg"]),
    ("b", ["photos/2023/b.jpg"]),
    (".j", ["photos/2023/b.jpg", "photos/2023/Été.jpg"]),
    ("2023", ["photos/2023"]),
    ("2023/B", ["photos/2023/b.jpg"]),
    ("photos/202", ["photos/2024", "photos/2023"]),
    ("s/2024/ét", ["photos/2024/ÉTÉ.mov"]),
    ("3/", ["photos/2023/b.jpg", "photos/2023/Été.jpg"]),
    ("/z", ["photos/z%_"]),
    ("/photos", []),
    ("%_", ["photos/z%_"]),
    ("z%_", ["photos/z%_"]),
    ("PHOTOS", ["photos"]),
    ("nothing", []),
    ("'", []),
    ('"""', []),
    ('abc" OR "jpg', []),
    ("\udcff", []),
]


def test_a_search_finds_what_contains_the_keyword(searched: Catalog, reopen: Reopen) -> None:
    again = reopen()
    for keyword, expected in SEARCHES:
        found = again.members.search(keyword)
        assert [member.path for member, _ in found] == expected, keyword
        assert {archive.path for _, archive in found} <= {"photos.tar.gz"}
        assert [member.path for member, _ in searched.members.search(keyword, limit=None)] == expected, keyword
        paged: list[str] = []
        after = None
        while page := searched.members.search(keyword, limit=1, after=after):
            paged += [member.path for member, _ in page]
            after = page[-1][0].id
        assert paged == expected, keyword


def test_a_search_for_a_few_lets_postgresql_use_its_index(searched: Catalog) -> None:
    """For a dozen rows, it would rather read all members in their order than sort what the index finds."""
    asked: list[Any] = []
    event.listen(searched.database.bind(), "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    (found,) = searched.members.search(".jpg", limit=1)
    assert len(searched.members.search(".jpg", limit=None)) == 2
    assert found == searched.members.search(".jpg", limit=None)[0]
    if not searched.database.is_sqlite:
        ((_, values),) = [each for each in asked if "ILIKE" in each[0]][:1]
        assert members.FEWEST in values.values()


def test_a_search_filters_before_the_limit(catalog: Catalog, make_archive: Make, make_member: Member) -> None:
    for who in ("ann", "bob"):
        archive = catalog.metadata.save_file_record(make_archive(f"{who}.tar.gz", tags={"who": who}))
        catalog.members.record(archive.id, [make_member(f"{who}/shot{n}") for n in range(4 * names.BLOCK)])
    for _ in range(2):
        for who in ("ann", "bob"):
            found = catalog.members.search("shot", limit=60, only=FileFilter(tags={"who": who}))
            assert {archive.path for _, archive in found} == {f"{who}.tar.gz"}
            assert len(found) == 60
        assert catalog.members.search("shot", only=FileFilter(tags={"who": "nobody"})) == []
        assert catalog.members.search("shot", only=FileFilter(status=FileStatus.FAILED)) == []
        catalog.members.index_names()


def test_names_are_indexed_once_a_block_is_full(
    sqlite_catalog: Catalog, make_archive: Make, make_member: Member
) -> None:
    archive = sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    wanted = [make_member(f"a/{n}") for n in range(2 * names.BLOCK + 5)]  # with the ids from 1 on
    sqlite_catalog.members.record(archive.id, wanted)
    assert sqlite_catalog.members.index_names() == 2 * names.BLOCK - 1
    assert sqlite_catalog.members.index_names() == 0
    sqlite_catalog.members.record(archive.id, wanted + wanted)
    assert sqlite_catalog.members.index_names() == 4 * names.BLOCK - 1
    found = sqlite_catalog.members.search("a/1", limit=None)
    assert len(found) == 2 * len([each for each in wanted if each.path.startswith("a/1")])


def test_names_are_indexed_in_several_transactions(
    sqlite_catalog: Catalog, make_archive: Make, make_member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "BATCH", 3 * names.BLOCK)
    archive = sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    wanted = [f"a/name {n}" for n in range(20 * names.BLOCK)]
    sqlite_catalog.members.record(archive.id, map(make_member, wanted))
    assert sqlite_catalog.members.index_names() == 20 * names.BLOCK - 1
    assert [m.path for m, _ in sqlite_catalog.members.search("name", limit=None)] == wanted[::-1]


def test_the_index_is_used(
    sqlite_catalog: Catalog, make_archive: Make, make_member: Member, explained: Callable[[Catalog], list[str]]
) -> None:
    archive = sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    sqlite_catalog.members.record(archive.id, [make_member("wedding.jpg") for _ in range(names.BLOCK)])
    assert sqlite_catalog.members.index_names() == names.BLOCK - 1
    with sqlite_catalog.database.transaction() as session:
        session.execute(text("UPDATE members SET name = 'funeral.jpg'"))
    # The index still lets the old name through and not the new one; what it lets through is looked at again.
    assert sqlite_catalog.members.search("wedding") == []
    assert len(sqlite_catalog.members.search("funeral")) == 1  # the one that is in no full block
    assert len(sqlite_catalog.members.search("fu")) == names.BLOCK
    plans = explained(sqlite_catalog)
    sqlite_catalog.members.search("jpg")
    # The blocks first, then the members of each.
    at = next(at for at, plan in enumerate(plans) if "SCAN member_names VIRTUAL TABLE" in plan)
    assert plans[at + 2].startswith("SEARCH members USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)")
    assert not [plan for plan in plans if plan.startswith("SCAN members")]


def test_a_search_with_a_tag_reads_only_archives_that_have_it(
    catalog: Catalog, make_archive: Make, make_member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        tags = {"case": "42"} if number in (1, 4) else {}
        archive = catalog.metadata.save_file_record(make_archive(f"{number}.tar.gz", tags=tags))
        catalog.members.record(archive.id, [make_member(f"{number}/zq"), make_member(f"{number}/zq.jpg")])
    catalog.members.index_names()
    only = FileFilter(tags={"case": "42"})
    for most in (members.FEW_ARCHIVES, 1):  # with more archives than that, all members are read
        monkeypatch.setattr(members, "FEW_ARCHIVES", most)
        found = catalog.members.search("zq", only=only)
        assert [member.path for member, _ in found] == ["4/zq.jpg", "4/zq", "1/zq.jpg", "1/zq"]
        assert [each.path for each, _ in catalog.members.search("zq", 1, found[1][0].id, only=only)] == ["1/zq.jpg"]
        assert catalog.members.search("zq", only=FileFilter(tags={"case": "none"})) == []


def test_a_keyword_too_short_for_the_index_and_a_tag_read_no_other_members(
    sqlite_catalog: Catalog, make_archive: Make, make_member: Member, explained: Callable[[Catalog], list[str]]
) -> None:
    for number in range(3):
        archive = sqlite_catalog.metadata.save_file_record(make_archive(f"{number}.tar.gz", tags={"n": str(number)}))
        sqlite_catalog.members.record(archive.id, [make_member(f"{number}/zq")])
    plans = explained(sqlite_catalog)
    assert len(sqlite_catalog.members.search("zq", only=FileFilter(tags={"n": "1"}))) == 1
    assert "SEARCH members USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plans
    assert not [plan for plan in plans if plan.startswith("SCAN members")]


def test_only_the_range_of_an_archive_is_read(
    sqlite_catalog: Catalog, make_archive: Make, make_member: Member, explained: Callable[[Catalog], list[str]]
) -> None:
    archive = sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    sqlite_catalog.members.record(archive.id, [make_member("a/b")])
    plans = explained(sqlite_catalog)
    for prefix in (None, "a/"):
        assert paths(sqlite_catalog.members.list(archive.id, prefix)) == ["a/b"]
        assert sqlite_catalog.members.list(archive.id, prefix, after=1) == []
    sqlite_catalog.members.find(archive.id, "a/b")
    sqlite_catalog.members.count(archive.id)
    assert [m.path for m, _ in sqlite_catalog.members.search("a/b")] == ["a/b"]
    assert (
        len([plan for plan in plans if plan.startswith("SEARCH members USING INTEGER PRIMARY KEY (rowid>? AND")]) == 7
    )
    assert not [plan for plan in plans if plan.startswith("SCAN members") or "SORT" in plan]


@pytest.fixture
def steps() -> Callable[[Catalog, Callable[[], object]], int]:
    """What something costs SQLite, in tens of its own instructions."""

    def count(catalog: Catalog, ask: Callable[[], object]) -> int:
        taken = 0

        def tick() -> None:
            nonlocal taken
            taken += 1

        def look(connection: Connection, *_: object) -> None:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(tick, 10)

        catalog.metadata.list_files()
        event.listen(catalog.database.bind(), "before_cursor_execute", look)
        ask()
        event.remove(catalog.database.bind(), "before_cursor_execute", look)
        return taken

    return count


@pytest.mark.parametrize("way", ["of an archive", "below a folder", "by name", "by path"])
def test_the_last_page_of_members_costs_as_much_as_the_first(
    way: str,
    sqlite_catalog: Catalog,
    make_archive: Make,
    make_member: Member,
    steps: Callable[[Catalog, Callable[[], object]], int],
) -> None:
    archive = sqlite_catalog.metadata.save_file_record(make_archive("a.tar.gz"))
    sqlite_catalog.members.record(archive.id, [make_member(f"a/name {n}") for n in range(5_000)])
    sqlite_catalog.members.index_names()
    ask: dict[str, Callable[[int | None], Any]] = {
        "of an archive": lambda after: sqlite_catalog.members.list(archive.id, after=after),
        "below a folder": lambda after: sqlite_catalog.members.list(archive.id, "a/", after=after),
        "by name": lambda after: sqlite_catalog.members.search("name", after=after),
        "by path": lambda after: sqlite_catalog.members.search("a/name", after=after),
    }
    last = 100 if way.startswith("by") else 4_900
    assert len(ask[way](last)) == 50
    first, far = (steps(sqlite_catalog, lambda after=after: ask[way](after)) for after in (None, last))  # type: ignore[misc]
    assert 0 < far < 1.5 * first


def test_members_inserted_by_another_program_are_listed(
    catalog: Catalog, photos: FileRecord, make_archive: Make, make_member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "BLOCK", 2)
    other, third = (catalog.metadata.save_file_record(make_archive(f"{n}.tar.gz")) for n in range(2))
    catalog.members.record(other.id, [make_member("b")])
    extra = (
        "INSERT INTO members (archive_id, directory_id, name, type, mode, size, mtime_ns, header_offset, data_offset)"
        " SELECT {}, directory_id, 'one more', 'f', 420, 0, 0, 0, 0 FROM members ORDER BY id LIMIT 1"
    )
    with catalog.database.transaction() as session:
        session.execute(text(extra.format(photos.id)))
        session.execute(text(extra.format(third.id)))
    for _ in range(2):
        catalog.members.index_names()
        found = catalog.members.search("one more", only=FileFilter(status=FileStatus.COMPLETED))
        assert sorted(archive.id for _, archive in found) == [photos.id, third.id]
        assert paths(catalog.members.list(photos.id)) == [*TREE, "one more"]
        assert paths(catalog.members.list(other.id)) == ["b"]
        assert paths(catalog.members.list(third.id)) == ["one more"]
        catalog.members.record(other.id, [make_member("b")])
    catalog.members.record(photos.id, [make_member("c")])
    assert paths(catalog.members.list(photos.id)) == ["c"]
    assert paths(catalog.members.list(third.id)) == ["one more"]


def test_interleaved_members_of_two_archives(
    catalog: Catalog, photos: FileRecord, make_archive: Make, make_member: Member
) -> None:
    """As they are on PostgreSQL, when two were recorded at the same time."""
    other, third = (catalog.metadata.save_file_record(make_archive(f"{n}.tar.gz")) for n in range(2))
    for each in (other, third):
        catalog.members.record(each.id, [make_member("photos/2023/b.jpg"), make_member("photos/2023/c.jpg")])
    ids = [m.id for each in (other, third) for m in catalog.members.list(each.id)]
    with catalog.database.transaction() as session:
        swap = text("UPDATE members SET archive_id = :archive WHERE id = :id")
        session.execute(swap, [{"archive": third.id, "id": ids[1]}, {"archive": other.id, "id": ids[2]}])
        wider = text("UPDATE member_ranges SET first_id = :first, last_id = :last WHERE archive_id = :id")
        session.execute(wider, {"first": ids[0], "last": ids[2], "id": other.id})
        session.execute(wider, {"first": ids[1], "last": ids[3], "id": third.id})
    assert [[m.id for m in catalog.members.list(each.id)] for each in (other, third)] == [ids[::2], ids[1::2]]
    assert [m.id for m, _ in catalog.members.search("2023/", limit=4)] == ids[::-1]
    assert len(catalog.members.search("2023/", limit=None)) == 6
    catalog.members.record(other.id, [])
    assert [m.id for m in catalog.members.list(third.id)] == ids[1::2]


def test_find_refuses_an_unknown_member(catalog: Catalog, photos: FileRecord) -> None:
    for path in ("photos/2023/nothing", "nothing", "", "photos/2023/"):
        with pytest.raises(NotFoundError):
            catalog.members.find(photos.id, path)
    with pytest.raises(NotFoundError):
        catalog.members.find(photos.id + 1, "photos")


def test_memory_stays_flat(
    catalog: Catalog, archive: FileRecord, make_member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "BATCH", 200)

    def peak(count: int) -> int:
        tracemalloc.start()
        catalog.members.record(archive.id, (make_member(f"d{n // 10}/{n}") for n in range(count)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(members.BATCH)
    small, large = peak(members.BATCH * 2), peak(members.BATCH * 10)
    assert large < small * 2


def test_each_directory_is_stored_once(
    catalog: Catalog, photos: FileRecord, make_archive: Make, make_member: Member
) -> None:
    other = catalog.metadata.save_file_record(make_archive("other.tar.gz"))
    catalog.members.record(other.id, [make_member("photos/2023/b.jpg"), make_member("photos/\udcff/b.jpg")])
    catalog.members.record(other.id, [make_member("photos/2023/b.jpg"), make_member("photos/\udcff/b.jpg")])
    with catalog.database.reading() as session:
        known = session.execute(text("SELECT path FROM directories ORDER BY id")).scalars().all()
    assert known == ["", "photos", "photos/2023", "photos/2024", r"photos/\xff"]


def test_more_directories_than_the_cache_holds(
    catalog: Catalog, archive: FileRecord, make_member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members._Directories, "KEPT", 3)
    wanted = [f"{n % 5}/{n}" for n in range(20)]
    catalog.members.record(archive.id, (make_member(path) for path in wanted))
    assert paths(catalog.members.list(archive.id)) == wanted


def test_members_committed_concurrently_stay_with_their_archive(
    catalog: Catalog, archive: FileRecord, make_archive: Make, make_member: Member, reopen: Reopen
) -> None:
    """Two on PostgreSQL who both write down the range of a third would be in each other's way."""
    if catalog.database.is_sqlite:
        return  # nobody else writes meanwhile
    others = reopen()
    told: list[str] = []

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)
        if "max(" in statement:
            other = others.metadata.save_file_record(make_archive(f"{len(told)}"))
            others.members.record(other.id, [make_member(f"{len(told)}/x")])

    with catalog.database.transaction() as session:
        event.listen(session.connection(), "before_cursor_execute", meanwhile)
        catalog.members.record(archive.id, [make_member("a"), make_member("b")])
    assert not [each for each in told if each.startswith("DELETE FROM member_ranges")]
    assert len([each for each in told if each.startswith("INSERT INTO member_ranges")]) == 1
    assert paths(catalog.members.list(archive.id)) == ["a", "b"]
    assert len(others.members.search("x")) == 1
