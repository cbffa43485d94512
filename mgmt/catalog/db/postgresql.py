"""SQLAlchemy's dialect for PostgreSQL by psycopg, without requests for what the connection knows: each is a round trip.

A catalog may be 40 ms away, and a command takes few statements.
"""

import time
from typing import Any

from sqlalchemy import URL, Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

IDLE_SECONDS = 1.0
"""How long an unused connection is taken for alive. A transaction that cannot begin is begun again on another one."""


class Dialect(PGDialect_psycopg):
    """For connections of `commit_recovery`, which ask for all of this when they are opened."""

    driver = "mgmt"
    supports_statement_cache = True

    def _get_server_version_info(self, connection: Connection) -> tuple[int, ...]:
        version: int = _driver(connection).info.server_version
        return divmod(version, 10_000)

    def _get_default_schema_name(self, connection: Connection) -> str:
        schema: str = _driver(connection).schema
        return schema

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        """That of a new transaction, unless it asks for another."""
        return dbapi_conn.isolation

    def _set_backslash_escapes(self, connection: Connection) -> None:
        self._backslash_escapes = _driver(connection).info.parameter_status("standard_conforming_strings") == "off"

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask the server, unless it has answered just now."""
        if time.monotonic() - dbapi_connection.used < IDLE_SECONDS:
            return not dbapi_connection.closed
        return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def own(url: URL) -> URL:
    """`url`, with this dialect."""
    registry.register("postgresql.mgmt", __name__, Dialect.__name__)
    return url.set(drivername="postgresql+mgmt")
