"""PgBouncer in transaction mode in front of a PostgreSQL server, as long as a `with` lasts."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.guard import dismiss, watch
from tests.postgresql import PostgreSQL
from tests.servers import free_port, until

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""


def program() -> str | None:
    """The path of the program; None if there is none. Debian installs it where only root looks."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooled(server: PostgreSQL, url: str) -> Iterator[str]:
    """The URL of the database at `url`, through a pooler. Each transaction may get another session of the server."""
    found = program()
    assert found is not None
    split, listen = urlsplit(server.url), free_port()
    with tempfile.TemporaryDirectory(prefix="mgmt-pgbouncer-") as temporary:
        home = Path(temporary)
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # it does not run as root
            nobody = pwd.getpwnam("nobody")
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        settings = home / "pgbouncer.ini"
        settings.write_text(
            CONFIGURATION.format(host=split.hostname, port=split.port, user=split.username, listen=listen)
        )
        settings.chmod(0o644)
        with (home / "log").open("ab") as log:
            process = subprocess.Popen([found, settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **owner)
        guard = watch(process.pid, home)
        through = urlunsplit(urlsplit(url)._replace(netloc=f"{split.username}@127.0.0.1:{listen}"))
        try:
            until(lambda: _answers(through), home, "an answer", process)
            yield through
        finally:
            process.terminate()
            process.wait(60)
            dismiss(guard)


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
