"""What endpoints were seen to do, remembered so that each is probed once."""

from mgmt.catalog.db.database import Database
from mgmt.catalog.records.endpoint import EndpointRecord


class Endpoints:
    """By the URL of the endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, url: str, *, checksum: str | None, max_parts: int) -> None:
        """Keep what was seen just now, in place of what was seen before."""
        with self._database.transaction() as session:
            session.merge(EndpointRecord(url=url, checksum=checksum, max_parts=max_parts))

    def recall(self, url: str) -> EndpointRecord | None:
        """What was seen last; None when it was never probed."""
        with self._database.reading() as session:
            return session.get(EndpointRecord, url)
