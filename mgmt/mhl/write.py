"""Write an ASC MHL 2.0 manifest and a chain file, valid by the schema (ASCMHL.xsd, ASCMHLDirectory.xsd)."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mgmt.errors import RefusedError
from mgmt.mhl.hashes import FORMATS, as_bytes, hash_of, hash_of_hashes
from mgmt.mhl.ignore import DEFAULT
from mgmt.mhl.manifest import Reference

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_ESCAPED = str.maketrans(_ESCAPES)
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no Char of XML 1.0 (production 2)."""


@dataclass(frozen=True, slots=True)
class Made:
    """When, where and by what a list is made. `process` is in-place, transfer or flatten."""

    at: datetime
    hostname: str
    tool: str
    version: str
    process: str


class File(NamedTuple):
    """A file to list: its path in the folder, its size in bytes, and its hash in each format.

    `mtime_ns` is in nanoseconds since 1970, UTC. `actions` are by format: original, verified or failed.
    """

    path: str
    size: int
    mtime_ns: int
    hashes: Mapping[str, str]
    actions: Mapping[str, str] = {}
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What a manifest lists. `folders` have their times of modification, in nanoseconds since 1970, UTC."""

    made: Made
    files: Sequence[File]
    folders: Mapping[str, int] = field(default_factory=dict)
    ignore: Sequence[str] = DEFAULT
    references: Sequence[Reference] = ()
    hashed: Sequence[str] = ()
    """The formats of the hashes of folders; each file needs them."""
    nested: Mapping[str, "FolderHash"] = field(default_factory=dict)
    """The hashes of folders that have a history of their own."""


class FolderHash(NamedTuple):
    """The hashes of a folder by format: of the contents alone, and of names and contents."""

    content: Mapping[str, str]
    structure: Mapping[str, str]


def manifest(generation: Generation) -> Iterator[bytes]:
    """The manifest of `generation`, in pieces. Raises RefusedError for a name that XML cannot hold."""
    made, at = generation.made, _time(generation.made.at)
    hashes = folder_hashes(generation) if generation.hashed else {}
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">\n'
    yield _encoded(
        f"  <creatorinfo>\n    <creationdate>{at}</creationdate>\n    <hostname>{escape(made.hostname)}</hostname>\n"
        f'    <tool version="{escape(made.version)}">{escape(made.tool)}</tool>\n  </creatorinfo>\n'
    )
    yield _encoded(f"  <processinfo>\n    <process>{made.process}</process>\n")
    if "" in hashes:
        yield _encoded(f"    <roothash>\n{_folder_hash(hashes[''], at, '      ')}    </roothash>\n")
    patterns = "".join(f"      <pattern>{escape(each)}</pattern>\n" for each in generation.ignore)
    yield _encoded(f"    <ignore>\n{patterns}    </ignore>\n  </processinfo>\n" if patterns else "  </processinfo>\n")
    if generation.files or generation.folders:
        yield b"  <hashes>\n"
        for file in sorted(generation.files):
            yield _encoded(_file(file, at))
        for path in sorted(generation.folders):
            when = _time_ns(generation.folders[path])
            yield _encoded(
                f"    <directoryhash>\n      <path{_attribute('lastmodificationdate', when)}>{escape(path)}</path>\n"
                f"{_folder_hash(hashes.get(path, FolderHash({}, {})), at, '      ')}    </directoryhash>\n"
            )
        yield b"  </hashes>\n"
    if generation.references:
        yield b"  <references>\n"
        for each in generation.references:
            yield _encoded(
                f"    <hashlistreference>\n      <path>{escape(each.path)}</path>\n"
                f"      <c4>{each.c4}</c4>\n    </hashlistreference>\n"
            )
        yield b"  </references>\n"
    yield b"</hashlist>\n"


def chain(generations: Iterable[Reference]) -> Iterator[bytes]:
    """The chain file of `generations`, in pieces."""
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0">\n'
    for each in generations:
        yield _encoded(
            f'  <hashlist sequencenr="{each.number}">\n    <path>{escape(each.path)}</path>\n'
            f"    <c4>{each.c4}</c4>\n  </hashlist>\n"
        )
    yield b"</ascmhldirectory>\n"


def folder_hashes(generation: Generation) -> dict[str, FolderHash]:
    """The hashes of each folder of `generation`, its own folder being "".

    The hash of the contents is that of the sorted hashes of all that is directly in the folder; for that of the
    structure, each is first hashed together with its name.
    """
    content: dict[str, dict[str, list[str]]] = {"": {}}
    structure: dict[str, dict[str, list[str]]] = {"": {}}

    def put(path: str, contents: Mapping[str, str], structures: Mapping[str, str]) -> None:
        folder, name = posixpath.split(path)
        for each in generation.hashed:
            named = hash_of(each, (name.encode(errors="surrogateescape"), as_bytes(each, structures[each])))
            content.setdefault(folder, {}).setdefault(each, []).append(contents[each])
            structure.setdefault(folder, {}).setdefault(each, []).append(named)

    found: dict[str, FolderHash] = {}
    for file in generation.files:
        put(file.path, file.hashes, file.hashes)
    inner = {*generation.folders, *generation.nested} - {""}
    for path in (*sorted(inner, key=lambda each: (-each.count("/"), each)), ""):
        own = generation.nested.get(path) or FolderHash(
            {each: hash_of_hashes(each, content.get(path, {}).get(each, ())) for each in generation.hashed},
            {each: hash_of_hashes(each, structure.get(path, {}).get(each, ())) for each in generation.hashed},
        )
        found[path] = own
        if path:
            put(path, *own)
    return found


def escape(text: str) -> str:
    """`text` for an element or attribute of XML 1.0. Raises RefusedError for a character that it cannot hold."""
    if _NOT_XML.search(text):
        raise RefusedError(
            f"{text!r} has a character that a media hash list cannot hold", next_step="rename the file, or leave it out"
        )
    return text.translate(_ESCAPED)


def _file(file: File, at: str) -> str:
    when = _attribute("lastmodificationdate", _time_ns(file.mtime_ns))
    lines = [f'    <hash>\n      <path size="{file.size}"{when}>{escape(file.path)}</path>\n']
    for name in FORMATS:
        if name in file.hashes:
            action = file.actions.get(name, "original")
            lines.append(f'      <{name} action="{action}" hashdate="{at}">{file.hashes[name]}</{name}>\n')
    if file.previous is not None:
        lines.append(f"      <previousPath>{escape(file.previous)}</previousPath>\n")
    return "".join((*lines, "    </hash>\n"))


def _folder_hash(found: FolderHash, at: str, indent: str) -> str:
    lines = []
    for kind, hashes in (("content", found.content), ("structure", found.structure)):
        inner = "".join(
            f'{indent}  <{name} hashdate="{at}">{hashes[name]}</{name}>\n' for name in FORMATS if name in hashes
        )
        lines.append(f"{indent}<{kind}>\n{inner}{indent}</{kind}>\n")
    return "".join(lines)


def _time(moment: datetime) -> str:
    """An `xs:dateTime` in UTC, to the second."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat()


def _time_ns(nanoseconds: int) -> str | None:
    """An `xs:dateTime`; None for a time that has no year of four digits."""
    try:
        return _time(_EPOCH + timedelta(seconds=nanoseconds // 10**9))
    except OverflowError:
        return None


def _attribute(name: str, value: str | None) -> str:
    return "" if value is None else f' {name}="{value}"'


def _encoded(text: str) -> bytes:
    return text.encode()
