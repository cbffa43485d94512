"""Which process runs an operation, and whether it is still there."""

import os
import socket
import subprocess
from dataclasses import dataclass
from enum import Enum

_DEAD = "dead"


class Fate(Enum):
    """What has become of an owner."""

    ALIVE = "alive"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """It runs, or ran, where we cannot look: another machine, another container, or behind a /proc that hides it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from any other that ever has its number: by when it started, in which boot, on which host."""

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(this_host(), _boot(), pid, _start(pid) or "")

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """What `str(owner)` said."""
        host, boot, pid, start = text.rsplit("/", 3)
        return cls(host, boot, int(pid), start)

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.pid}/{self.start}"

    def fate(self) -> Fate:
        """Whether it is alive, as far as can be seen from here: what cannot be seen is never taken for gone."""
        here = this_host(), _boot()
        if self.host != here[0] or not self.boot or not here[1]:
            return Fate.ELSEWHERE
        if self.boot.partition("+")[0] != here[1].partition("+")[0]:
            return Fate.GONE
        if self.boot != here[1]:
            return Fate.ELSEWHERE
        start = _start(self.pid)
        if start is None:  # another user's process may be hidden: proc_pid(5), hidepid
            return Fate.ELSEWHERE if _exists(self.pid) else Fate.GONE
        if not self.start and start is not _DEAD:
            return Fate.ELSEWHERE
        return Fate.ALIVE if start == self.start else Fate.GONE

    def is_near(self) -> bool:
        """Its number means a process that we can ask the system for, even where that is hidden from us."""
        boot = _boot()
        return bool(boot) and (self.host, self.boot) == (this_host(), boot)

    def advice(self, user: str | None) -> str:
        """What decides whether it, a process of `user`, is alive, when its fate is ELSEWHERE."""
        whose = f"process {self.pid}" + (f" of user {user}" if user else "")
        if self.is_near():
            return f"{whose} on this host cannot be examined; mgmt recover as {user or 'that user'} or root decides"
        if self.host == this_host():
            where = f"{whose} runs, or ran, on this host where it cannot be seen, as in a container"
            return f"{where}; mgmt recover there decides, or only if it has ended: mgmt recover --host {self.host}"
        return f"{whose} runs, or ran, on {self.host}; only if that host is down: mgmt recover --host {self.host}"


def this_host() -> str:
    """The name of this machine: local paths, and processes, belong to it."""
    return socket.gethostname() or "localhost"


def _boot() -> str:
    """This boot of the machine, and on Linux the space that process numbers are unique in: a container has its own.

    Empty when that cannot be found out, as on Linux without /proc.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}+{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return _said("sysctl", "-n", "kern.bootsessionuuid")


def _exists(pid: int) -> bool:
    """Whether there is a process `pid`, whoever may look at it; a zombie is one."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _start(pid: int) -> str | None:
    """When `pid` started, in whatever words the system has for it; _DEAD for a zombie; None when it cannot be seen."""
    if not os.path.exists("/proc/self/stat"):
        return _said("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold spaces and parentheses itself: proc_pid_stat(5).
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return _DEAD if fields[0] in "ZX" else fields[19]


def _said(*command: str) -> str:
    """What a command of the system prints; nothing where there is no such command."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return ""
    return told.stdout.strip().replace("/", "-")
