"""A PostgreSQL server that does not answer to a COMMIT: whether it has happened is settled by looking.

A transaction has a number, by which the server knows, also after a crash, whether it was committed. So nobody has to
guess. What was written and not committed, the server undoes by itself.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg.errors import InvalidParameterValue, TransactionResolutionUnknown
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

LOCK_SECONDS = 30.0
"""How long to wait for another session that keeps us out."""

PATIENCE = 30.0
"""Seconds in which a server that has crashed may come back, and say what it has committed."""

PAUSE = 0.1
"""Seconds between two questions to a server that cannot answer yet."""

KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A server that has gone without a word is missed after a minute, unless the URL says otherwise; not after hours."""


class SettlingConnection(psycopg.Connection[Any]):
    """A connection whose `commit` returns when the transaction is committed, and raises when it is not.

    Raises TransactionResolutionUnknown when the server cannot be asked within PATIENCE, or does not know.
    """

    again: Callable[..., psycopg.Connection[Any]]
    """Another connection to the same server."""

    def commit(self) -> None:
        """Commit; if the answer is lost, see whether it has happened."""
        number = self._number()
        try:
            super().commit()
        except psycopg.OperationalError:
            if not self.closed or (number is not None and not self._is_committed(number)):
                raise

    def rollback(self) -> None:
        """Roll back; where the connection is gone, the server has done so."""
        if not self.closed:
            super().rollback()

    def _number(self) -> int | None:
        """By which the server knows the transaction; None when it has written nothing, or has failed already."""
        if self.info.transaction_status is not TransactionStatus.INTRANS:
            return None
        row = self.execute("SELECT txid_current_if_assigned()").fetchone()
        return None if row is None else row[0]

    def _is_committed(self, number: int) -> bool:
        until = time.monotonic() + PATIENCE
        while (status := self._status(number)) not in ("committed", "aborted"):
            if time.monotonic() > until:
                raise TransactionResolutionUnknown("the connection was lost while it committed")
            time.sleep(PAUSE)
        return status == "committed"

    def _status(self, number: int) -> str | None:
        """As the server has it now; None when it cannot be asked, or has forgotten."""
        try:
            with self.again(autocommit=True, connect_timeout=5) as other:
                # A server that has not noticed yet that we are gone waits for a COMMIT that may never come.
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND backend_xid::text::bigint = %s %% 4294967296",
                    [number],
                )
                row = other.execute("SELECT txid_status(%s)", [number]).fetchone()
        except (psycopg.OperationalError, InvalidParameterValue):  # the second: a server that never came so far
            return None
        return None if row is None else row[0]


def settle_commits(engine: Engine) -> None:
    """Let every connection of a PostgreSQL `engine` be a SettlingConnection."""

    def connect(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> SettlingConnection:
        parameters = {**KEEPALIVE, **parameters}
        connection = SettlingConnection.connect(*arguments, **parameters)
        connection.again = partial(psycopg.Connection.connect, *arguments, **parameters)
        try:
            connection.autocommit = True
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_SECONDS * 1000:.0f}"])
            connection.autocommit = False
        except psycopg.Error:
            connection.close()
            raise
        return connection

    event.listen(engine, "do_connect", connect)
