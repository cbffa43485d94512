"""Parse a media hash list: an ASC MHL 2.0 manifest, its chain file, or MHL 1.1.

A list may come from anybody. It is parsed as a stream with bounded memory: a DTD, and so any entity, is refused, as are
paths that leave the folder of the list. Whatever is refused raises IntegrityError with the name of the list.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from mgmt.errors import IntegrityError
from mgmt.mhl.hashes import FORMATS, LEGACY, canonical, canonical_legacy

LARGEST = 256 << 20
"""Bytes of a list."""
MOST_ENTRIES = 1_000_000
_MOST_ELEMENTS = 8_000_000
_DEEPEST = 32
_LONGEST_TEXT = 64 << 10
_LONGEST_TOKEN = 1 << 20
_LONGEST_PATH = 4096
_MOST_PATTERNS = 1000
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_ACTIONS = ("original", "verified", "failed", None)


class Hash(NamedTuple):
    """A hash as a list states it. `failed`: it differed from an earlier one when the list was made."""

    text: str
    failed: bool = False


class Entry(NamedTuple):
    """A file or folder of a list, by its path relative to the folder of the list.

    `hashes` are by format, those of a folder are not kept. `size` is in bytes, None if it is not stated. `previous` is
    the path that it had in an earlier generation.
    """

    path: str
    hashes: Mapping[str, Hash]
    size: int | None = None
    previous: str | None = None
    is_folder: bool = False
    only_size: bool = False
    """Whether the list states on purpose that it has no hash (`null` of MHL 1.1)."""


class Reference(NamedTuple):
    """A list that another one names, and its C4 ID. `number` is its place in a chain."""

    path: str
    c4: str
    number: int = 0


@dataclass(slots=True)
class Manifest:
    """What a media hash list says."""

    name: str
    """The path of the list."""
    legacy: bool = False
    """Whether it is MHL 1.1."""
    entries: dict[str, Entry] = field(default_factory=dict)
    ignore: list[str] = field(default_factory=list)
    """Patterns of files that the list leaves out."""
    references: list[Reference] = field(default_factory=list)
    """Lists of nested histories; of a chain file, the list of each generation."""


def unusable(name: str, reason: str) -> IntegrityError:
    """The error of a media hash list that cannot be used."""
    return IntegrityError(
        f"{name} cannot be used as a media hash list: {reason}", next_step="compare it with the list on another copy"
    )


def parse(name: str, pieces: Iterable[bytes]) -> Manifest:
    """The list that `pieces` are, called `name`. Raises IntegrityError."""
    return _Parser(name, "hashlist").parse(pieces)


def parse_chain(name: str, pieces: Iterable[bytes]) -> list[Reference]:
    """The generations of a chain file, in order. Raises IntegrityError."""
    found = _Parser(name, "ascmhldirectory").parse(pieces).references
    numbers = [each.number for each in found]
    if numbers != list(range(1, len(found) + 1)):
        raise unusable(name, f"its generations have the numbers {', '.join(map(str, numbers[:20]))}")
    if len({each.path for each in found}) < len(found) or any("/" in each.path for each in found):
        raise unusable(name, "it names a list twice or in another folder")
    return found


class _Parser:
    """A parser for one document, which knows the path of the open elements."""

    def __init__(self, name: str, root: str) -> None:
        self._name = name
        self._root = root
        self._manifest = Manifest(name)
        self._open: list[str] = []
        self._elements = 0
        self._text: list[str] | None = None
        self._length = 0
        self._windows = False  # whether a path has a backslash
        self._number = 0
        self._attributes: Mapping[str, str] = {}
        self._reset()

    def _reset(self) -> None:
        self._fields: dict[str, str] = {}
        self._hashes: dict[str, Hash] = {}
        self._size: int | None = None
        self._only_size = False

    def parse(self, pieces: Iterable[bytes]) -> Manifest:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_dtd
        parser.EntityDeclHandler = self._refuse_dtd
        parser.ExternalEntityRefHandler = self._refuse_dtd
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        size = 0
        try:
            for piece in pieces:
                for start in range(0, len(piece), 1 << 16):
                    part = piece[start : start + (1 << 16)]
                    size += len(part)
                    if size > LARGEST:
                        raise self._unusable(f"it is larger than {LARGEST >> 20} MiB")
                    parser.Parse(part, False)
                    if size - parser.CurrentByteIndex > _LONGEST_TOKEN:
                        raise self._unusable("it has a name, attribute or comment of more than 1 MiB")
            parser.Parse(b"", True)
        except expat.ExpatError as exc:
            where = f"line {exc.lineno}, column {exc.offset}"
            raise self._unusable(f"{expat.ErrorString(exc.code)} at {where}") from exc
        except (LookupError, ValueError) as exc:  # an encoding that Python does not know, or cannot use here
            raise self._unusable("its encoding is unknown") from exc
        if self._windows and not any("/" in path for path in self._manifest.entries):
            self._translate_backslashes()
        return self._manifest

    def _unusable(self, reason: str) -> IntegrityError:
        return unusable(self._name, reason)

    def _refuse_dtd(self, *_: object) -> int:
        raise self._unusable("it has a document type declaration")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        name = tag.rpartition(" ")[2]
        if not self._open:
            self._check_root(name, attributes)
        self._open.append(name)
        if len(self._open) > _DEEPEST or self._elements > _MOST_ELEMENTS:
            raise self._unusable("it has too many elements, or they are nested too deeply")
        self._text, self._length, self._attributes = [], 0, attributes
        if "sequencenr" in attributes:
            self._number = self._as_size(attributes["sequencenr"]) or 0

    def _check_root(self, name: str, attributes: Mapping[str, str]) -> None:
        version = attributes.get("version", "")
        if name != self._root:
            raise self._unusable(f"its root is {name[:40]!r}, not {self._root!r}")
        if self._root == "hashlist" and version != "2.0":
            if not version.startswith("1."):
                raise self._unusable(f"its version is {version[:40]!r}, and neither 2.0 nor 1.x")
            self._manifest.legacy = True

    def _characters(self, text: str) -> None:
        if self._text is None:
            return
        self._length += len(text)
        if self._length > _LONGEST_TEXT:
            if len(self._open) > 1 and text.strip():
                raise self._unusable(f"the text of an element is longer than {_LONGEST_TEXT >> 10} KiB")
            self._text, self._length = [], 0  # white space between elements
            return
        self._text.append(text)

    def _end(self, _tag: str) -> None:
        where, text = self._open[2 if self._open[1:2] == ["hashes"] else 1 :], "".join(self._text or ())
        self._text = None
        name = self._open.pop()
        match where:
            case ["hash" | "directoryhash" as kind]:
                self._finish_entry(is_folder=kind == "directoryhash")
            case ["hash", _]:
                self._in_hash(name, text)
            case ["directoryhash", "path" | "previousPath"]:
                self._fields[name] = text
            case ["processinfo", "ignore", "pattern"]:
                self._manifest.ignore.append(text)
                if len(self._manifest.ignore) > _MOST_PATTERNS or len(text) > _LONGEST_PATH:
                    raise self._unusable(
                        f"it has more than {_MOST_PATTERNS} patterns, or one of more than 4096 characters"
                    )
            case ["references", "hashlistreference"] | ["hashlist"]:
                self._finish_reference()
            case ["references", "hashlistreference", "path" | "c4"] | ["hashlist", "path" | "c4"]:
                self._fields[name] = text

    def _in_hash(self, name: str, text: str) -> None:
        if name in ("path", "file", "previousPath"):
            if name in self._fields:
                raise self._unusable(f"an entry has two elements {name!r}")
            self._fields[name] = text
            if name == "path":
                self._size = self._as_size(self._attributes.get("size"))
        elif name == "size" and self._manifest.legacy:
            self._size = self._as_size(text.strip())
        elif name == "null" and self._manifest.legacy:
            self._only_size = True
        elif name in (LEGACY if self._manifest.legacy else FORMATS):
            self._add_hash(name, text.strip())

    def _add_hash(self, name: str, text: str) -> None:
        if self._manifest.legacy:
            kind, found = LEGACY[name], canonical_legacy(name, text)
        else:
            kind, found = name, canonical(name, text)
        action = self._attributes.get("action")
        if found is None:
            raise self._unusable(f"{text[:100]!r} is no {name} hash")
        if action not in _ACTIONS:
            raise self._unusable(f"{action[:40]!r} is no action")
        if kind in self._hashes:
            raise self._unusable(f"an entry has two {kind} hashes")
        self._hashes[kind] = Hash(found, action == "failed")

    def _as_size(self, text: str | None) -> int | None:
        if text is None or text == "":
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 19:
            raise self._unusable(f"{text[:40]!r} is no size")
        return int(text)

    def _finish_entry(self, *, is_folder: bool) -> None:
        path = self._path(self._fields.get("file" if self._manifest.legacy and not is_folder else "path"))
        before = self._fields.get("previousPath")
        previous = None if before is None else self._path(before)
        if path not in (None, "") or not is_folder:
            if not path:
                raise self._unusable("an entry has no path")
            if path in self._manifest.entries:
                raise self._unusable(f"{path!r} is listed twice")
            if len(self._manifest.entries) >= MOST_ENTRIES:
                raise self._unusable(f"it has more than {MOST_ENTRIES} entries")
            self._windows = self._windows or (self._manifest.legacy and "\\" in path)
            hashes = {} if is_folder else self._hashes
            entry = Entry(path, hashes, self._size, previous or None, is_folder, self._only_size)
            self._manifest.entries[path] = entry
        self._reset()

    def _finish_reference(self) -> None:
        path, c4 = self._path(self._fields.get("path")), canonical("c4", self._fields.get("c4", "").strip())
        if not path or c4 is None:
            raise self._unusable("it names a list without a path or without a C4 ID")
        self._manifest.references.append(Reference(path, c4, self._number))
        self._reset()

    def _path(self, text: str | None) -> str | None:
        """A path of the list, without `.` and doubled slashes; None if there is none."""
        if text is None:
            return None
        if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
            raise self._unusable("a path is longer than 4096 bytes")
        if text.startswith("/") or (self._manifest.legacy and _DRIVE.match(text)):
            raise self._unusable(f"the path {text[:200]!r} is absolute")
        parts = text.split("/")
        if ".." in parts:
            raise self._unusable(f"the path {text[:200]!r} leaves the folder")
        return "/".join(each for each in parts if each not in ("", "."))

    def _translate_backslashes(self) -> None:
        """Read `\\` as `/`: a tool on Windows wrote this list."""
        found, self._manifest.entries = self._manifest.entries, {}
        for entry in found.values():
            path = self._path(entry.path.replace("\\", "/"))
            if not path or path in self._manifest.entries:
                raise self._unusable(f"{entry.path[:200]!r} is listed twice, or is no path")
            self._manifest.entries[path] = entry._replace(path=path)
