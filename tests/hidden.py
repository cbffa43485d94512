"""Processes that /proc hides: run as a script by `run`, in a namespace of its own, where other users are.

What is asked of it is the name of one of its functions; it prints JSON.
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
NOBODY, SOMEBODY = 65534, 65533
HIDDEN = "mount -t proc -o hidepid={} proc /proc"
EMPTY = "mount -t tmpfs empty /proc"


def run(mount: str, function: str, *arguments: str) -> Any:
    """What `function` returns where `mount` has been done; processes and mounts are its own."""
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
    """Namespaces and mounts may be made here."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", HIDDEN.format(2)]
    return subprocess.run(tried, capture_output=True).returncode == 0


def as_user(uid: int, work: Callable[[], object]) -> Any:
    """What `work` returns in a child that is another user."""
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
        said = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(said)


def _become(uid: int) -> None:
    """Be another user, as one who has logged in is: processes that have only changed may not look at each other."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0


def fates() -> dict[str, str]:
    """Of a process of somebody's: what nobody, it itself and root think of it, alive, dead and replaced."""
    from mgmt.catalog.records.process import Owner

    Owner.current().liveness()  # whatever is imported later could not be read by others
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(SOMEBODY)
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
        "nobody, of one before it": as_user(NOBODY, lambda: see(impostor)),
        "somebody": as_user(SOMEBODY, lambda: see(other)),
        "root": see(other),
        "root, of one before it": see(impostor),
        "itself": see(Owner.current()),
        "advice": as_user(NOBODY, lambda: other.advice("somebody")),
    }
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found["nobody, when it is gone"] = as_user(NOBODY, lambda: see(other))
    return found


def recovering(home: str) -> dict[str, Any]:
    """What nobody's mgmt says and does while an upload of root's is under way, and when that is over."""
    from mgmt.catalog import UploadRecord, open_catalog, this_host
    from mgmt.services.steps.local_files import claim

    url, target = f"sqlite:///{home}/catalog/own.db", f"{home}/work/notes"
    os.environ |= {"MGMT_CATALOG": url, "MGMT_STORE": f"file://{home}/store", "HOME": home}
    for name in ("work", "store", "catalog"):
        os.mkdir(f"{home}/{name}")
    with open(target, "w") as file:
        file.write("notes")
    _mgmt("recover")  # whatever is imported later could not be read by nobody
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
    child = os.fork()  # it is another process that is killed
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
