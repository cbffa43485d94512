"""The catalog: where each file is, which operations ran, and what each archive contains.

    catalog = open_catalog("sqlite:////home/me/.local/share/mgmt/catalog.db")
    with catalog.journal.record(UploadRecord(target_path=path), claim=path) as upload:
        ...

This is the only package that imports SQLAlchemy and Alembic. To map every record takes longer than most queries, so a
name is imported from its module when it is first used. Import `mgmt.catalog.schema.migrate` inside a function: Alembic
is slow to load.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgmt.catalog.audit.chain import Audit
    from mgmt.catalog.audit.ranges import RangeSet
    from mgmt.catalog.audit.verification import Anchor, Finding, Tampering, Verification
    from mgmt.catalog.db.database import Database
    from mgmt.catalog.db.read_only import ReadOnly
    from mgmt.catalog.db.revision import HEAD
    from mgmt.catalog.files.archive_keys import archive_keys
    from mgmt.catalog.files.endpoints import Endpoints
    from mgmt.catalog.files.file_lists import SORTS, FileLists
    from mgmt.catalog.files.filters import FileFilter
    from mgmt.catalog.files.holdings import By, Held, Holder, Holdings
    from mgmt.catalog.files.known_copies import MOST_COPIES, KnownCopies, KnownCopy
    from mgmt.catalog.files.lookups import IgnoredKeys
    from mgmt.catalog.files.members import MemberFacts, MemberRecord, Members
    from mgmt.catalog.files.metadata import MetadataManager
    from mgmt.catalog.files.page_rows import PageRows, PastOperation, StoredArchive
    from mgmt.catalog.files.sizes import Sizes, SizesOf
    from mgmt.catalog.files.statistics import Statistic, Statistics
    from mgmt.catalog.files.usage import Recent, Share, Usage
    from mgmt.catalog.files.verdicts import Verdict, Verdicts
    from mgmt.catalog.operations.due import ANY, Wanted, host_queue
    from mgmt.catalog.operations.ending import End
    from mgmt.catalog.operations.heartbeat import Advance
    from mgmt.catalog.operations.journal import Journal
    from mgmt.catalog.operations.moving import Stranded, move_from, stranded
    from mgmt.catalog.operations.outbox import SILENCE, Outbox
    from mgmt.catalog.operations.queue import NewJob, Queue, target_of
    from mgmt.catalog.operations.schedules import Schedules
    from mgmt.catalog.operations.taking import Jobs
    from mgmt.catalog.operations.thaws import Thaws
    from mgmt.catalog.operations.waiting import waited_for
    from mgmt.catalog.records.cold import ClassRecord, LockRecord, RestoreRecord, TagRecord, UndeleteRecord
    from mgmt.catalog.records.endpoint import EndpointRecord
    from mgmt.catalog.records.enums import FileStatus, Location, Place, Role, Scope, Status
    from mgmt.catalog.records.files import FileRecord
    from mgmt.catalog.records.inspections import SearchRecord, StatusRecord, VerifyRecord
    from mgmt.catalog.records.jobs import DependencyRecord, JobRecord, OutboxRecord, ScheduleRecord
    from mgmt.catalog.records.maintenance import (
        BatchRecord,
        ConfigRecord,
        DeleteRecord,
        FreeRecord,
        IgnoreRecord,
        PruneRecord,
        RebuildRecord,
        RecoverRecord,
        UndoRecord,
    )
    from mgmt.catalog.records.operations import OperationRecord
    from mgmt.catalog.records.process import this_host
    from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord

__all__ = [
    "ANY",
    "HEAD",
    "MOST_COPIES",
    "SILENCE",
    "SORTS",
    "Advance",
    "Anchor",
    "Audit",
    "BatchRecord",
    "By",
    "Catalog",
    "ClassRecord",
    "ConfigRecord",
    "Database",
    "DeleteRecord",
    "DependencyRecord",
    "DownloadRecord",
    "End",
    "EndpointRecord",
    "Endpoints",
    "FileFilter",
    "FileLists",
    "FileRecord",
    "FileStatus",
    "Finding",
    "FreeRecord",
    "Held",
    "Holder",
    "Holdings",
    "IgnoreRecord",
    "IgnoredKeys",
    "JobRecord",
    "Jobs",
    "Journal",
    "KnownCopies",
    "KnownCopy",
    "Location",
    "LockRecord",
    "MemberFacts",
    "MemberRecord",
    "Members",
    "MetadataManager",
    "NewJob",
    "OperationRecord",
    "Outbox",
    "OutboxRecord",
    "PageRows",
    "PastOperation",
    "Place",
    "PruneRecord",
    "Queue",
    "RangeSet",
    "ReadOnly",
    "RebuildRecord",
    "Recent",
    "RecoverRecord",
    "RestoreRecord",
    "Role",
    "ScheduleRecord",
    "Schedules",
    "Scope",
    "SearchRecord",
    "Share",
    "Sizes",
    "SizesOf",
    "Statistic",
    "Statistics",
    "Status",
    "StatusRecord",
    "StoredArchive",
    "Stranded",
    "TagRecord",
    "Tampering",
    "Thaws",
    "UndeleteRecord",
    "UndoRecord",
    "UploadRecord",
    "Usage",
    "Verdict",
    "Verdicts",
    "Verification",
    "VerifyRecord",
    "Wanted",
    "archive_keys",
    "host_queue",
    "move_from",
    "open_catalog",
    "stranded",
    "target_of",
    "this_host",
    "waited_for",
]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "audit.chain": ("Audit",),
    "audit.ranges": ("RangeSet",),
    "audit.verification": ("Anchor", "Finding", "Tampering", "Verification"),
    "db.database": ("Database",),
    "db.read_only": ("ReadOnly",),
    "db.revision": ("HEAD",),
    "files.archive_keys": ("archive_keys",),
    "files.endpoints": ("Endpoints",),
    "files.file_lists": ("SORTS", "FileLists"),
    "files.filters": ("FileFilter",),
    "files.holdings": ("By", "Held", "Holder", "Holdings"),
    "files.known_copies": ("MOST_COPIES", "KnownCopies", "KnownCopy"),
    "files.lookups": ("IgnoredKeys",),
    "files.members": ("MemberFacts", "MemberRecord", "Members"),
    "files.metadata": ("MetadataManager",),
    "files.sizes": ("Sizes", "SizesOf"),
    "files.statistics": ("Statistic", "Statistics"),
    "files.page_rows": ("PageRows", "PastOperation", "StoredArchive"),
    "files.usage": ("Recent", "Share", "Usage"),
    "files.verdicts": ("Verdict", "Verdicts"),
    "operations.due": ("ANY", "Wanted", "host_queue"),
    "operations.ending": ("End",),
    "operations.heartbeat": ("Advance",),
    "operations.journal": ("Journal",),
    "operations.moving": ("Stranded", "move_from", "stranded"),
    "operations.outbox": ("SILENCE", "Outbox"),
    "operations.queue": ("NewJob", "Queue", "target_of"),
    "operations.schedules": ("Schedules",),
    "operations.taking": ("Jobs",),
    "operations.thaws": ("Thaws",),
    "operations.waiting": ("waited_for",),
    "records.cold": ("ClassRecord", "LockRecord", "RestoreRecord", "TagRecord", "UndeleteRecord"),
    "records.endpoint": ("EndpointRecord",),
    "records.enums": ("FileStatus", "Location", "Place", "Role", "Scope", "Status"),
    "records.files": ("FileRecord",),
    "records.inspections": ("SearchRecord", "StatusRecord", "VerifyRecord"),
    "records.jobs": ("DependencyRecord", "JobRecord", "OutboxRecord", "ScheduleRecord"),
    "records.maintenance": (
        "BatchRecord",
        "ConfigRecord",
        "DeleteRecord",
        "FreeRecord",
        "IgnoreRecord",
        "PruneRecord",
        "RebuildRecord",
        "RecoverRecord",
        "UndoRecord",
    ),
    "records.operations": ("OperationRecord",),
    "records.process": ("this_host",),
    "records.transfers": ("DownloadRecord", "UploadRecord"),
}
"""The names that each module defines."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import `name` from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


class Catalog:
    """One database, and the interfaces to it, each made when it is first used."""

    def __init__(self, database: "Database") -> None:
        self.database = database
        self._advance: Advance | None = None
        self.at_begin: list[Callable[[OperationRecord], None]] = []
        """Called when an operation has begun here."""
        database.before_writing(lambda: self.audit)  # whatever finishes is hashed, whoever writes it

    @cached_property
    def files(self) -> "FileLists":
        """Lists of files, for what needs nothing else."""
        from mgmt.catalog.files.file_lists import FileLists

        return FileLists(self.database)

    @cached_property
    def metadata(self) -> "MetadataManager":
        """Records of files and operations."""
        from mgmt.catalog.files.metadata import MetadataManager

        return MetadataManager(self.database)

    @cached_property
    def members(self) -> "Members":
        """The members of archives."""
        from mgmt.catalog.files.members import Members

        return Members(self.database)

    @cached_property
    def journal(self) -> "Journal":
        """The life of operations."""
        from mgmt.catalog.operations.journal import Journal

        journal = Journal(self.database)
        if self._advance is not None:
            journal.watch(self._advance)
        journal.at_begin = self.at_begin
        return journal

    @cached_property
    def queue(self) -> "Queue":
        """Operations that are requested, and the workers that run them."""
        from mgmt.catalog.operations.queue import Queue

        return Queue(self.database)

    @cached_property
    def jobs(self) -> "Jobs":
        """The jobs of requested operations: which process takes which."""
        from mgmt.catalog.operations.taking import Jobs

        return Jobs(self.database)

    @cached_property
    def schedules(self) -> "Schedules":
        """Commands that run at certain times."""
        from mgmt.catalog.operations.schedules import Schedules

        return Schedules(self.database)

    @cached_property
    def outbox(self) -> "Outbox":
        """Notifications to deliver."""
        from mgmt.catalog.operations.outbox import Outbox

        return Outbox(self.database)

    @cached_property
    def thaws(self) -> "Thaws":
        """Restores of frozen archives."""
        from mgmt.catalog.operations.thaws import Thaws

        return Thaws(self.database)

    @cached_property
    def usage(self) -> "Usage":
        """Sums over the archives."""
        from mgmt.catalog.files.usage import Usage

        return Usage(self.database)

    @cached_property
    def sizes(self) -> "SizesOf":
        """How much the archives take."""
        from mgmt.catalog.files.sizes import SizesOf

        return SizesOf(self.database)

    @cached_property
    def statistics(self) -> "Statistics":
        """Figures of operations."""
        from mgmt.catalog.files.statistics import Statistics

        return Statistics(self.database)

    @cached_property
    def known_copies(self) -> "KnownCopies":
        """Where contents are, as recorded."""
        from mgmt.catalog.files.known_copies import KnownCopies

        return KnownCopies(self.database)

    @cached_property
    def verdicts(self) -> "Verdicts":
        """What operations have found out about archives and copies."""
        from mgmt.catalog.files.verdicts import Verdicts

        return Verdicts(self.database)

    @cached_property
    def endpoints(self) -> "Endpoints":
        """What is known of S3 endpoints."""
        from mgmt.catalog.files.endpoints import Endpoints

        return Endpoints(self.database)

    @cached_property
    def audit(self) -> "Audit":
        """The hashes and seals of operations."""
        from mgmt.catalog.audit.chain import Audit

        return Audit(self.database)

    def notify_at_end(self, messages: "Callable[[End], Iterable[OutboxRecord]]") -> None:
        """Write the messages about the end of each operation in the transaction that ends it, whoever ends it."""
        self.database.at_end.append(lambda session, end: self.outbox.write(session, messages(end)))

    def watch(self, advance: "Advance") -> None:
        """Let the heartbeats of operations say how far the current work is."""
        self._advance = advance

    def transaction(self) -> AbstractContextManager[object]:
        """Commit everything written inside together, or nothing."""
        return self.database.transaction()

    def for_thread(self) -> "Catalog":
        """The same catalog for another thread, with operations of its own: see `Database.for_thread`.

        Close its database, not this object: this catalog seals what has finished in that one, too.
        """
        return Catalog(self.database.for_thread())

    def close(self) -> None:
        """Seal the operations that have finished here, and close every connection."""
        try:
            if "audit" in self.__dict__:
                self.audit.close()
        finally:
            self.database.close()


def open_catalog(url: str, *, create: bool = True) -> Catalog:
    """Open the catalog at `url`: sqlite:///file or postgresql://user@host/database. It connects at first use.

    With `create`, an empty database gets its schema at first use. Without it nothing is created: neither a schema, nor
    the write-ahead log of an SQLite file that has none. Raises ConfigurationError for any other kind of URL; every
    later use raises CatalogError if the database is unreachable, locked, damaged, or its schema is older or newer.
    """
    from mgmt.catalog.db.database import Database

    return Catalog(Database(url, wal=create, initialize=_create_schema if create else None))


def _create_schema(database: "Database") -> None:
    from mgmt.catalog.schema import migrate  # Alembic takes long to import, and few commands need it

    migrate.upgrade(database)
