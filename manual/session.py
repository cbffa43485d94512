"""The terminal session of the README: `make session` runs its commands and writes docs/images/session.svg.

The commands run in this process, with a store in a folder. What differs from run to run is made stable: names, ids,
times. Folders have other names for as many characters, so that the columns of tables stay in line.
"""

import io
import os
import random
import shlex
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from re import DOTALL, sub
from unittest.mock import patch

from rich.console import Console
from rich.text import Text

FILE = Path(__file__).resolve().parent.parent / "docs" / "images" / "session.svg"

COMMANDS = (
    "mgmt upload holiday interview.mov --tag year=2026",
    "mgmt search IMG_0002",
    "mgmt status holiday",
    "mgmt free holiday --yes",
    "mgmt status holiday | head -1",
)

WIDTH = 104
"""Columns of the picture; no command may print a longer line."""

_SHOWN = {"v": "/home/me/Videos", "st": "/mnt/nas/archive"}
"""What a folder below the temporary one is called in the picture."""

_YEAR_2026 = 1_767_225_600


def transcript() -> list[tuple[str, str]]:
    """Each command with what it prints. To be called once in a process, which it changes."""
    root = Path(tempfile.mkdtemp(prefix="", dir="/tmp"))  # so that the length of the path is known
    try:
        return list(_run(root))
    finally:
        shutil.rmtree(root)


def _run(root: Path) -> Iterator[tuple[str, str]]:
    work, store = root / "v", root / "st"
    store.mkdir()
    _fill(work)
    names = {str(root / name): shown for name, shown in _SHOWN.items()}
    assert all(len(name) == len(shown) for name, shown in names.items()), names  # noqa: S101 - or tables are crooked
    for name in [name for name in os.environ if name.startswith(("MGMT_", "XDG_", "AWS_"))]:
        del os.environ[name]
    os.environ |= {"HOME": str(root), "MGMT_STORE": f"file://{store}"}
    os.chdir(work)
    with _stable():
        for line in COMMANDS:
            typed, _, head = line.partition(" | head -")
            printed = _printed(shlex.split(typed)[1:])
            for name, shown in names.items():
                printed = printed.replace(name, shown)
            lines = printed.splitlines()
            yield line, "\n".join(lines[: int(head)] if head else lines)


def _printed(words: list[str]) -> str:
    from mgmt import cli

    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = cli.run(["--quiet", *words])
    assert status == 0, errors.getvalue()  # noqa: S101 - a picture of an error is none of the README
    return out.getvalue()


def _fill(work: Path) -> None:
    """Write the files that are archived: the same bytes and times in every run."""
    chance = random.Random(2026)  # noqa: S311 - nothing is secret
    (work / "holiday" / "beach").mkdir(parents=True)
    for number in range(1, 4):
        (work / "holiday" / "beach" / f"IMG_000{number}.jpg").write_bytes(chance.randbytes(3_000_000))
    (work / "interview.mov").write_bytes(chance.randbytes(7_000_000))
    for path in sorted(work.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (_YEAR_2026, _YEAR_2026))


@contextmanager
def _stable() -> Iterator[None]:
    """Let ids, times and durations be the same in every run, as if all was done a moment ago."""
    chance = random.Random(4711)  # noqa: S311 - nothing is secret
    same: dict[str, Callable[..., object]] = {
        "uuid.uuid4": lambda: uuid.UUID(int=chance.getrandbits(128), version=4),
        "mgmt.cli.render.human_time": lambda _: "just now",
        "mgmt.cli.file_status.human_time": lambda _: "just now",
        "mgmt.cli.log._seconds": lambda duration: None if duration is None else "0.4",
    }
    with ExitStack() as stack:
        for name, stands in same.items():
            stack.enter_context(patch(name, stands))
        yield


def picture(session: list[tuple[str, str]]) -> str:
    """The session as SVG. It refers to nothing outside: the fonts are those of the reader."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command, printed in session:
        assert all(len(line) <= WIDTH for line in printed.splitlines()), printed  # noqa: S101 - rich would break it
        console.print(Text("$ ", "bold green") + Text(command, "bold"))
        console.print(Text(printed))
        console.print()
    svg = console.export_svg(title="mgmt", unique_id="mgmt")
    svg = sub(r"@font-face \{.*?\}\s*", "", svg, flags=DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(picture(transcript()), "utf-8")
    target.chmod(0o644)  # mgmt keeps private what a process writes
