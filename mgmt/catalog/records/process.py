"""The process that owns an operation, and whether it is alive."""

import getpass
import os
import socket
from dataclasses import dataclass
from enum import Enum

from mgmt.words import shell_word

_ZOMBIE = "zombie"


class Liveness(Enum):
    """Whether the process of an owner is alive, as seen from here."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """It cannot be examined: it is on another machine, in another container, or hidden by the options of /proc."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, identified by host, boot, process id and start time: ids alone are reused."""

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
        """The owner that `text`, made by `str`, stands for; of any other text, one that cannot be examined."""
        try:
            host, boot, pid, start = text.rsplit("/", 3)
            return cls(host, boot, int(pid), start)
        except ValueError:
            return cls(text, "", 0, "")

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.pid}/{self.start}"

    def liveness(self) -> Liveness:
        """Whether the process is alive. One that cannot be examined is UNKNOWN, never DEAD."""
        here = this_host(), _boot()
        if self.host != here[0] or not self.boot or not here[1]:
            return Liveness.UNKNOWN
        if self.boot.partition("+")[0] != here[1].partition("+")[0]:
            return Liveness.DEAD
        if self.boot != here[1]:
            return Liveness.UNKNOWN
        start = _start(self.pid)
        if start is None:  # /proc may hide the processes of other users: proc_pid(5), hidepid
            return Liveness.UNKNOWN if _exists(self.pid) else Liveness.DEAD
        if not self.start and start is not _ZOMBIE:
            return Liveness.UNKNOWN
        return Liveness.ALIVE if start == self.start else Liveness.DEAD

    def may_be_alive(self) -> bool:
        """Whether the process is alive, or exists on this host but cannot be examined."""
        liveness = self.liveness()
        return liveness is Liveness.ALIVE or (liveness is Liveness.UNKNOWN and self.is_local())

    def is_local(self) -> bool:
        """Whether its process id belongs to this system, even if /proc hides the process."""
        boot = _boot()
        return bool(boot) and (self.host, self.boot) == (this_host(), boot)

    def advice(self, user: str | None) -> str:
        """How to find out whether it, a process of `user`, is alive, if its liveness is UNKNOWN."""
        whose = f"process {self.pid}" + (f" of user {user}" if user else "")
        if self.is_local():
            return f"{whose} on this host cannot be examined; run mgmt recover as {user or 'that user'} or root"
        recover = f"mgmt recover --host {shell_word(self.host)}"
        if self.host == this_host():
            where = f"{whose} cannot be seen from here, though it is on this host (in a container?)"
            return f"{where}; run mgmt recover there, or, only if it has ended: {recover}"
        return f"{whose} is on {self.host}; only if that host is down: {recover}"


def this_host() -> str:
    """The name of this machine, to which local paths and processes belong."""
    return socket.gethostname() or "localhost"


def current_user() -> str:
    """The name of the user of this process, or their id: a container may run as an id without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _boot() -> str:
    """The id of this boot, and on Linux also that of the PID namespace, as a container has its own process ids.

    Empty if it cannot be determined, as on Linux without /proc.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}+{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return _output("sysctl", "-n", "kern.bootsessionuuid")


def _exists(pid: int) -> bool:
    """Whether a process `pid` exists, readable or not; a zombie exists."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _start(pid: int) -> str | None:
    """The start time of `pid` in the system's own format; _ZOMBIE for a zombie; None if it cannot be examined."""
    if not os.path.exists("/proc/self/stat"):
        return _output("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The command name is in parentheses and may contain spaces and parentheses: proc_pid_stat(5).
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return _ZOMBIE if fields[0] in "ZX" else fields[19]


def _output(*command: str) -> str:
    """The output of a system command; empty if the command does not exist."""
    import subprocess  # slow to import, and Linux needs none of this

    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return ""
    return done.stdout.strip().replace("/", "-")
