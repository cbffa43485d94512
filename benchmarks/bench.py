"""Rows of results, and the runs of mgmt and its peers that fill them."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.inputs import Inputs
from benchmarks.measure import Cost, middle, run
from benchmarks.peers import PeerError, Peers
from tests.servers import Server

BUCKET = "bench"
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    against: str
    """The peer; empty where the goal is an absolute figure."""
    ours: float
    theirs: float | None
    """None where there is no peer, or it failed; `note` has the reason."""
    unit: str
    """Of `ours` and `theirs`."""
    ratio: str
    goal: str
    met: bool | None
    """None without a goal, or where it is unknown."""
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One point of the plots: the time at a size."""

    plot: str
    """The unit of `x`: "bytes", "files" or "rows"."""
    line: str
    x: float
    seconds: float


@dataclass(frozen=True)
class Failure:
    """The reason why a peer has no figure."""

    reason: str


Contestant = Callable[[], Cost]
"""One run, with its preparation and cleanup outside the measured time."""


@dataclass(frozen=True, eq=False)
class Bench:
    """The inputs, the servers and the programs of one run of the benchmarks."""

    folder: Path
    """For the homes of mgmt and the servers; on the file system of the inputs."""
    scratches: Path
    """For downloads; on the same file system. It is emptied after all measurements (see `scratch`)."""
    inputs: Inputs
    peers: Peers
    server: Server
    """SeaweedFS."""
    sink: Server
    """The null sink."""
    runs: int
    quick: bool
    """Whether this run only checks that the benchmarks work, with a twentieth of the sizes."""
    points: list[Point] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def scaled(self, full: int) -> int:
        """`full`, or a twentieth of it in a quick run."""
        return full // 20 if self.quick else full

    def point(self, plot: str, line: str, x: float, seconds: float) -> None:
        """Add a point to a plot."""
        self.points.append(Point(plot, line, x, seconds))

    def name(self) -> str:
        """A name that no earlier run has used."""
        return f"run-{next(self._numbers)}"

    def measure(self, command: Sequence[str], *, server: Server | None = None, cwd: Path | None = None) -> Cost:
        """The cost of a peer's run against `server` (SeaweedFS). Raises CalledProcessError if it fails."""
        return run(command, cwd=cwd or self.folder, environment=self.environment(server or self.server))

    def pair(self, ours: Contestant, peers: Mapping[str, Contestant]) -> tuple[Cost, dict[str, Cost | Failure]]:
        """Run all in turn, `runs` times, and return the medians. A peer may fail, which is noted; mgmt must not."""
        all_ours: list[Cost] = []
        theirs: dict[str, list[Cost]] = {name: [] for name in peers}
        failures: dict[str, Failure] = {}
        for _ in range(self.runs):
            all_ours.append(ours())
            for name, peer in peers.items():
                if name not in failures:
                    outcome = attempt(peer)
                    if isinstance(outcome, Failure):
                        failures[name] = outcome
                    else:
                        theirs[name].append(outcome)
        return middle(all_ours), {name: failures.get(name) or middle(costs) for name, costs in theirs.items()}

    def environment(self, server: Server) -> dict[str, str]:
        """The environment of a program: the variables of `server`, without the user's settings of AWS and mgmt."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MGMT_", "XDG_"))}
        s5cmd = {"S3_ENDPOINT_URL": server.endpoint_url}  # its name for AWS_ENDPOINT_URL
        return {**own, **server.environment, **s5cmd, "HOME": str(self.folder)}

    @contextmanager
    def home(self, server: Server | None = None) -> Iterator["Home"]:
        """A new home for mgmt, with a catalog in which one small upload is recorded.

        The first upload creates the catalog and probes the endpoint; it has a row of its own, and others exclude it.
        """
        server = server or self.server
        template = self.folder / f"home-of-{server.name}-{server.pid}"
        if not template.exists():
            first = Home(self, server, template)
            (template / "first.txt").write_text("the first upload\n")
            first.mgmt("upload", "first.txt", cwd=template)
        path = self.folder / f"home-{self.name()}"
        shutil.copytree(template, path)
        try:
            yield Home(self, server, path)
        finally:
            shutil.rmtree(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder. Large files in it are removed afterwards, the rest after all measurements.

        For some minutes after many files are removed, an ext4 without a journal skips all of their inodes for each new
        file: writing a tree of 20,000 files then takes ten times as long, with any program.
        """
        path = self.scratches / self.name()
        path.mkdir()
        yield path
        for file in path.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.stat().st_size > MIB:
                file.unlink()


class Home:
    """The home of one user of mgmt, with a catalog and `completed/`."""

    def __init__(self, bench: Bench, server: Server, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.environment = {
            **bench.environment(server),
            "HOME": str(path),
            "MGMT_STORE": f"s3://{BUCKET}/archive",
            "MGMT_CATALOG": f"sqlite:///{path}/catalog.db",
            "MGMT_COMPLETED_DIR": str(path / "completed"),
        }

    def mgmt(self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Cost:
        """Run mgmt as a whole process. Raises CalledProcessError if it fails."""
        return run([program(), "-q", *arguments], cwd=cwd or self.path, environment=environment or self.environment)

    def upload(self, target: Path, *options: str) -> Cost:
        """Upload `target`, and move it back outside the measured time."""
        cost = self.mgmt("upload", str(target), *options)
        os.rename(self.path / "completed" / target.name, target)
        return cost


def attempt(peer: Contestant) -> Cost | Failure:
    """One run of a peer, or the reason why it failed."""
    try:
        return peer()
    except PeerError as error:
        return Failure(str(error))
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in str(error.output).splitlines() if line.strip()]
        return Failure(f"it failed with status {error.returncode}: {lines[-1] if lines else 'no output'}")


def program() -> str:
    """The console script of the measured mgmt."""
    return str(Path(sys.executable).parent / "mgmt")


def as_fast(what: str, against: str, ours: Cost, theirs: Cost | Failure, goal: float | None, *, size: int) -> Row:
    """A row in seconds whose goal is to be `goal` times as fast; `size` is in bytes, for the CPU seconds per GiB."""
    text = f"≥ {goal}×" if goal is not None else ""
    if isinstance(theirs, Failure):
        return Row(what, against, ours.seconds, None, "s", "", text, None, theirs.reason)
    ratio = theirs.seconds / ours.seconds
    met = None if goal is None else ratio >= goal
    return Row(what, against, ours.seconds, theirs.seconds, "s", f"{ratio:.2f}×", text, met, costs(ours, theirs, size))


def at_most(
    what: str, against: str, ours: float, theirs: float | Failure, unit: str, goal: float | None, note: str = ""
) -> Row:
    """A row whose goal is at most `goal` times the amount of the peer."""
    text = f"≤ {goal}×" if goal is not None else ""
    if isinstance(theirs, Failure):
        return Row(what, against, ours, None, unit, "", text, None, theirs.reason)
    ratio = ours / theirs
    return Row(what, against, ours, theirs, unit, f"{ratio:.2f}×", text, None if goal is None else ratio <= goal, note)


def costs(ours: Cost, theirs: Cost | None, size: int) -> str:
    """CPU seconds per GiB of input, and the peak memory of one process, of mgmt and the peer."""
    both = [ours] if theirs is None else [ours, theirs]
    cpu = " : ".join(f"{each.cpu_seconds / size * GIB:.1f}" for each in both)
    peak = " : ".join(f"{each.peak_rss / MIB:.0f}" for each in both)
    return f"CPU {cpu} s/GiB, peak {peak} MiB"
