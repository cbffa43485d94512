"""Where the process of `mgmt` begins and ends."""

import gc
import sys

from mgmt import __version__

GARBAGE = 100_000
"""So many objects more than there were, and Python looks for garbage. With its own 700 it looks two hundred times while
it imports what a command needs, of which nothing is garbage."""


def main() -> None:
    """Run the command that the arguments say, and exit with its status."""
    if sys.argv[1:] == ["--version"]:  # scripts ask this, and need not wait for Click
        try:
            print(f"mgmt {__version__}", flush=True)
            return
        except OSError:
            pass  # `run` says what is wrong
    gc.set_threshold(GARBAGE)
    from mgmt.cli import run

    status = run(sys.argv[1:])
    gc.freeze()  # Python would look for garbage once more, among everything, before it forgets everything
    sys.exit(status)


if __name__ == "__main__":
    main()
