"""The targets of an upload: read from a list, each of them once."""

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from mgmt.catalog import Catalog, Role, UploadRecord
from mgmt.errors import ConfigurationError, MgmtError, NotFoundError
from mgmt.paths import absolute, canonical
from mgmt.services.steps.context import Context
from mgmt.words import shell_word

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
        shown = shell_word(name) if os.path.exists(name) else "LIST"
        raise ConfigurationError(
            f"the list {name} is in UTF-16",
            next_step=f"iconv -f UTF-16 -t UTF-8 {shown} | mgmt upload --files-from -",
        )
    lines = data.split(b"\n")
    if not os.path.lexists(lines[0].removesuffix(b"\r")):
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    return [os.fsdecode(path) for path in map(_without_return, lines) if path]


def _without_return(line: bytes) -> bytes:
    plain = line.removesuffix(b"\r")
    return line if plain != line and os.path.lexists(line) else plain


def once_each(paths: Iterable[str]) -> dict[str, str]:
    """`paths` without duplicates, by the path that each means: `s`, `./s` and `s/` name the same folder."""
    targets: dict[str, str] = {}
    for path in paths:
        try:
            meant = canonical(path)
        except MgmtError:  # reported when its turn comes, like the errors of other targets
            meant = path
        targets.setdefault(meant, path)
    return targets


def inside_another(targets: Mapping[str, str]) -> dict[str, str]:
    """Those of the `targets` of `once_each` that are inside another one, and that one; both as they were typed."""
    places = sorted((absolute(meant).split("/"), path) for meant, path in targets.items() if meant)
    found: dict[str, str] = {}
    above: tuple[list[str], str] | None = None
    for parts, path in places:
        if above is not None and len(parts) > len(above[0]) and parts[: len(above[0])] == above[0]:
            found[path] = above[1]
        else:
            above = parts, path
    return found


def folders_above(target: str) -> Iterator[tuple[str, str]]:
    """The folders that `target` is in, the nearest first, each with the path of the target in it. Nothing need exist.

    Only the folders are resolved: the target may be a symbolic link.
    """
    folder, name = os.path.split(target.rstrip("/"))
    if name in (".", ".."):
        folder, name = os.path.split(os.path.realpath(target))
    above, inside = os.path.realpath(folder), name
    while inside:
        yield above, inside
        above, name = os.path.split(above)
        inside = os.path.join(name, inside) if name else ""


def was_part(inside: str, whole: UploadRecord, catalog: Catalog) -> bool:
    """Whether `inside`, a path in the folder that `whole` has archived, is in its archive."""
    for archive, _ in catalog.metadata.files_of(whole, Role.ARCHIVE):
        for root in catalog.members.list(archive.id, limit=1):  # which may have the name of another folder
            with suppress(NotFoundError):
                catalog.members.find(archive.id, os.path.join(root.path, inside))
                return True
    return False


def unless_part_of_another(
    upload: Callable[[str, Context], UploadRecord],
) -> Callable[[str, Context], UploadRecord]:
    """`upload`, except for a target that is gone because a folder that it was in has been archived and moved.

    The record of that folder stands for it, too. What was never in that folder is no part of it.
    """
    moved: dict[str, UploadRecord] = {}

    def work(target: str, context: Context) -> UploadRecord:
        if moved and not os.path.lexists(target):
            for above, inside in folders_above(target):
                if above in moved and was_part(inside, moved[above], context.catalog):
                    return moved[above]
        record = upload(target, context)
        if record.completed_dir_path is not None and record.folder_count:
            moved[str(record.target_path)] = record
        return record

    return work
