"""A question whose connection was lost is asked once more, on a fresh one: it changes nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Result, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session

from mgmt.catalog.db.errors import translated

T = TypeVar("T")


def once_more(look: Callable[[], T], between: Callable[[], None] = lambda: None) -> T:
    """What `look` says; if its connection was lost meanwhile, what it says after `between`."""
    try:
        return look()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        between()
        return look()


def read_once_more(session: Session, name: str, is_reading: Callable[[], bool]) -> None:
    """Let each statement of `session` be asked once more where that is needed, while it `is_reading` only.

    A record asks by itself for what it has forgotten, whenever that is. So what goes wrong is a CatalogError here, too.
    """

    def execute(state: ORMExecuteState) -> Result[Any]:
        with translated(name):
            return once_more(state.invoke_statement, leave) if is_reading() else state.invoke_statement()

    def leave() -> None:
        # Not a rollback, which would forget what was changed in records.
        if (reading := session.get_transaction()) is not None:
            reading.close()

    event.listen(session, "do_orm_execute", execute)
