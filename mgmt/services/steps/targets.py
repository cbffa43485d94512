"""The targets of an upload: read from a list, each of them once."""

import codecs
import os
import shlex
from collections.abc import Iterable, Mapping

from mgmt.errors import ConfigurationError, MgmtError
from mgmt.paths import absolute, canonical

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_list(data: bytes, *, nul: bool, name: str) -> list[str]:
    """Paths from the `--files-from` file `name`: one per line, or separated by NUL.

    A list from Windows is understood: a byte order mark at its beginning and a carriage return at the end of a line are
    left out, unless a file has them in its name. Empty lines are. With `nul` names are exact. Raises ConfigurationError
    for a list in UTF-16.
    """
    if nul:
        return [os.fsdecode(each) for each in data.split(b"\0") if each]
    if data.startswith(_UTF16):
        raise ConfigurationError(
            f"the list {name} is in UTF-16",
            next_step=f"iconv -f UTF-16 -t UTF-8 {shlex.quote(name)} | mgmt upload --files-from -",
        )
    lines = data.split(b"\n")
    if not os.path.lexists(lines[0].removesuffix(b"\r")):
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    return [os.fsdecode(path) for path in map(_without_return, lines) if path]


def _without_return(line: bytes) -> bytes:
    plain = line.removesuffix(b"\r")
    return line if plain != line and os.path.lexists(line) else plain


def once_each(paths: Iterable[str]) -> dict[str, str]:
    """`paths` without duplicates, by the path that each means: `s`, `./s` and `s/` name the same target."""
    targets: dict[str, str] = {}
    for path in paths:
        targets.setdefault(meant_by(path), path)
    return targets


def meant_by(path: str) -> str:
    """The path of the target `path`; if that cannot be found, as it would be with the folders as they are named."""
    try:
        return canonical(path)
    except MgmtError:  # reported when its turn comes, like the errors of other targets
        return absolute(path) if path else path


def inside_another(targets: Mapping[str, str]) -> dict[str, str]:
    """Those of `targets`, which `once_each` gave, that are inside another one: the path of each, and of that one."""
    found: dict[str, str] = {}
    above = ""
    for meant in sorted(targets, key=lambda path: path.split("/")):
        if above and meant.startswith(f"{above}/"):
            found[targets[meant]] = targets[above]
        else:
            above = meant
    return found
