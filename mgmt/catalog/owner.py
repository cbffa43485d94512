"""Which process runs an operation, and whether it is still there."""

import os
import socket
import subprocess
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    """What has become of an owner."""

    ALIVE = "alive"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """It runs, or ran, where we cannot look: another machine, another container."""


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
        """Whether it is alive, as far as can be seen from here."""
        here = Owner.current()
        if self.host != here.host:
            return Fate.ELSEWHERE
        if self.boot.partition("+")[0] != here.boot.partition("+")[0]:
            return Fate.GONE
        if self.boot != here.boot:
            return Fate.ELSEWHERE
        return Fate.ALIVE if _start(self.pid) == self.start else Fate.GONE


def this_host() -> str:
    """The name of this machine: local paths, and processes, belong to it."""
    return socket.gethostname() or "localhost"


def _boot() -> str:
    """This boot of the machine, and on Linux the space that process numbers are unique in: a container has its own."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}+{os.stat('/proc/self/ns/pid').st_ino}"
    except FileNotFoundError:
        return _said("sysctl", "-n", "kern.bootsessionuuid")


def _start(pid: int) -> str | None:
    """When `pid` started, in whatever words the system has for it; None when there is no such process."""
    if not os.path.exists("/proc/self/stat"):
        return _said("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold spaces and parentheses itself: proc_pid_stat(5).
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _said(*command: str) -> str:
    told = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    )
    return told.stdout.strip().replace("/", "-")
