"""Retry reads after a dropped connection: a read changes nothing, so it may run twice."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Result, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session

from mgmt.catalog.db.errors import translate_errors

T = TypeVar("T")


def retry_read(read: Callable[[], T], before_retry: Callable[[], None] = lambda: None) -> T:
    """Return what `read` returns. If its connection drops, call `before_retry` and read again, once."""
    try:
        return read()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        before_retry()
        return read()


def retry_reads(session: Session, name: str, is_reading: Callable[[], bool]) -> None:
    """Retry each statement of `session` whose connection drops, as long as `is_reading()`.

    A record loads its expired attributes by itself, at any time. Errors of such a load are CatalogErrors, too.
    """

    def execute(state: ORMExecuteState) -> Result[Any]:
        with translate_errors(name):
            return retry_read(state.invoke_statement, disconnect) if is_reading() else state.invoke_statement()

    def disconnect() -> None:
        # Not a rollback, which would discard uncommitted changes of records.
        if (reading := session.get_transaction()) is not None:
            reading.close()

    event.listen(session, "do_orm_execute", execute)
