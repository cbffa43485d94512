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


def _speak_utf8() -> None:
    """Start again in UTF-8 mode where Python reads arguments and names of files in the encoding of the locale.

    A name would then get another text, in archives and in the catalog, than in any other locale. The arguments keep
    their bytes.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - itself


def _escape_unprintable() -> None:
    """Escape what a stream cannot encode, if PYTHONIOENCODING has chosen another encoding for it."""
    for stream in (sys.stdout, sys.stderr):
        if stream.encoding != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def main() -> None:
    """Run `mgmt` with the arguments of this process, and exit with its status."""
    _speak_utf8()
    _open_closed_streams()
    _escape_unprintable()
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
