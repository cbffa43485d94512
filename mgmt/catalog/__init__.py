"""The catalog: where each file is, which operations ran, and what each archive contains.

    catalog = open_catalog("sqlite:////home/me/.local/share/mgmt/catalog.db")
    with catalog.journal.record(UploadRecord(target_path=path), claim=path) as upload:
        ...

This is the only package that imports SQLAlchemy and Alembic. Import `mgmt.catalog.schema.migrate` inside a function:
Alembic is slow to load.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from mgmt.catalog.audit.chain import Audit
from mgmt.catalog.audit.ranges import RangeSet
from mgmt.catalog.audit.verification import Anchor, Finding, Tampering, Verification
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.files.endpoints import Endpoints
from mgmt.catalog.files.filters import FileFilter
from mgmt.catalog.files.lookups import IgnoredKeys
from mgmt.catalog.files.members import MemberFacts, MemberRecord, Members
from mgmt.catalog.files.metadata import SORTS, MetadataManager
from mgmt.catalog.operations.journal import Journal
from mgmt.catalog.records.endpoint import EndpointRecord
from mgmt.catalog.records.enums import FileStatus, Location, Place, Role, Scope, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.inspections import SearchRecord, StatusRecord, VerifyRecord
from mgmt.catalog.records.maintenance import (
    BatchRecord,
    ConfigRecord,
    DeleteRecord,
    FreeRecord,
    IgnoreRecord,
    PruneRecord,
    RebuildRecord,
    RecoverRecord,
)
from mgmt.catalog.records.operations import OperationRecord
from mgmt.catalog.records.process import this_host
from mgmt.catalog.records.transfers import DownloadRecord, UploadRecord

__all__ = [
    "HEAD",
    "SORTS",
    "Anchor",
    "Audit",
    "BatchRecord",
    "Catalog",
    "ConfigRecord",
    "Database",
    "DeleteRecord",
    "DownloadRecord",
    "EndpointRecord",
    "Endpoints",
    "FileFilter",
    "FileRecord",
    "FileStatus",
    "Finding",
    "FreeRecord",
    "IgnoreRecord",
    "IgnoredKeys",
    "Journal",
    "Location",
    "MemberFacts",
    "MemberRecord",
    "Members",
    "MetadataManager",
    "OperationRecord",
    "Place",
    "PruneRecord",
    "RangeSet",
    "RebuildRecord",
    "RecoverRecord",
    "Role",
    "Scope",
    "SearchRecord",
    "Status",
    "StatusRecord",
    "Tampering",
    "UploadRecord",
    "Verification",
    "VerifyRecord",
    "open_catalog",
    "this_host",
]


@dataclass(frozen=True, slots=True)
class Catalog:
    """One database, and the interfaces to it."""

    database: Database
    metadata: MetadataManager
    members: Members
    journal: Journal
    endpoints: Endpoints
    audit: Audit

    def transaction(self) -> AbstractContextManager[object]:
        """Commit everything written inside together, or nothing."""
        return self.database.transaction()

    def for_thread(self) -> "Catalog":
        """The same catalog for another thread, with operations of its own: see `Database.for_thread`.

        Close its database, not this object: this catalog seals what has finished in that one, too.
        """
        return _catalog(self.database.for_thread())

    def close(self) -> None:
        """Seal the operations that have finished here, and close every connection."""
        try:
            self.audit.close()
        finally:
            self.database.close()


def open_catalog(url: str, *, create: bool = True) -> Catalog:
    """Open the catalog at `url`: sqlite:///file or postgresql://user@host/database. It connects at first use.

    With `create`, an empty database gets its schema at first use. Without it nothing is created: neither a schema, nor
    the write-ahead log of an SQLite file that has none. Raises ConfigurationError for any other kind of URL; every
    later use raises CatalogError if the database is unreachable, locked, damaged, or its schema is older or newer.
    """
    return _catalog(Database(url, wal=create, initialize=_create_schema if create else None))


def _catalog(database: Database) -> Catalog:
    return Catalog(
        database,
        MetadataManager(database),
        Members(database),
        Journal(database),
        Endpoints(database),
        Audit(database),
    )


def _create_schema(database: Database) -> None:
    from mgmt.catalog.schema import migrate  # Alembic takes long to import, and few commands need it

    migrate.upgrade(database)
