"""Schema migrations: upgrade, downgrade, and SQL for an administrator. Alembic is the only source."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from mgmt.catalog.db.database import Database
from mgmt.catalog.db.revision import HEAD
from mgmt.catalog.files.name_index import is_ours
from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.schema.backup import backup, remove_partial_backups
from mgmt.catalog.schema.pg_expressions import INDEXES
from mgmt.catalog.schema.pg_trgm import create_name_index
from mgmt.errors import CatalogError, ConfigurationError


def _is_a_record(_object: Any, name: str | None, *_: Any) -> bool:
    return not is_ours(name) and name not in INDEXES


OPTIONS: dict[str, Any] = {
    "target_metadata": METADATA,
    "include_object": _is_a_record,
    "transactional_ddl": True,
    "render_as_batch": True,
}
"""The options of Alembic, here and in migrations/env.py."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of the schema."""

    revision: str
    previous: str | None
    summary: str
    is_head: bool


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Upgrade the schema to `revision`, completely or not at all.

    An SQLite catalog that has a schema is backed up first; returns the path of the backup, or None without one. On
    PostgreSQL this also creates the index of names if an earlier upgrade could not.
    """
    copy = _migrate(command.upgrade, database, revision)
    if not database.is_sqlite and database.revision() == HEAD:
        create_name_index(database)
    return copy


def downgrade(database: Database, revision: str) -> str | None:
    """Downgrade the schema to `revision` ("base" removes it); atomic and with a backup, like `upgrade`."""
    return _migrate(command.downgrade, database, revision)


def current(database: Database) -> str | None:
    """The revision of the schema; None for an empty database."""
    return database.revision()


def history() -> list[Revision]:
    """All revisions that this mgmt supports, newest first."""
    return [
        Revision(
            revision=script.revision,
            previous=str(script.down_revision) if script.down_revision else None,
            summary=script.doc,
            is_head=script.is_head,
        )
        for script in ScriptDirectory.from_config(_config()).walk_revisions()
    ]


def sql(dialect: str, revisions: str = "base:head") -> str:
    """The SQL of an upgrade ("0001:head") or a downgrade ("head:base"), without running it.

    `dialect` is "sqlite" or "postgresql". Raises ConfigurationError for an unknown dialect or revision.
    """
    if dialect not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"unknown dialect {dialect}", next_step="use sqlite or postgresql")
    text = io.StringIO()
    start, _, end = revisions.rpartition(":")
    start = start or "base"
    order = ["base", *(step.revision for step in reversed(history())), "head"]
    for revision in (start, end):
        if revision not in order:
            raise ConfigurationError(f"unknown revision {revision}", next_step="mgmt db history")
    start = HEAD if start == "head" else start
    goes_down = order.index(end) < order.index(start)
    run = command.downgrade if goes_down else command.upgrade
    run(_config(output=text, dialect=dialect), f"{start}:{end}", sql=True)
    return text.getvalue()


def _migrate(run: Any, database: Database, revision: str) -> str | None:
    if revision not in ("base", "head", *(step.revision for step in history())):
        raise ConfigurationError(f"unknown revision {revision}", next_step="mgmt db history")
    found = database.revision()
    with _alembic_errors(database):
        scripts = ScriptDirectory.from_config(_config())
        if found is not None:
            scripts.get_revision(found)
    if {"base": None, "head": HEAD}.get(revision, revision) == found:
        return None
    with _alembic_errors(database):
        if database.is_sqlite and found is not None:
            with database.lock():
                remove_partial_backups(database)
                moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
                path = backup(database, f"{database.path}.{found}-{moment}.backup")
                run(_config(database=database), revision)
            return path
        run(_config(database=database), revision)
    return None


@contextmanager
def _alembic_errors(database: Database) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise CatalogError(
            f"the catalog {database.name} was not changed: {error}", next_step="mgmt db history"
        ) from error


def _config(output: io.StringIO | None = None, **attributes: Any) -> Config:
    config = Config(output_buffer=output, attributes=attributes)
    config.set_main_option("script_location", _migrations().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrations() -> str:
    """The folder of the revisions: inside the package in a wheel, beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    inside = os.path.join(package, "migrations")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "migrations")
