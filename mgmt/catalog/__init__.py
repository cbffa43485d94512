"""The records: what is where, what was done to it, and what every archive holds.

    catalog = open_catalog("sqlite:////home/me/.local/share/mgmt/catalog.db")
    with catalog.journal.record(UploadRecord(target_path=path), claim=path) as upload:
        ...

This is the only package that knows SQLAlchemy and Alembic. `mgmt.catalog.schema.migrate` is imported where it is
needed: Alembic takes its time.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from mgmt.catalog.audit.chain import Audit
from mgmt.catalog.audit.ranges import Numbers
from mgmt.catalog.audit.verification import Anchor, Finding, Tampering, Verification
from mgmt.catalog.db.database import HEAD, Database
from mgmt.catalog.files.endpoints import Endpoints
from mgmt.catalog.files.filters import FileFilter
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
    "Journal",
    "Location",
    "MemberFacts",
    "MemberRecord",
    "Members",
    "MetadataManager",
    "Numbers",
    "OperationRecord",
    "Place",
    "PruneRecord",
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
    """One database, and what is done with it."""

    database: Database
    metadata: MetadataManager
    members: Members
    journal: Journal
    endpoints: Endpoints
    audit: Audit

    def transaction(self) -> AbstractContextManager[object]:
        """All that is written inside is committed together, or not at all."""
        return self.database.transaction()

    def close(self) -> None:
        """Seal what has finished, if anything has finished here, and close every connection."""
        self.metadata.close()


def open_catalog(url: str, *, create: bool = True) -> Catalog:
    """The catalog at `url`: sqlite:///file or postgresql://user@host/database. Nothing is opened before it is used.

    With `create` an empty database gets its schema at first use. Raises ConfigurationError for a URL of another kind;
    every later use raises CatalogError when the database is unreachable, locked, damaged, older or newer.
    """
    database = Database(url, create=create)
    return Catalog(
        database,
        MetadataManager(database),
        Members(database),
        Journal(database),
        Endpoints(database),
        Audit(database),
    )
