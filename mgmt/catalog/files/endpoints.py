"""What each S3 endpoint supports, remembered so that it is probed once."""

from mgmt.catalog.db.database import Database
from mgmt.catalog.records.endpoint import EndpointRecord


class Endpoints:
    """The results of probes, by the URL of the endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, url: str, *, checksum: str | None, max_parts: int) -> None:
        """Save the result of a probe, in place of an earlier one."""
        with self._database.transaction() as session:
            session.merge(EndpointRecord(url=url, checksum=checksum, max_parts=max_parts))

    def recall(self, url: str) -> EndpointRecord | None:
        """The result of the last probe; None if there was none."""
        with self._database.reading() as session:
            return session.get(EndpointRecord, url)
