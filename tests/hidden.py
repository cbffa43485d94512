"""Processes that /proc hides: `run` starts this module as a script in a namespace of its own, with other users.

Its argument is the name of one of its functions; it prints the result as JSON.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIBC = ctypes.CDLL(None)
PR_SET_DUMPABLE = 4
NOBODY, OTHER_USER = 65534, 65533
HIDDEN = "mount -t proc -o hidepid={} proc /proc"
EMPTY = "mount -t tmpfs empty /proc"


def run(mount: str, function: str, *arguments: str) -> Any:
    """The result of `function` after the command `mount`, in namespaces of its own."""
    script = f'mount -t proc proc /proc && {mount} && exec "$@"'
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*namespaces, "sh", "-c", script, "sh", sys.executable, "-m", "tests.hidden", function, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def may_hide() -> bool:
    """Whether namespaces and mounts are permitted."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", HIDDEN.format(2)]
    return subprocess.run(tried, capture_output=True).returncode == 0


def as_user(uid: int, work: Callable[[], object]) -> Any:
    """The result of `work` in a child that runs as another user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(uid)
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        result = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(result)


def _become(uid: int) -> None:
    """Become another user as by a login: processes that only change their user may not inspect each other."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0


def liveness() -> dict[str, str]:
    """The liveness of a process of another user, as seen by nobody, by that user and by root."""
    from mgmt.catalog.records.process import Owner

    Owner.current().liveness()  # imports now what other users may be unable to read
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(OTHER_USER)
            os.write(writing, str(Owner.current()).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    other = Owner.parse(os.read(reading, 1000).decode())
    impostor = Owner(other.host, other.boot, other.pid, "4711")

    def see(owner: Owner) -> str:
        return owner.liveness().value

    found = {
        "nobody": as_user(NOBODY, lambda: see(other)),
        "nobody, of its predecessor": as_user(NOBODY, lambda: see(impostor)),
        "its user": as_user(OTHER_USER, lambda: see(other)),
        "root": see(other),
        "root, of its predecessor": see(impostor),
        "itself": see(Owner.current()),
        "advice": as_user(NOBODY, lambda: other.advice("ann")),
    }
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found["nobody, after its end"] = as_user(NOBODY, lambda: see(other))
    return found


def recovering(home: str) -> dict[str, Any]:
    """What mgmt, run by nobody, reports and does during an upload of root, and after its end."""
    from mgmt.catalog import UploadRecord, open_catalog, this_host
    from mgmt.services.steps.local_files import claim

    url, target = f"sqlite:///{home}/catalog/own.db", f"{home}/work/notes"
    os.environ |= {"MGMT_CATALOG": url, "MGMT_STORE": f"file://{home}/store", "HOME": home}
    for name in ("work", "store", "catalog"):
        os.mkdir(f"{home}/{name}")
    with open(target, "w") as file:
        file.write("notes")
    _mgmt("recover")  # imports now what nobody may be unable to read
    _mgmt("upload", "missing")
    os.chmod(home, 0o777)
    for folder, folders, files in os.walk(home):
        for name in folders + files:
            os.chmod(f"{folder}/{name}", 0o777)
    found: dict[str, Any] = {"host": this_host(), "pid": os.getpid()}
    commands = {
        "recover -n": ("recover", "-n"),
        "recover": ("recover",),
        "recover --host": ("recover", "--host", this_host()),
        "upload": ("upload", target),
    }
    child = os.fork()  # a child, so that another process is killed
    if child == 0:
        catalog = open_catalog(url)
        with catalog.journal.record(UploadRecord(target_path=target), claim=claim(target)):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    found["pid"] = child
    for label, words in commands.items():
        found[label] = as_user(NOBODY, lambda words=words: _mgmt(*words))  # type: ignore[misc]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found["recover afterwards"] = as_user(NOBODY, lambda: _mgmt("recover"))
    return found


def _mgmt(*words: str) -> tuple[int, str, str]:
    import io
    from contextlib import redirect_stderr, redirect_stdout

    from mgmt import cli

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.run(["-o", "json", *words])
    return int(status), out.getvalue(), err.getvalue()


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
