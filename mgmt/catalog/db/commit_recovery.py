"""Commit recovery: when a connection drops during COMMIT, ask the server whether the transaction was committed.

PostgreSQL reports the status of a transaction by its id, even after a crash (`txid_status`). It rolls back by itself
what was not committed.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg.errors import InvalidParameterValue, TransactionResolutionUnknown
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event

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

    def commit(self) -> None:
        """Commit. If the connection drops before the answer, ask the server for the outcome."""
        transaction_id = self._transaction_id()
        try:
            super().commit()
        except psycopg.OperationalError:
            if not self.closed or (transaction_id is not None and not self._was_committed(transaction_id)):
                raise

    def rollback(self) -> None:
        """Roll back. On a closed connection the server has already done so."""
        if not self.closed:
            super().rollback()

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
            # For what reads without a transaction: behind a pooler the next statement may have another session.
            connection.autocommit = True
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_SECONDS * 1000:.0f}"])
            connection.autocommit = False
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def limit_waiting(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", limit_waiting)


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
