"""The patterns of files that a media hash list leaves out: those of a .gitignore (gitignore(5))."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

DEFAULT = (".DS_Store", "ascmhl", "ascmhl/")
"""What a list without patterns leaves out."""


class _Pattern(NamedTuple):
    keeps: bool
    only_folders: bool
    parts: tuple[str, ...]


class Ignored:
    """What the patterns of a list leave out. Each path is relative to the folder of the list."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns) or DEFAULT
        self._parsed = [found for each in self.patterns if (found := _parse(each)) is not None]
        self._known: dict[str, bool] = {"": False}
        """Folders, and whether they are left out."""

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path` itself is left out; the last pattern that matches decides."""
        parts = path.split("/")
        for pattern in reversed(self._parsed):
            if (is_folder or not pattern.only_folders) and _match(pattern.parts, parts):
                return not pattern.keeps
        return False

    def leaves_out(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether `path` or a folder above it is left out."""
        above, _, _ = path.rpartition("/")
        return self._folder(above) or self.matches(path, is_folder=is_folder)

    def _folder(self, path: str) -> bool:
        """Whether the folder at `path` or one above it is left out."""
        unknown = []
        while path not in self._known:
            unknown.append(path)
            path, _, _ = path.rpartition("/")
        found = self._known[path]
        for each in reversed(unknown):
            found = self._known[each] = found or self.matches(each, is_folder=True)
        return found


def _parse(text: str) -> _Pattern | None:
    keeps = text.startswith("!")
    text = text[keeps:].removesuffix("\n")
    if text.startswith("#") or not text.strip("/"):
        return None
    only_folders = text.endswith("/")
    text = text.rstrip("/")
    parts = tuple(each for each in text.split("/") if each)
    return _Pattern(keeps, only_folders, parts if "/" in text else ("**", *parts))


def _match(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether all of `parts` match; `**` matches any number of them. Takes at most the product of both lengths."""
    if len(pattern) == 2 and pattern[0] == "**" != pattern[1]:
        return _glob(pattern[1]).fullmatch(parts[-1]) is not None
    reached = {0}
    for each in parts:
        after = set[int]()
        for at in _beyond_stars(pattern, reached):
            if at < len(pattern) and pattern[at] == "**":
                after.update((at, at + 1) if at == len(pattern) - 1 else (at,))
            elif at < len(pattern) and _glob(pattern[at]).fullmatch(each):
                after.add(at + 1)
        reached = after
    return len(pattern) in reached


def _beyond_stars(pattern: Sequence[str], reached: set[int]) -> set[int]:
    found = set(reached)
    for at in reached:
        while at < len(pattern) and pattern[at] == "**":
            at += 1
            found.add(at)
    return found


@lru_cache(maxsize=4096)
def _glob(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))
