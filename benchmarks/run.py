"""`python -m benchmarks.run [--quick] [FAMILY...]`: run the families (by default all) and print their tables.

Without --quick, the tables also replace those in docs/benchmarks.md.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import BUCKET, Bench
from benchmarks.inputs import Inputs
from benchmarks.peers import Peers
from benchmarks.report import keep, table, write
from benchmarks.sink import null_sink
from tests.servers import seaweedfs

FAMILIES = ("start", "upload", "download", "member", "size", "growth", "eta", "catalog")
"""Each is a module of this package, with `rows(bench: Bench) -> Iterator[Row]`."""

FOLDER = Path("build/bench").resolve()
RUNS = 3


def main(arguments: list[str]) -> int:
    """Run the requested families; the status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of the sizes, once: only to check that it works"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(FAMILIES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of the Python programs, only mgmt is not installed
    FOLDER.mkdir(parents=True, exist_ok=True)
    peers = Peers(FOLDER / "peers")
    if options.quick:
        print("A quick run only checks that the benchmarks work. Its figures are meaningless.")
    with tempfile.TemporaryDirectory(prefix="left-", dir=FOLDER) as left:
        chosen = options.families or FAMILIES
        failed = [family for family in chosen if not _run(family, peers, Path(left) / family, quick=options.quick)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


def _run(family: str, peers: Peers, scratches: Path, *, quick: bool) -> bool:
    """Measure, print and keep the rows of a family; returns whether it succeeded."""
    print(f"\n## {family}\n", flush=True)
    scratches.mkdir()
    rows = []
    complete = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="work-", dir=FOLDER)))
        bench = Bench(
            folder,
            scratches,
            Inputs(FOLDER / "quick" if quick else FOLDER / "inputs", 0.05 if quick else 1.0),
            peers,
            stack.enter_context(seaweedfs(folder / "seaweedfs")),
            stack.enter_context(null_sink()),
            runs=1 if quick else RUNS,
            quick=quick,
        )
        bench.server.client().create_bucket(Bucket=BUCKET)
        try:
            for row in importlib.import_module(f"benchmarks.{family}").rows(bench):
                rows.append(row)
                print(".", end="", file=sys.stderr, flush=True)
        except subprocess.CalledProcessError:
            traceback.print_exc()
            complete = False
    print("\n" + table(rows), flush=True)
    if complete and not quick:
        keep(family, rows, bench.points, peers)
        write(FAMILIES, peers)
    return complete


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
