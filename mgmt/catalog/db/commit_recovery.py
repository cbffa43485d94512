"""Commit recovery: when a connection drops during COMMIT, ask the server whether the transaction was committed.

PostgreSQL reports the status of a transaction by its id, even after a crash (`txid_status`). It rolls back by itself
what was not committed.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import generators
from psycopg.errors import InvalidParameterValue, TransactionResolutionUnknown, error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy import Connection, Engine, event

from mgmt.catalog.db.bulk import driver_errors

LOCK_SECONDS = 30.0
"""How long to wait for a lock that another session holds."""

RECOVERY_SECONDS = 30.0
"""How long to wait for a crashed server to come back and report the transaction's status."""

RETRY_SECONDS = 0.1
"""Pause between two attempts to ask a server that does not answer yet."""

CONNECT_SECONDS = 5.0
"""How long to wait for a free connection. A server may count a process that has just exited for a moment."""

DEFAULTS = {
    # Detect a server that disappears silently after a minute instead of hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "fallback_application_name": "mgmt",
}
"""Parameters of libpq that the URL may override."""

REQUIRED: dict[str, Any] = {
    "client_encoding": "utf8",  # psycopg returns bytes where the server has SQL_ASCII
    "prepare_threshold": None,  # a pooler gives each transaction another session, which has prepared other statements
}
"""Parameters that the URL cannot override."""

_NO_CONNECTION_LEFT = ("too many connections", "too many clients", "remaining connection slots")
"""psycopg reports no SQLSTATE for a rejected connection."""


class RecoveringConnection(psycopg.Connection[Any]):
    """A connection whose `commit` returns if the transaction was committed, and raises if it was not.

    Raises TransactionResolutionUnknown if the server does not answer within RECOVERY_SECONDS, or does not know.
    """

    reconnect: Callable[..., psycopg.Connection[Any]]
    """Opens another connection to the same server."""
    schema = ""
    """The schema that new tables would get; empty for none."""
    isolation = "READ COMMITTED"
    """The level of transactions that ask for none."""
    used = 0.0
    """When the server last ended something, by the monotonic clock."""
    _assigned: int | None = None

    def set_up(self) -> None:
        """Set the limit of waits, for what reads without a transaction, and look up how the server is set up.

        Behind a pooler the next statement may have another session.
        """
        self.autocommit = True
        found = self.execute(
            "SELECT set_config('lock_timeout', %s, false), current_schema(), current_setting('transaction_isolation')",
            [f"{LOCK_SECONDS * 1000:.0f}"],
        ).fetchone()
        self.autocommit = False
        if found is not None:
            _, schema, isolation = found
            self.schema, self.isolation = schema or "", isolation.upper()

    def begin(self) -> None:
        """Begin a transaction, limit its waits and get its id, in one round trip. Raises psycopg.Error."""
        level = "" if self.isolation_level is None else f"ISOLATION LEVEL {self.isolation_level.name.replace('_', ' ')}"
        limit = f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}"
        with self.lock:
            # psycopg itself would begin it by a request of its own.
            self.pgconn.send_query(f"BEGIN {level}; {limit}; SELECT txid_current()".encode())
            results = self.wait(generators.execute(self.pgconn))
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
        self._assigned = int(results[-1].get_value(0, 0) or 0)

    def commit(self) -> None:
        """Commit. If the connection drops before the answer, ask the server for the outcome."""
        transaction_id, self._assigned = self._assigned or self._transaction_id(), None
        try:
            super().commit()
        except psycopg.OperationalError:
            if not self.closed or (transaction_id is not None and not self._was_committed(transaction_id)):
                raise
        self.used = time.monotonic()

    def rollback(self) -> None:
        """Roll back. On a closed connection the server has already done so."""
        self._assigned = None
        if not self.closed:
            super().rollback()
            self.used = time.monotonic()

    def _transaction_id(self) -> int | None:
        """The server's id of this transaction; None if it has written nothing, or has already failed."""
        if self.info.transaction_status is not TransactionStatus.INTRANS:
            return None
        row = self.execute("SELECT txid_current_if_assigned()").fetchone()
        return None if row is None else row[0]

    def _was_committed(self, transaction_id: int) -> bool:
        deadline = time.monotonic() + RECOVERY_SECONDS
        while (status := self._status(transaction_id)) not in ("committed", "aborted"):
            if time.monotonic() > deadline:
                raise TransactionResolutionUnknown("the connection was lost during COMMIT")
            time.sleep(RETRY_SECONDS)
        return status == "committed"

    def _status(self, transaction_id: int) -> str | None:
        """The transaction's status on the server; None if the server does not answer, or no longer knows."""
        try:
            with self.reconnect(autocommit=True, connect_timeout=5) as other:
                # A server that has not noticed the dropped connection waits for a COMMIT that may never come.
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND backend_xid::text::bigint = %s %% 4294967296",
                    [transaction_id],
                )
                row = other.execute("SELECT txid_status(%s)", [transaction_id]).fetchone()
        except (psycopg.OperationalError, InvalidParameterValue):  # the second: an id the server never assigned
            return None
        return None if row is None else row[0]


def recover_commits(engine: Engine, *, patient: bool = True) -> None:
    """Make every connection of a PostgreSQL `engine` a RecoveringConnection.

    If it is `patient`, it waits for a moment while the server has no connection left.
    """

    def connect(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> RecoveringConnection:
        parameters = {**DEFAULTS, **parameters, **REQUIRED}
        seconds = CONNECT_SECONDS if patient else 0.0
        connection = _when_free(partial(RecoveringConnection.connect, *arguments, **parameters), seconds)
        connection.reconnect = partial(psycopg.Connection.connect, *arguments, **parameters)
        try:
            connection.set_up()
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("postgresql_readonly"):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}")
        elif options.get("isolation_level") != "AUTOCOMMIT":
            driver: Any = connection.connection.driver_connection
            with driver_errors(connection, "BEGIN"):
                driver.begin()

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", begin)


def _when_free(connect: Callable[[], RecoveringConnection], seconds: float) -> RecoveringConnection:
    """Connect. While the server has no connection left, try again for `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return connect()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or not any(each in str(error) for each in _NO_CONNECTION_LEFT):
                raise
        time.sleep(RETRY_SECONDS)
