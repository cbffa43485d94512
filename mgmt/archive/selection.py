"""Reading one member of an archive, with everything below it, without the rest."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mgmt.archive.blocks import Data
from mgmt.archive.index import Index
from mgmt.archive.member import Digest, Member, encode
from mgmt.archive.reader import Fetch, read_range
from mgmt.errors import IntegrityError, NotFoundError
from mgmt.words import shell_word


@dataclass(frozen=True)
class Selection:
    """One member and everything below it: in a depth-first tar, the range from `start` to `end`.

    `path` is the member's path, `name` the name it is restored under, `digest` that of the selected members, `size` the
    bytes of their contents.
    """

    path: str
    name: str
    start: int
    end: int
    digest: str
    members: int
    size: int


def select(index: Index, path: str) -> Selection:
    """The member `path`, with or without the name of the root. A hard link selects the file that it refers to.

    Raises NotFoundError when there is none; IntegrityError for a hard link to something that is not a file.
    """
    chosen, selection = _find(index, path.rstrip("/"), below_root=True)
    if chosen is None or selection is None:
        raise NotFoundError(
            f"{index.header.key} has no member {path}", next_step=f"mgmt ls --members {shell_word(index.header.key)}"
        )
    if chosen.type == "h":
        first, selection = _find(index, chosen.link or "", below_root=False)
        if first is None or selection is None or first.type not in "fl":
            raise IntegrityError(
                f"{chosen.path} in {index.header.key} is a hard link to {chosen.link}, which is not a file"
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
    """The tar of a selection, with an end: suitable for `read_members`."""
    yield from read_range(index, fetch, threads, selection.start, selection.end)
    yield bytes(1024)
