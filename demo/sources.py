"""A source tree to archive: thousands of small real text files, and file names that break tools."""

import os
import random
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SMALL_BYTES = 64 * 1024


def make_sources(folder: Path, files: int, seed: int) -> None:
    """Fill the new `folder` with up to `files` real source files of this Python, in deep folders, and unusual names.

    The files come from the standard library and the packages installed beside it: the same seed picks the same ones, as
    long as the same Python is installed.
    """
    here = sorted(_source_files())
    for path, name in random.Random(seed).sample(here, min(files, len(here))):  # noqa: S311 - a choice, not a secret
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    _add_oddities(folder)


def _source_files() -> Iterator[tuple[str, str]]:
    for kind in ("stdlib", "purelib"):
        top = sysconfig.get_path(kind)
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages", "__pycache__")]
            for name in names:
                path = os.path.join(folder, name)
                if name.endswith((".py", ".pyi", ".txt", ".md")) and 0 < os.path.getsize(path) <= SMALL_BYTES:
                    yield path, os.path.join(kind, os.path.relpath(path, top))


def _add_oddities(folder: Path) -> None:
    odd = folder / "odd names"
    odd.mkdir(parents=True)
    for name in (
        "read me first.txt",
        "-rf.txt",
        "naïve café ☕.txt",
        "写真の一覧.txt",
        "two\nlines.txt",
        ".hidden",
        "n" * 200,
    ):
        (odd / name).write_text(f"This file is called {name!r}.\n", encoding="utf-8")
    with suppress(OSError):  # macOS refuses names that are not UTF-8
        (odd / os.fsdecode(b"caf\xe9 in latin-1.txt")).write_text("A name that is not UTF-8.\n", encoding="utf-8")
    (odd / "empty file").touch()
    (odd / "script.sh").write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    (odd / "script.sh").chmod(0o755)
    (folder / "empty folder").mkdir()
    (folder / "latest").symlink_to("odd names")
    (folder / "odd names" / "dangling").symlink_to("../nowhere/to/be found")
    os.link(odd / "script.sh", odd / "the same script.sh")
