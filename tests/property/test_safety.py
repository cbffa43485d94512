"""The sentence about a file is true: it says no more than `free` would find in stores that are as the catalog knows."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mgmt.archive import Contents, covers
from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    FileRecord,
    FileStatus,
    FreeRecord,
    Location,
    RestoreRecord,
    Role,
    UndeleteRecord,
    UploadRecord,
    VerifyRecord,
    open_catalog,
    this_host,
)
from mgmt.catalog.files.exposed import Exposed
from mgmt.choices import NO_XATTRS
from mgmt.errors import (
    IntegrityError,
    MgmtError,
    NotFoundError,
    NotReadyError,
    Problem,
    ProblemError,
    RefusedError,
    StoreError,
)
from mgmt.progress import NoProgress
from mgmt.services.steps import copies, proof
from mgmt.services.steps.altered import note_altered
from mgmt.services.steps.context import Context
from mgmt.services.steps.copies import Copies, content_claim
from mgmt.services.steps.safety import Fault, Level, safeties, safety_of
from mgmt.storage import Capabilities, StoredObject
from tests.catalogs import Catalogs

KEPT = ("", "owners:a", "xattrs:b", "owners:a xattrs:b", NO_XATTRS, f"owners:a {NO_XATTRS}")
BY_CHECKSUM = "server-checksum crc64nvme"
NOW = datetime.now(UTC)
numbers = itertools.count()

FAULTS = {"missing": Problem.MISSING, "corrupt": Problem.CORRUPT}
OF_COPIES = ("edited", "proven", "unproven")
EVENTS = ("sound", "missing", "corrupt", "unreachable", "deleted", "undeleted")


@dataclass(frozen=True)
class Archive:
    """One archive of the content: how it was recorded, and what happened to it since."""

    kept: str
    knows_kept: bool
    proof: str | None
    trusted: bool
    thaw: str | None
    """None for a class that does not freeze; else what the catalog knows of its restore."""
    has_id: bool
    events: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What the catalog has of one content, and whether a copy of it is just being removed."""

    archives: tuple[Archive, ...]
    kept: str
    knows_kept: bool
    hosts: tuple[bool, ...]
    """The copies in completed/: whether each is on this host."""
    found: tuple[tuple[str, ...], ...]
    """What happened to each of these copies, in this order."""
    looked: tuple[str | None, ...]
    """What a look at each of these copies has just shown."""
    left_out: int | None
    """How much the upload of the original, which is still there, has left out; None without an original."""
    claimed: bool
    same_object: bool
    """Whether the first archive is recorded again, under another URL of its store."""


archives = st.builds(
    Archive,
    kept=st.sampled_from(KEPT),
    knows_kept=st.booleans(),
    proof=st.sampled_from((None, "read-back", BY_CHECKSUM)),
    trusted=st.booleans(),
    thaw=st.sampled_from((None, None, "frozen", "ready", "expired", "thawing")),
    has_id=st.booleans(),
    events=st.lists(st.sampled_from(EVENTS), max_size=4).map(tuple),
)
states = st.builds(
    State,
    archives=st.lists(archives, max_size=3).map(tuple),
    kept=st.sampled_from(KEPT),
    knows_kept=st.booleans(),
    hosts=st.lists(st.booleans(), max_size=2).map(tuple),
    found=st.lists(st.lists(st.sampled_from(OF_COPIES), max_size=3).map(tuple), min_size=2, max_size=2).map(tuple),
    looked=st.tuples(*[st.sampled_from((None, None, "edited", "gone"))] * 2),
    left_out=st.sampled_from((None, 0, 3)),
    claimed=st.sampled_from((False, False, True)),
    same_object=st.booleans(),
)


class World:
    """The content of a `State` in the catalog, and stores that are exactly as the catalog knows them."""

    def __init__(self, state: State, catalog: Catalog) -> None:
        self.catalog, self.state, self.digest = catalog, state, f"d{next(numbers)}"
        self.truth: dict[str, tuple[Archive, str]] = {}
        """By store: the archive in it, and what the last look found."""
        self.archives = [self._archive(each) for each in state.archives]
        if state.same_object and self.archives:
            self.archives.append(self._archive(state.archives[0], self.archives[0].archive_id))
        self.copies = [self._copy(is_here) for is_here in state.hosts]
        self.edited = {
            copy.id for copy, events in zip(self.copies, state.found, strict=False) if self._compare(copy, events)
        }
        self.original = None if state.left_out is None else self._original(state.left_out)

    def _archive(self, spec: Archive, archive_id: str | None = None) -> FileRecord:
        store, record = f"s3://b{next(numbers)}", None
        # A store that is as the catalog knows it has the checksum that has proven an archive.
        proof = "read-back" if spec.proof and not spec.trusted else spec.proof
        proven = {"proof": proof, "proven_at": NOW - timedelta(days=3)} if proof else {}
        record = self.catalog.metadata.save_file_record(
            FileRecord(
                path="a.tar.gz", s3_object_key="a.tar.gz", location=Location.S3, store=store, digest=self.digest,
                status=FileStatus.COMPLETED, size=1, object_checksum="crc64nvme:x",
                kept=spec.kept if spec.knows_kept else None, archive_id=archive_id or store if spec.has_id else None,
                storage_class="STANDARD" if spec.thaw is None else "GLACIER", **proven,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        if spec.thaw in ("ready", "expired"):
            later = timedelta(days=1 if spec.thaw == "ready" else -1)
            asked = RestoreRecord(
                store=store, s3_object_key="a.tar.gz", archive_id=record.archive_id, requested_at=NOW,
                expires_at=NOW + later,
            )  # fmt: skip
            with self.catalog.journal.record(asked):
                pass
        elif spec.thaw == "thawing":
            waits = RestoreRecord(
                store=store, s3_object_key="a.tar.gz", archive_id=record.archive_id, requested_at=NOW
            )  # fmt: skip
            self.catalog.metadata.save_operation(waits)
        found = "sound"
        for happened in spec.events:
            found = self._happens(happened, record, spec, found)
        self.truth[store] = (spec, found)
        return record

    def _happens(self, what: str, record: FileRecord, spec: Archive, found: str) -> str:
        """Record what happened; returns what is known of the object from then on."""
        journal = self.catalog.journal
        is_deleted = record.status is FileStatus.DELETED
        if what in ("deleted", "undeleted"):
            if is_deleted is (what == "deleted"):
                return found
            kind = DeleteRecord if what == "deleted" else UndeleteRecord
            with journal.record(kind(target_path=record.store)) as operation:
                journal.link(operation, record, Role.ARCHIVE)
                record.status = FileStatus.DELETED if what == "deleted" else FileStatus.COMPLETED
            return found
        if is_deleted:
            return found
        try:
            with journal.record(VerifyRecord(target_path=record.store)) as operation:
                journal.link(operation, record, Role.ARCHIVE)
                journal.checkpoint()
                if what in FAULTS:
                    operation.details = {"problem": FAULTS[what].value}
                    journal.checkpoint()
                    raise ProblemError(FAULTS[what], f"{record.store} is {what}")
                if what == "unreachable":
                    raise StoreError("no answer")
                record.proof = BY_CHECKSUM if spec.trusted else "read-back"
                record.proven_at = NOW
        except MgmtError:
            return what if what in FAULTS else found
        return "sound"

    def _copy(self, is_here: bool, location: Location = Location.COMPLETED) -> FileRecord:
        kept = self.state.kept if self.state.knows_kept else None
        return self.catalog.metadata.save_file_record(
            FileRecord(
                path=f"/c/{next(numbers)}", location=location, host=this_host() if is_here else "other",
                status=FileStatus.COMPLETED, digest=self.digest, kept=kept,
            )
        )  # fmt: skip

    def _compare(self, copy: FileRecord, events: tuple[str, ...]) -> bool:
        """Record the comparisons of `copy`; returns whether the last one that tells anything found it changed."""
        journal, edited = self.catalog.journal, False
        for what in events:
            kind = UploadRecord if what == "proven" else FreeRecord
            with suppress(RefusedError), journal.record(kind(target_path=copy.path)) as operation:
                journal.link(operation, copy, Role.COMPLETED)
                journal.checkpoint()
                if what == "edited":
                    note_altered(operation, [copy], self.catalog)
                if what != "proven":
                    raise RefusedError("it stays")
            edited = what == "edited" or (edited and what == "unproven")
        return edited

    def _original(self, left_out: int) -> FileRecord:
        upload = UploadRecord(target_path="/o", skipped_count=left_out)
        with self.catalog.journal.record(upload):
            pass
        return self.catalog.metadata.save_file_record(
            FileRecord(
                path=f"/o/{next(numbers)}", location=Location.LOCAL, host=this_host(), status=FileStatus.COMPLETED,
                digest=self.digest, kept="", operation_id=upload.operation_id,
            )
        )  # fmt: skip

    def is_sound(self, archive: FileRecord) -> bool:
        """Whether it is stored and proven, and the last verification found no fault, by what was done to it."""
        is_stored = archive.status is FileStatus.COMPLETED
        return is_stored and archive.proof is not None and self.truth[str(archive.store)][1] == "sound"

    def free_would_prove(self) -> bool:
        """What `free` itself decides of a copy that is what its record says."""
        if self.state.claimed:
            return False

        def opened(url: str | None) -> Any:
            return _Store(str(url), *self.truth[str(url)], self)

        context = Context(open_store=opened, catalog=self.catalog, progress=NoProgress())
        seen: Any = SimpleNamespace(digest=self.digest, kept=self.state.kept)
        with pytest.MonkeyPatch.context() as patch:
            for module in (copies, proof):
                patch.setattr(module, "read_back", _read_back)
            try:
                Copies(context).archive_of(seen, "copy")
            except MgmtError:
                return False
            return True


class _Store:
    """A store that holds the archive, or holds it no more, or holds something else."""

    versions = None

    def __init__(self, url: str, spec: Archive, found: str, world: World) -> None:
        self.url, self.spec, self.found, self.digest = url, spec, found, world.digest

    def location(self, key: str) -> str:
        return f"{self.url}/{key}"

    def capabilities(self) -> Capabilities:
        return Capabilities(checksum="crc64nvme" if self.spec.trusted else None)

    def head(self, key: str) -> StoredObject:
        if self.found == "missing":
            raise NotFoundError("missing")
        return StoredObject(
            key, size=1, etag="e", frozen=self.spec.thaw not in (None, "ready"), thawing=self.spec.thaw == "thawing"
        )

    def read(self, *_: object, **__: object) -> bytes:
        raise NotReadyError("frozen")

    def prove(self, _key: str, _sent: object) -> str | None:
        if self.spec.trusted and self.found == "corrupt":
            raise IntegrityError("corrupt")
        return "crc64nvme" if self.spec.trusted else None


def _read_back(store: _Store, *_: object) -> Contents:
    if store.found != "sound":
        raise IntegrityError("corrupt")
    return Contents(store.digest, 1, 1, owners="", xattrs="", kept=store.spec.kept)


def _counts_only_what_is_there(world: World, files: list[FileRecord]) -> None:
    """Let a look at the copies show that some are gone or edited: none of these may be freed, and all are named."""
    shown = {copy.id: what for copy, what in zip(world.copies, world.state.looked, strict=False) if what is not None}
    faults = {each: Fault(f"is {what}", is_gone=what == "gone") for each, what in shown.items()}
    bad = shown.keys() | world.edited
    for each in files:
        said = safety_of(each, world.catalog, faults=faults).sentence
        assert "may be freed" not in said or (len(bad) < len(world.copies) and world.free_would_prove())
        assert "completed/" not in said or len(bad) < len(world.copies)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, catalogs: Catalogs) -> Iterator[Catalog]:
    opened = open_catalog(catalogs.at(tmp_path_factory.mktemp("catalog")).url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def made(catalog: Catalog) -> Callable[[State], World]:
    return lambda state: World(state, catalog)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(states)
def test_the_sentence_is_no_more_than_free_would_find(made: Callable[[State], World], state: State) -> None:
    world = made(state)
    catalog = world.catalog
    with ExitStack() as stack:
        if state.claimed:
            free = FreeRecord(target_path="/c/elsewhere")
            stack.enter_context(catalog.journal.record(free, claim=content_claim(world.digest)))
        files = [*world.archives, *world.copies]
        found = safeties(files, catalog)
        assert all(found[each.id] == safety_of(each, catalog) for each in files[:1])
        sound = [each for each in world.archives if world.is_sound(each)]
        for archive in world.archives:
            level = found[archive.id].level
            event(level)
            assert (level is Level.SAFE) is (archive in sound)
            assert (level is Level.DELETED) is (archive.status is FileStatus.DELETED)
        for copy in world.copies:
            holding = [e for e in sound if None in (e.kept, copy.kept) or covers(str(e.kept), str(copy.kept))]
            assert (found[copy.id].level is Level.SAFE) is (bool(holding) and copy.id not in world.edited)
        if (original := world.original) is not None:
            partly = safety_of(original, catalog)
            assert (partly.level is Level.SAFE) <= (not state.left_out)
            assert ("partly archived: 3 left out" in partly.sentence) is bool(state.left_out)
        says = [each for each in found.values() if "may be freed" in each.sentence]
        event(f"may be freed: {bool(says)}")
        assert all(each.level is Level.SAFE for each in says)
        assert not says or (world.free_would_prove() and len(world.edited) < len(world.copies))
        for copy in world.copies:
            assert copy.id not in world.edited or f"{copy.path} was found changed today" in found[copy.id].sentence
        _counts_only_what_is_there(world, files)
        known = all(each.knows_kept and each.has_id for each in state.archives) and state.knows_kept
        plain = [e for e in sound if world.truth[str(e.store)][0].thaw is None and covers(e.kept or "", state.kept)]
        assert not (known and plain and len(world.edited) < len(world.copies) and not state.claimed) or says
        for each in files:
            assert found[each.id].sentence.startswith(f"{found[each.id].level.capitalize()}: ")
            assert "\n" not in found[each.id].sentence


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(states)
def test_the_report_lists_the_archives_of_which_the_sentence_knows_no_other_copy(
    made: Callable[[State], World], state: State
) -> None:
    world = made(state)
    found = safeties(world.archives, world.catalog)
    alone = {
        each.store
        for each in world.archives
        if found[each.id].level is not Level.DELETED
        and ("no other copy is known" in found[each.id].sentence or ": 1 proven copy (" in found[each.id].sentence)
    }
    event(f"alone: {bool(alone)}")
    listed = Exposed(world.catalog.database).alone(10**6)
    assert alone == {each.store for each in listed.first} & {each.store for each in world.archives}
    assert listed.archives == len(listed.first)
