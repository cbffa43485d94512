"""Caches that all commands in a test process share, while each process of a user builds its own.

They do not change what a command does. Building them takes most of the time of a short command:

- botocore reads its service models, some megabytes of JSON, for each session, makes a hundred methods and as many rules
  from them for each client, and inspects the same 150 event handlers and their names;
- SQLAlchemy compiles each statement for each engine;
- Alembic applies all migrations to each empty catalog, with the same result;
- Python collects garbage, unless its thresholds are raised, as in `python -m mgmt`.

Processes of `python -m mgmt` share nothing.
"""

import ctypes
import functools
import gc
import inspect
import os
import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import botocore.client
import botocore.session
import pytest
from alembic import command
from alembic.config import Config
from botocore import compat, endpoint_provider, hooks
from botocore.client import ClientCreator
from botocore.loaders import Loader, create_loader
from botocore.model import ServiceModel
from sqlalchemy import Dialect, Engine
from sqlalchemy.orm import Mapper

from mgmt.__main__ import GARBAGE
from mgmt.catalog.db.engine import BUSY_SECONDS

GROWTH = 48 << 20
"""Bytes after which garbage is collected."""

M_ARENA_MAX = -8
"""See mallopt(3)."""

MOST_STATEMENTS = 5000

UPGRADE = command.upgrade
"""What Alembic does, for tests of the migrations."""


class _Statements(dict[Any, Any]):
    """Compiled statements by the kind of dialect, shared by all engines of that kind."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= MOST_STATEMENTS:
            self.clear()
        super().__setitem__(self._shared(key), value)

    @staticmethod
    def _shared(key: tuple[Any, ...]) -> tuple[Any, ...]:
        dialect: Dialect = key[0]
        return (type(dialect), dialect.paramstyle, dialect.server_version_info, *key[1:])


@contextmanager
def shared() -> Iterator[None]:
    """Share models and statements in this process and its forked children."""
    statements, models, names = _Statements(), dict[Any, Any](), dict[str, str]()
    create_aliaser = hooks.EventAliaser.__init__

    def load(path: str | None = None) -> Loader:
        loader = create_loader(path)
        if path is None:  # the user's own models are not cached
            vars(loader)["_cache"] = models
        return loader

    def begin(aliaser: hooks.EventAliaser, *arguments: Any) -> None:
        create_aliaser(aliaser, *arguments)
        vars(aliaser)["_alias_name_cache"] = names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", load)
        patch.setattr(hooks.EventAliaser, "__init__", begin)
        patch.setattr(hooks, "accepts_kwargs", _accepts_kwargs)
        _share_models(patch)
        patch.setattr(Engine, "_compiled_cache", property(lambda _: statements, lambda _, own: None), raising=False)
        patch.setattr(Mapper, "_compiled_cache", property(lambda _: statements))
        thresholds = gc.get_threshold()
        gc.set_threshold(GARBAGE)
        yield
        gc.set_threshold(*thresholds)


def _share_models(patch: pytest.MonkeyPatch) -> None:
    """Create what clients derive from a service model only once for each model; nothing changes it afterwards."""
    of_model: dict[int, tuple[Any, Any]] = {}
    create_methods, create_rules = vars(ClientCreator)["_create_methods"], endpoint_provider.RuleSet

    def once(source: Any, create: Callable[[], Any]) -> Any:
        if id(source) not in of_model:
            of_model[id(source)] = source, create()  # with the source, so that no other gets its id
        return of_model[id(source)][1]

    def service_model(json: Any, service_name: str) -> ServiceModel:
        model: ServiceModel = once(json, lambda: ServiceModel(json, service_name))
        return model

    def methods(creator: ClientCreator, model: ServiceModel) -> dict[str, Any]:
        return dict(once(model, lambda: create_methods(creator, model)))

    def rules(*, rules: Any, **facts: Any) -> Any:
        return once(rules, lambda: create_rules(rules=rules, **facts))

    patch.setattr(botocore.client, "ServiceModel", service_model)
    patch.setattr(ClientCreator, "_create_methods", methods)
    patch.setattr(endpoint_provider, "RuleSet", rules)


def _accepts_kwargs(handler: Any) -> bool:
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return bool(compat.accepts_kwargs(handler) if code is None else code.co_flags & inspect.CO_VARKEYWORDS)


@functools.cache
def _empty_catalog() -> bytes:
    """An empty SQLite catalog with all migrations applied."""
    from mgmt.catalog import open_catalog

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "catalog.db")
        catalog = open_catalog(f"sqlite:///{path}")
        catalog.metadata.list_files()
        catalog.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # one in memory cannot have a write-ahead log
        return path.read_bytes()


class Garbage:
    """Collects garbage when this process has grown: the larger it is, the longer each fork takes."""

    def __init__(self) -> None:
        self._before = _resident()
        system = ctypes.CDLL(None)
        self._trim = getattr(system, "malloc_trim", None)  # glibc
        if self._trim is not None:
            system.mallopt(M_ARENA_MAX, 1)  # each thread of an upload would leave a part of its own arena in use

    def keep(self) -> None:
        """Leave what there is now, all collected tests and imported modules, out of any later collection."""
        gc.collect()
        gc.freeze()

    def collect(self) -> None:
        """Give memory back, unless there is little to give. Called after each test."""
        if _resident() - self._before < GROWTH:
            return
        gc.collect()
        if self._trim is not None:
            self._trim(0)
        self._before = _resident()


def _resident() -> int:
    """The bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextmanager
def migrated_once() -> Iterator[None]:
    """Create SQLite catalogs as copies of a first one, to which Alembic has applied the migrations."""
    _empty_catalog()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", functools.partial(_upgrade, UPGRADE))
        yield


def _upgrade(apply: Callable[..., None], config: Config, revision: str, *arguments: Any, **options: Any) -> None:
    database = config.attributes.get("database")
    if database is not None and database.path is not None and revision == "head" and not _has_content(database.path):
        from mgmt.catalog.db.engine import create_sqlite

        create_sqlite(database.path)
        with database.lock():
            if not _has_content(database.path):
                _copy_empty_catalog(database.path)
                return
    apply(config, revision, *arguments, **options)


def _copy_empty_catalog(path: str) -> None:
    """Through SQLite and its locks: other processes may have opened the empty file already."""
    with closing(sqlite3.connect(":memory:")) as empty, closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as copy:
        empty.deserialize(_empty_catalog())
        copy.execute("PRAGMA synchronous=OFF")
        empty.backup(copy)


def _has_content(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0
