"""Every page over a real catalog: what it shows, what it refuses, and that nothing is written by it."""

import hashlib
import os
import re
import shlex
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from urllib.parse import quote

import pytest

from mgmt.catalog import Catalog, MetadataManager, Status, UploadRecord
from mgmt.services.report import gather
from mgmt.services.steps.figures import Report
from tests.assets.injections import PATHS, SCRIPTS, SQL
from tests.assets.naughty_strings import NAUGHTY
from tests.conftest import Figure
from tests.program import Program
from tests.web.visitor import Visitor, serving

TABLES = ("operations", "files", "members", "directories", "operation_files", "jobs", "seals")


@pytest.fixture
def mgmt(on_directory: Program) -> Program:
    """Two archives with folders, one failed upload, one failed verification."""
    for trip in ("lisbon", "porto"):
        (on_directory.work / trip / "day 1" / "raw").mkdir(parents=True)
        for number in range(3):
            (on_directory.work / trip / "day 1" / f"IMG_{number}.jpg").write_text(f"{trip}{number}")
        (on_directory.work / trip / "day 1" / "raw" / "IMG_0.dng").write_text(trip)
        (on_directory.work / trip / "notes.txt").write_text(trip)
        (on_directory.work / trip / "link").symlink_to("notes.txt")
    on_directory.ok("upload", "lisbon", "porto", "--tag", "kind=photo")
    assert on_directory.run("upload", "missing").returncode == 4
    os.unlink(on_directory.home / "store" / "porto.tar.gz")
    assert on_directory.run("verify", "porto").returncode == 8
    return on_directory


@pytest.fixture
def visitor(mgmt: Program) -> Iterator[Visitor]:
    with serving(mgmt.records.url) as visitor:
        yield visitor


def number_of(mgmt: Program, key: str) -> int:
    ((number,),) = mgmt.records.rows("SELECT id FROM files WHERE path = ?", key)
    return int(number)


def newest(mgmt: Program, kind: str) -> str:
    found = mgmt.records.rows("SELECT operation_id FROM operations WHERE operation_type = ? ORDER BY seq DESC", kind)
    return str(found[0][0])


def content(mgmt: Program) -> dict[str, str]:
    """A hash of all rows of the catalog, and of its file if it is one."""
    found = {table: repr(sorted(map(repr, mgmt.records.rows(f"SELECT * FROM {table}")))) for table in TABLES}
    if mgmt.records.url.startswith("sqlite"):
        found["the file"] = mgmt.catalog.read_bytes().hex()
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found.items()}


def test_the_overview_has_the_figures_of_the_report(mgmt: Program, visitor: Visitor) -> None:
    seen = visitor.see("/")
    ((size,),) = mgmt.records.rows("SELECT sum(size) FROM files WHERE location = 's3'")
    assert f"{size / 1024:.1f} KiB" in seen.text
    assert "<svg" in seen.html


def test_the_figures_are_made_once_a_minute(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Report] = []

    def figures(catalog: Catalog) -> Report:
        made.append(gather(catalog))
        return made[-1]

    with serving(mgmt.records.url, figures) as visitor:
        threads = [threading.Thread(target=visitor.see, args=("/",)) for _ in range(5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(made) == 1
        monkeypatch.setattr("mgmt.web.kept_figures.time.monotonic", lambda: 1e12)
        visitor.see("/")
        assert len(made) == 2


def test_an_empty_catalog_has_all_pages(on_directory: Program) -> None:
    on_directory.ok("log")  # it creates the catalog
    with serving(on_directory.records.url) as visitor:
        assert "Nothing is archived yet." in visitor.see("/").text
        assert "Nothing is archived yet." in visitor.see("/archives").text
        assert "No operations." in visitor.see("/operations").text
        assert "Nothing in the catalog matches" in visitor.see("/search?q=x").text


def test_the_archives_are_listed_in_pages(mgmt: Program, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = visitor.see("/archives").text
    assert "lisbon.tar.gz" in seen
    assert mgmt.json("status", "lisbon.tar.gz")["sentence"] in seen
    assert "At risk: " in seen  # a verification has found that the other one is missing
    monkeypatch.setattr("mgmt.web.views.LISTED", 1)
    first = visitor.see("/archives")
    assert first.rows == 1
    following = first.html.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = visitor.see(following)
    assert second.rows == 1
    assert {"lisbon" in first.text, "lisbon" in second.text} == {True, False}
    assert "Next page" not in second.text
    assert "First page" in second.text


def test_an_archive_shows_what_where_proof_and_history(mgmt: Program, visitor: Visitor) -> None:
    seen = visitor.see(f"/archives/{number_of(mgmt, 'lisbon.tar.gz')}")
    for text in (
        "What",
        "Where",
        "Proof",
        "History",
        "kind (tag) photo",
        f"file://{mgmt.home}/store",
        "upload",
        "lisbon/",
    ):
        assert text in seen.text, text
    assert str(mgmt.work / "completed" / "lisbon") in seen.text
    first = mgmt.records.rows("SELECT operation_id FROM files WHERE path = 'lisbon.tar.gz'")[0][0]
    assert f'href="/operations/{first}"' in seen.html


def test_a_folder_opens_on_its_page_and_as_a_part(mgmt: Program, visitor: Visitor) -> None:
    number = number_of(mgmt, "lisbon.tar.gz")
    top = visitor.see(f"/parts/folder/{number}")
    assert top.text.startswith("lisbon/")
    inside = visitor.see(f"/parts/folder/{number}?folder=lisbon")
    assert inside.text.split(" Open this folder ")[0] == "day 1/"
    assert "link → notes.txt" in inside.text
    deeper = visitor.see(f"/archives/{number}?folder=lisbon/day+1")
    assert "lisbon.tar.gz / lisbon / day 1" in deeper.text
    assert "raw/" in deeper.text
    assert "IMG_2.jpg 7 B" in deeper.text
    assert "<title>lisbon.tar.gz - mgmt</title>" in deeper.html
    assert "IMG_0.dng" not in deeper.text


def test_a_large_folder_comes_in_pages(mgmt: Program, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.web.views.LISTED", 2)
    target, names = f"/parts/folder/{number_of(mgmt, 'lisbon.tar.gz')}?folder=lisbon%2Fday+1", []
    while target:
        seen = visitor.see(target)
        assert seen.rows <= 2
        names += [word for word in seen.text.split() if word.startswith(("IMG", "raw"))]
        target = seen.html.partition('class="more" data-part="')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(names) == ["IMG_0.jpg", "IMG_1.jpg", "IMG_2.jpg", "raw/"]


def test_an_archive_whose_members_are_not_recorded_says_so(mgmt: Program, visitor: Visitor) -> None:
    number = number_of(mgmt, "lisbon.tar.gz")
    mgmt.records.change("DELETE FROM members WHERE archive_id = ?", number)
    assert "The catalog has no list of its members." in visitor.see(f"/archives/{number}").text


def test_a_search_finds_archives_and_members(mgmt: Program, visitor: Visitor) -> None:
    assert "lisbon.tar.gz" in visitor.see("/search?q=ISBO").text
    assert visitor.see("/search?q=IMG_2").text.count("IMG_2.jpg") == 2
    assert "lisbon/day 1/raw/IMG_0.dng" in visitor.see("/search?q=raw%2Fimg").text
    assert "Nothing in the catalog matches" in visitor.see("/search?q=nothing+has+this").text
    assert "Type a part of a name" in visitor.see("/search").text


def test_a_word_that_is_being_typed_finds_the_beginnings_of_archives_and_members(visitor: Visitor) -> None:
    assert visitor.see("/parts/search").text == ""
    assert "lisbon.tar.gz" in visitor.see("/parts/search?q=l").text
    assert "lisbon.tar.gz" in visitor.see("/parts/search?q=LISB").text
    assert "Nothing so far" in visitor.see("/parts/search?q=im").text
    assert visitor.see("/parts/search?q=img").text.count("IMG_") == 8
    assert "lisbon/notes.txt" in visitor.see("/parts/search?q=Notes").text


def test_operations_are_filtered_and_paged(mgmt: Program, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    (((month,),)) = {(str(each)[:7],) for (each,) in mgmt.records.rows("SELECT started_at FROM operations")}
    everything = visitor.see("/operations")
    assert everything.rows == len(mgmt.records.rows("SELECT 1 FROM operations"))
    assert visitor.see(f"/operations?type=&status=&month={month}").rows == everything.rows
    assert visitor.see("/operations?month=1999-12").rows == 0
    failed = visitor.see("/operations?status=failed")
    assert failed.rows == 2
    assert "there is no such file" in failed.text
    assert visitor.see("/operations?status=failed&type=verify").rows == 1
    monkeypatch.setattr("mgmt.web.views.LISTED", 1)
    first = visitor.see("/operations?status=failed")
    following = first.html.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "status=failed" in following
    assert visitor.see(following).rows == 1


def test_a_failed_operation_shows_its_error_and_the_command_to_type(mgmt: Program, visitor: Visitor) -> None:
    failed = newest(mgmt, "verify")
    seen = visitor.see(f"/operations/{failed}")
    assert "porto.tar.gz is missing from the store" in seen.text
    assert f"<code>mgmt retry {failed}</code>" in seen.html


def test_an_operation_has_an_address_whatever_its_id_is(mgmt: Program) -> None:
    """Another program may have written it."""
    odd = UploadRecord(operation_id="../a b?x=1#é&%2F;<i>", target_path="/odd", status=Status.CANCELLED)
    with MetadataManager(mgmt.records.url) as records:
        records.save_operation(odd)
    with serving(mgmt.records.url) as visitor:
        listed = visitor.see("/operations?status=cancelled")
        address = unescape(listed.html.partition("<tbody>")[2].partition('href="')[2].partition('"')[0])
        assert "/odd" in visitor.see(address).text
        assert shlex.quote(odd.operation_id) in visitor.see(address).text


def test_a_batch_shows_its_operations(mgmt: Program, visitor: Visitor) -> None:
    seen = visitor.see(f"/operations/{newest(mgmt, 'batch')}")
    assert "Operations of this batch" in seen.text
    assert {"lisbon" in seen.text, "porto" in seen.text} == {True}
    assert "What to do next" not in seen.text


MISSING = {
    404: (
        "/nowhere", "/Archives", "/archives/99999", "/archives/1/", "/operations/", "/operations/x", "/parts", "/%00",
        "/operations?after=x", "/archives?after=99999", "/parts/folder/99999", "/archives/2/../1", "/parts/search/x",
    ),
    400: (
        "/archives/", "/archives/x", "/archives/-1", "/archives/%D9%A3", "/archives?after=x", "/operations?status=x",
        "/operations?month=2026-13", "/operations?month=2026", "/operations?month=9999-12", "/operations?month=0000-01",
        "/search?" + "q=x&" * 17, "/search?q=%00",
    ),
}  # fmt: skip


def test_what_there_is_not_is_said_without_internals(visitor: Visitor) -> None:
    for status, targets in MISSING.items():
        for target in targets:
            seen = visitor.ask(target)
            assert seen.status == status, (target, seen.text)
            assert not re.search("Traceback|SELECT|File &#34;", seen.html)


SEARCHED = ("/search?q={}", "/parts/search?q={}")
FILTERED = ("/operations?type={}", "/archives/NUMBER?folder={}", "/parts/folder/NUMBER?folder={}")
PARAMETERS = (
    *SEARCHED, *FILTERED, "/{}", "/archives/{}", "/operations/{}", "/parts/folder/{}", "/parts/{}", "/archives?{}={}",
    "/archives?after={}", "/operations?status={}", "/operations?month={}", "/operations?after={}",
    "/archives/NUMBER?after={}", "/parts/folder/NUMBER?folder=lisbon/{}&after={}",
)  # fmt: skip
NAMES = ("lisbon", "porto", "day 1", "raw", "IMG_0.jpg", "IMG_0.dng", "notes.txt", "link", "lisbon.tar.gz", "")


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.torture)])
def test_an_injection_finds_no_more_than_was_asked_for_and_writes_nothing(
    mgmt: Program, visitor: Visitor, step: int, figure: Figure
) -> None:
    """By default each parameter is given other texts."""
    before, number, tried = content(mgmt), number_of(mgmt, "lisbon.tar.gz"), 0
    for first, parameter in enumerate(PARAMETERS):
        target = parameter.replace("NUMBER", str(number))
        for text in (*PATHS, *SQL, *SCRIPTS)[first % step :: step]:
            seen = visitor.ask(target.replace("{}", quote(text, safe="", errors="surrogateescape")))
            assert seen.status in (200, 400, 403, 404, 414), (parameter, text, seen.status)
            assert not re.search("Traceback|root:x:0", seen.html), text
            assert not any(script in seen.html for script in SCRIPTS if re.search('[<>"].*[<>"]', script)), text
            assert "x-injected" not in seen.headers
            if parameter in SEARCHED and not any(
                text.casefold().rpartition("/")[2] in name.casefold() for name in NAMES
            ):
                assert seen.rows == 0, text
            if parameter in FILTERED:
                inside = seen.html.partition('id="inside"')[2].partition("<h2>History")[0]
                assert "<li>" not in (inside if parameter.startswith("/archives") else seen.html), text
                assert not parameter.startswith("/operations") or seen.rows == 0, text
            tried += 1
            # As few clients encode it.
            plain = visitor.ask(target.replace("{}", quote(text, safe="/%?#;*'&=", errors="surrogateescape")))
            assert plain.status in (200, 303, 400, 403, 404, 414), (parameter, text, plain.status)
    assert content(mgmt) == before
    figure("security", "injections into pages", tried=tried, violations=0)


def test_naughty_names_tags_and_errors_are_shown_as_text(on_directory: Program) -> None:
    folder = on_directory.work / "<b>folder</b>".replace("/", "")
    folder.mkdir()
    for name in NAUGHTY:
        (folder / name).write_text("x")
    os.mkdir(os.fsencode(folder) + b"/\xff\xfe")
    (folder / os.fsdecode(b"\xff\xfe") / "inner <i>").write_text("x")
    on_directory.ok("upload", folder, "--tag", "<img src=x>=<script>alert(1)</script>", "--key", "k.tar.gz")
    on_directory.run("upload", "--", "<script>alert(1)<script>", "{{7*7}}", "javascript:alert(1)")
    with serving(on_directory.records.url) as visitor:
        number = number_of(on_directory, "k.tar.gz")
        pages = [visitor.see(target) for target in ("/", "/archives", f"/archives/{number}", "/operations")]
        part = f"/parts/folder/{number}?folder={quote(folder.name)}"
        shown, target = 0, part
        while target:
            pages.append(visitor.see(target))
            shown += pages[-1].rows
            target = pages[-1].html.partition('class="more" data-part="')[2].partition('"')[0].replace("&amp;", "&")
        assert shown == len(NAUGHTY) + 1
        deep = visitor.see(f"/parts/folder/{number}?folder={quote(folder.name)}/%FF%FE")
        assert deep.text == "inner <i> 1 B"
        pages += [deep, visitor.see("/search?q=script"), visitor.see("/parts/search?q=script")]
        for (each,) in on_directory.records.rows("SELECT operation_id FROM operations"):
            pages.append(visitor.see(f"/operations/{each}"))
        for seen in pages:
            scripts = seen.html.count("<script")
            assert scripts == seen.html.count("</script>")
            assert scripts <= 2 + seen.html.count('<script type="application/json"')
            for text in (
                "<img",
                "<b>",
                "<i>",
                "<script>alert",
                "onerror=alert(1)>",
                "\x1b",
                "\u202e",
                "\x00",
                "&lt;script&gt;49",
            ):
                assert text not in seen.html.replace("<i></i>", ""), text
        assert any("{{7*7}}" in seen.text for seen in pages)


def test_a_browser_cannot_write_by_any_request(mgmt: Program, visitor: Visitor) -> None:
    before = content(mgmt)
    for target in ("/", "/archives", "/operations", "/search?q=IMG", "/parts/search?q=IMG"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
            visitor.ask(target, method)
    assert content(mgmt) == before


def test_the_store_is_never_read(mgmt: Program, visitor: Visitor) -> None:
    shutil.rmtree(mgmt.home / "store")
    for target in ("/", "/archives", f"/archives/{number_of(mgmt, 'lisbon.tar.gz')}", "/operations", "/search?q=IMG"):
        visitor.see(target)


def test_an_upload_while_pages_are_read_is_not_blocked_and_then_shown(mgmt: Program, visitor: Visitor) -> None:
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(visitor.see("/archives").rows + visitor.see("/parts/search?q=IMG").rows)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    try:
        for number in range(3):
            (mgmt.work / f"new {number}").write_text("x")
            mgmt.ok("upload", f"new {number}")
    finally:
        stop.set()
        for each in readers:
            each.join()
    assert seen
    assert "new 2" in visitor.see("/archives").text
    left = os.listdir(mgmt.catalog.parent) if mgmt.catalog.parent.exists() else []
    assert not [name for name in left if name.endswith(("-wal", "-shm"))]


@pytest.mark.sqlite
def test_a_catalog_that_is_gone_replaced_or_broken_is_said_and_the_server_goes_on(
    mgmt: Program, visitor: Visitor
) -> None:
    aside = mgmt.catalog.with_suffix(".aside")
    assert visitor.see("/archives").rows == 2
    mgmt.catalog.rename(aside)
    gone = visitor.ask("/archives")
    assert (gone.status, "There is no catalog at" in gone.text) == (503, True)
    mgmt.catalog.write_text("this is no database")
    broken = visitor.ask("/archives")
    assert (broken.status, "is not a catalog" in broken.text) == (503, True)
    assert "Traceback" not in broken.html
    aside.rename(mgmt.catalog)
    assert visitor.see("/archives").rows == 2


@pytest.mark.sqlite
def test_a_locked_catalog_is_said(mgmt: Program, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.catalog.db.engine.BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(mgmt.catalog, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE x (y)")
        busy = visitor.ask("/archives")
        other.execute("ROLLBACK")
    assert (busy.status, "is locked by another program" in busy.text) == (503, True)
    assert visitor.see("/archives").rows == 2


@pytest.mark.sqlite
def test_an_older_catalog_is_said(mgmt: Program, visitor: Visitor) -> None:
    mgmt.records.change("UPDATE alembic_version SET version_num = '0001'")
    old = visitor.ask("/archives")
    assert (old.status, "mgmt db upgrade" in old.text) == (503, True)


def test_too_many_readers_at_a_time_are_told_so(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgmt.catalog.db.read_only.WAIT_SECONDS", 0.01)
    entered, leave = threading.Semaphore(0), threading.Event()

    def wait(*_: object, **__: object) -> list[object]:
        entered.release()
        leave.wait(60)
        return []

    monkeypatch.setattr("mgmt.services.browse.archives", wait)
    readers = [threading.Thread(target=visitor.ask, args=("/archives",)) for _ in range(4)]
    for each in readers:
        each.start()
    for _ in readers:
        entered.acquire(timeout=60)
    busy = visitor.ask("/operations")
    leave.set()
    for each in readers:
        each.join()
    assert (busy.status, "read by too many others" in busy.text) == (503, True)
    assert visitor.see("/operations").rows
