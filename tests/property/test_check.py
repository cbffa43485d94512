"""`mgmt check` and `mgmt diff` agree with a model in Python, over random trees and names."""

import hashlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mgmt.archive import Member
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, open_catalog
from mgmt.progress import NoProgress
from mgmt.services import check as checking
from mgmt.services.check import State, Summary, check
from mgmt.services.diff import Kind, diff
from mgmt.services.steps.context import Context
from tests.catalogs import Catalogs

few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
BEGAN = 1_700_000_000_000_000_000
numbers = itertools.count()

name = st.sampled_from(["a", "b.jpg", "ünï", os.fsdecode(b"\xff"), "\\xff", "two\nlines", "=1", "c d"])
path = st.lists(name, min_size=1, max_size=3).map(tuple)


@dataclass(frozen=True)
class File:
    """A file, or a link if it has a target."""

    content: bytes = b""
    mtime_ns: int = BEGAN
    link: str | None = None


file = st.builds(File, st.sampled_from([b"", b"1", b"2", b"22"]), st.sampled_from([BEGAN, BEGAN + 1, BEGAN + 10**9]))
link = st.builds(lambda target: File(link=target), name)
tree = st.dictionaries(path, file | link, max_size=6)
Tree = dict[tuple[str, ...], File]


@dataclass(frozen=True)
class Archived:
    """An archive that the catalog has, and whether it counts."""

    root: str
    tree: Tree
    counts: bool


archive = st.builds(Archived, name, tree, st.sampled_from([True, True, False]))


def pruned(files: Tree) -> Tree:
    """Without what is below a file."""
    return {path: each for path, each in files.items() if not any(path[:end] in files for end in range(1, len(path)))}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> Iterator[Catalog]:
    opened = open_catalog(catalogs.at(tmp_path_factory.mktemp("catalog")).url)
    yield opened
    opened.close()


@pytest.fixture
def context(catalog: Catalog) -> Context:
    def no_store(_: str | None) -> Any:
        raise AssertionError("the store is not asked")

    return Context(no_store, catalog, NoProgress())


def write(folder: Path, files: Tree) -> None:
    folder.mkdir(parents=True)
    for parts, each in files.items():
        at = folder.joinpath(*parts)
        at.parent.mkdir(parents=True, exist_ok=True)
        if each.link is not None:
            at.symlink_to(each.link)
        else:
            at.write_bytes(each.content)
        os.utime(at, ns=(each.mtime_ns, each.mtime_ns), follow_symlinks=False)


def member(path: str, each: File) -> Member:
    if each.link is not None:
        return Member(path, "l", 0o777, each.mtime_ns, 0, 0, 0, None, each.link)
    sha256 = hashlib.sha256(each.content).digest()
    return Member(path, "f", 0o644, each.mtime_ns, len(each.content), 0, 0, sha256, None)


def record(catalog: Catalog, archived: Archived) -> str:
    """Record an archive with its members; returns its URL."""
    key = f"{next(numbers)}.tar.gz"
    of_files = [member("/".join((archived.root, *parts)), each) for parts, each in archived.tree.items()]
    folder = Member(archived.root, "d", 0o755, BEGAN, 0, 0, 0, None, None)
    saved = catalog.metadata.save_file_record(
        FileRecord(
            path=key, s3_object_key=key, location=Location.S3, store="file:///s", status=FileStatus.COMPLETED,
            archive_id=key, proof="read-back" if archived.counts else None, member_count=1 + len(of_files),
        )
    )  # fmt: skip
    catalog.members.record(saved.id, [folder, *sorted(of_files, key=lambda each: os.fsencode(each.path).split(b"/"))])
    return f"file:///s/{key}"


def forget(catalog: Catalog, urls: list[str]) -> None:
    """Let no further example find these."""
    for url in urls:
        saved = catalog.metadata.find(url.rpartition("/")[2])[0]
        saved.status = FileStatus.DELETED
        catalog.metadata.save_file_record(saved)


def holds(archived: Archived, parts: tuple[str, ...], wanted: File, *, read: bool) -> bool:
    """The model of what is archived."""
    for at, each in archived.tree.items():
        if wanted.link is not None or each.link is not None:
            if (at[-1], each.link) == (parts[-1], wanted.link):
                return True
        elif (
            each.content == wanted.content
            if read
            else ((at[-1], len(each.content), each.mtime_ns) == (parts[-1], len(wanted.content), wanted.mtime_ns))
        ):
            return True
    return False


@few
@given(tree, st.lists(archive, max_size=3), st.booleans(), st.sampled_from([1, 2, 100]))
@example({("a",): File(b"1")}, [Archived("r", {("a",): File(b"2")}, counts=True)], False, 1)
@example({(os.fsdecode(b"\xff"),): File()}, [Archived("r", {("\\xff",): File()}, counts=True)], False, 1)
def test_check_finds_what_a_model_finds(
    catalog: Catalog, context: Context, tmp_path: Path, on_disk: Tree, archives: list[Archived], read: bool, size: int
) -> None:
    on_disk = pruned(on_disk)
    archives = [Archived(each.root, pruned(each.tree), each.counts) for each in archives]
    folder = tmp_path / str(next(numbers)) / "card"
    write(folder, on_disk)
    urls = [record(catalog, each) for each in archives]
    summary = Summary()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "BATCH", size)
        found = {each.path: each for each in check(os.fspath(folder), context, read=read, summary=summary)}
    forget(catalog, urls)
    assert sorted(found) == sorted(os.fspath(folder.joinpath(*parts)) for parts in on_disk)
    assert summary.files == len(on_disk)
    for parts, each in on_disk.items():
        where = {
            url
            for url, archived in zip(urls, archives, strict=True)
            if archived.counts and holds(archived, parts, each, read=read)
        }
        result = found[os.fspath(folder.joinpath(*parts))]
        assert (result.state is State.ARCHIVED) == bool(where)
        assert set(result.archives) == where
        assert result.copies == len(where)
        if result.state is State.DIFFERS:
            assert any(parts[-1] == at[-1] for archived in archives if archived.counts for at in archived.tree)
    assert summary.archived == sum(each.state is State.ARCHIVED for each in found.values())


@few
@given(tree, tree, st.booleans())
def test_diff_finds_what_a_model_finds(
    catalog: Catalog, context: Context, tmp_path: Path, archived: Tree, on_disk: Tree, read: bool
) -> None:
    archived, on_disk = pruned(archived), pruned(on_disk)
    folder = tmp_path / str(next(numbers)) / "card"
    write(folder, on_disk)
    url = record(catalog, Archived("root", archived, counts=True))
    differences = list(diff(url.rpartition("/")[2], os.fspath(folder), context, read=read))
    forget(catalog, [url])
    order = [os.fsencode(each.path).split(b"/") for each in differences]
    assert order == sorted(order)
    found = {each.path: each.kind for each in differences}
    for parts in archived.keys() | on_disk.keys():
        before, now = archived.get(parts), on_disk.get(parts)
        at = "/".join(("root", *parts))
        if before is None:
            is_folder = any(each[: len(parts)] == parts for each in archived)  # which this archive does not list
            assert found[at] is Kind.ADDED or is_folder
        elif now is None:
            expected = Kind.CHANGED if folder.joinpath(*parts).is_dir() else Kind.REMOVED
            assert found[at] is expected
        elif (before.link is None) != (now.link is None):
            assert found[at] is Kind.CHANGED
        elif before.link is not None:
            assert (found.get(at) is Kind.METADATA) == (before != now)
        elif before.content != now.content if read else len(before.content) != len(now.content):
            assert found[at] is Kind.CHANGED
        elif before.mtime_ns != now.mtime_ns:
            assert found[at] is (Kind.METADATA if read else Kind.CHANGED)
        else:
            assert at not in found
