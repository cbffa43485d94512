"""`python -m benchmarks.scale browse|catalog|history|index|stream ...`: see the modules of these names."""

import runpy
import sys

PARTS = ("browse", "catalog", "history", "index", "stream")

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        raise SystemExit(f"usage: python -m benchmarks.scale {'|'.join(PARTS)} ...")
    module = f"benchmarks.scale.{sys.argv.pop(1)}"
    runpy.run_module(module, run_name="__main__", alter_sys=True)
