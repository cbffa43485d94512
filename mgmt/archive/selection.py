"""A part of an archive: one member, and for a folder what is below it, read without the rest."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mgmt.archive.blocks import Data
from mgmt.archive.index import Index
from mgmt.archive.member import Digest, Member, encode
from mgmt.archive.reader import Fetch, read_range
from mgmt.errors import IntegrityError, NotFoundError


@dataclass(frozen=True)
class Selection:
    """One member and what is below it. In a tar that is written depth first, that is one stretch: `start` to `end`.

    `path` is the member's, `name` what it is restored as; `digest` is that of the selected members, `size` the bytes
    of their contents.
    """

    path: str
    name: str
    start: int
    end: int
    digest: str
    members: int
    size: int


def select(index: Index, path: str) -> Selection:
    """The member `path`, given from the root or below it. A hard link stands for the file it is another name of.

    Raises NotFoundError when there is none; IntegrityError when it is a hard link to nothing.
    """
    chosen, selection = _find(index, path.rstrip("/"), below_root=True)
    if chosen is None or selection is None:
        raise NotFoundError(
            f"{index.header.key} has no member {path}", next_step=f"mgmt ls --members {index.header.key}"
        )
    if chosen.type == "h":
        first, selection = _find(index, chosen.link or "", below_root=False)
        if first is None or selection is None or first.type not in "fl":
            raise IntegrityError(
                f"{chosen.path} in {index.header.key} is a hard link to {chosen.link}, which is no file"
            )
    return replace(selection, name=os.fsdecode(encode(os.path.basename(chosen.path))))


def _find(index: Index, path: str, *, below_root: bool) -> tuple[Member | None, Selection | None]:
    chosen: Member | None = None
    digest = Digest()
    wanted = {path}
    root = ""
    count = size = 0
    end = index.end.tar_size
    for member in index.members():
        if not root:
            root = member.path
            if below_root:
                wanted.add(f"{root}/{path}")
        if chosen is None and member.path in wanted:
            chosen = member
        elif chosen is not None and not member.path.startswith(f"{chosen.path}/"):
            end = member.header_offset
            break
        if chosen is not None:
            digest.add(member)
            count += 1
            size += member.size
    if chosen is None:
        return None, None
    return chosen, Selection(chosen.path, "", chosen.header_offset, end, digest.hexdigest(), count, size)


def read_selection(index: Index, selection: Selection, fetch: Fetch, threads: int) -> Iterator[Data]:
    """The tar of a selection, ended as a tar is: what `read_members` takes."""
    yield from read_range(index, fetch, threads, selection.start, selection.end)
    yield bytes(1024)
