"""Entry point of the `mgmt` command."""

import gc
import os
import sys

from mgmt import __version__

GARBAGE = 100_000
"""Threshold of the garbage collector. With Python's default of 700 it runs two hundred times during the imports of a
command, and finds nothing."""


def _open_closed_streams() -> None:
    """Give each standard stream that the caller has closed to the null device, before a file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def main() -> None:
    """Run `mgmt` with the arguments of this process, and exit with its status."""
    _open_closed_streams()
    if sys.argv[1:] == ["--version"]:  # scripts ask for it, and need not wait for Click
        try:
            print(f"mgmt {__version__}", flush=True)
            return
        except OSError:
            pass  # `run` reports the error
    gc.set_threshold(GARBAGE)
    from mgmt.cli import run

    try:
        sys.exit(run(sys.argv[1:]))  # after shell completion, Click exits by itself
    finally:
        gc.freeze()  # no last garbage collection of everything at exit


if __name__ == "__main__":
    main()
