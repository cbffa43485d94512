"""`python -m benchmarks.run [ROW...]`: run the rows (all of them without names), and print a table."""

import importlib
import platform
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from tests.servers import seaweedfs

ROWS = ("memory",)


def main(names: list[str]) -> None:
    """Run each row against a server of its own, and print as it goes."""
    for name in names or ROWS:
        if name not in ROWS:
            raise SystemExit(f"there is no row {name!r}; there are: {', '.join(ROWS)}")
    print(f"{platform.platform()}, Python {platform.python_version()}")
    for name in names or ROWS:
        with tempfile.TemporaryDirectory(prefix="mgmt-bench-") as temporary, seaweedfs() as server:
            table = []
            for what, cost, peer, goal in importlib.import_module(f"benchmarks.{name}").rows(Path(temporary), server):
                ratio = f"{peer.seconds / cost.seconds:.2f}x" if peer else ""
                table.append(
                    [
                        what,
                        f"{cost.seconds:.1f}",
                        f"{peer.seconds:.1f}" if peer else "",
                        ratio,
                        f"{cost.cpu_seconds:.1f}",
                        f"{cost.peak_rss / 1e6:.0f}",
                        f"{peer.peak_rss / 1e6:.0f}" if peer else "",
                        goal,
                    ]
                )
        titles = ["row", "seconds", "rclone copyto", "as fast", "CPU s", "peak MB", "rclone peak MB", "goal"]
        print(tabulate(table, headers=titles, tablefmt="github", disable_numparse=True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
