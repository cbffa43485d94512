"""Compare files with their media hash lists, as they are read: each file once, whatever it is read for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mgmt.mhl.hashes import Hashing
from mgmt.mhl.history import FOLDER, Expected, History, is_list, missing_references, within
from mgmt.mhl.ignore import Ignored


class Verdict(StrEnum):
    """How a file compares with its media hash lists."""

    OK = "ok"
    MISMATCH = "mismatch"
    MISSING = "missing"
    """It is listed, and not there."""
    ADDED = "added"
    """It is there, and not listed."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one file. `path` is relative to the folder, `listed_in` the list that it comes from."""

    type: str = "finding"
    path: str
    verdict: Verdict
    reason: str | None = None
    hash_format: str | None = None
    """The format of the hashes that differ."""
    expected: str | None = None
    found: str | None = None
    listed_in: str | None = None


class Check:
    """The comparison of one file while it is read: `update` with each piece, then `finish`."""

    def __init__(self, path: str, expected: list[Expected]) -> None:
        self.path = path
        self._expected = expected
        self.formats = sorted({name for each in expected for name in each.hashes})
        """The formats of the hashes that are compared."""
        self._hashing = Hashing(self.formats)
        self._size = 0

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file."""
        self._size += len(piece)
        self._hashing.update(piece)

    def finish(self) -> Finding:
        """The verdict, when all of the file was read."""
        return self.compare(self._hashing.values(), self._size)

    def compare(self, found: Mapping[str, str], size: int) -> Finding:
        """The verdict on a file with these hashes, by format, and this size in bytes."""
        for each in self._expected:
            for name, text in each.hashes.items():
                if found[name] != text:
                    return self._mismatch(each, "hash mismatch", name, text, found[name])
            if not each.hashes and not each.only_size:
                return self._mismatch(each, "the list has no hash for it, or only one that had failed")
            if each.size not in (None, size):
                return self._mismatch(each, f"it has {size} bytes, not {each.size}")
        return Finding(path=self.path, verdict=Verdict.OK, listed_in=self._expected[0].listed_in)

    def unreadable(self, reason: str) -> Finding:
        """The verdict on a file that cannot be read."""
        return Finding(path=self.path, verdict=Verdict.UNREADABLE, reason=reason, listed_in=self._expected[0].listed_in)

    def _mismatch(self, each: Expected, reason: str, name: str | None = None, *hashes: str) -> Finding:
        expected, found = hashes or (None, None)
        return Finding(
            path=self.path,
            verdict=Verdict.MISMATCH,
            reason=reason,
            hash_format=name,
            expected=expected,
            found=found,
            listed_in=each.listed_in,
        )


class Verification:
    """Compares a folder with the histories in it, in any order of its files.

    Ask `check` for each file, read it through what that returns, and ask `missing` when all were seen. A folder that
    `ignores` says so need not be entered. Files outside of each folder with a list are counted in `unlisted`.
    """

    def __init__(self, histories: Iterable[History]) -> None:
        self._histories = list(histories)
        self._expected: dict[str, list[Expected]] = {}
        self._folders: dict[str, str] = {}
        self._ignored: dict[str, list[tuple[Ignored, bool]]] = {}
        """For each folder with lists: what they leave out, and whether that is a history."""
        self._seen = set[str]()
        self.unlisted = 0
        """Files that were asked for, and that no list is about."""
        for history in self._histories:
            self._ignored.setdefault(history.folder, []).append((history.ignored, bool(history.chain)))
            for path, expected in history.files.items():
                self._expected.setdefault(within(history.folder, path), []).append(expected)
            for path, name in history.folders.items():
                self._folders[within(history.folder, path)] = name

    @property
    def formats(self) -> list[str]:
        """The formats of all hashes that are compared, sorted."""
        return sorted({name for several in self._expected.values() for each in several for name in each.hashes})

    @property
    def lists(self) -> int:
        """The number of lists."""
        return sum(len(each.generations) for each in self._histories)

    def check(self, path: str) -> Check | Finding | None:
        """How to compare the file at `path`; the verdict on one that is not listed; None for one not to be judged."""
        if self.ignores(path):
            return None
        self._seen.add(path)
        if expected := self._expected.get(path):
            return Check(path, expected)
        if is_list(path):
            return None
        if not any(True for _ in self._above(path)):
            self.unlisted += 1
            return None
        return Finding(path=path, verdict=Verdict.ADDED, reason="not listed")

    def is_listed(self, path: str) -> bool:
        """Whether a list has a file with this path."""
        return path in self._expected

    def ignores(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether the lists leave out the file or folder at `path`. Single lists leave out nothing that is listed."""
        if path == FOLDER or path.endswith(f"/{FOLDER}") or f"/{FOLDER}/" in f"/{path}":
            return True
        above = list(self._above(path))
        judges = [each for each in above if each[2]] or ([] if path in self._expected else above)
        return any(each.leaves_out(inner, is_folder=is_folder) for inner, each, _ in judges)

    def see_folder(self, path: str) -> None:
        """Note that the folder at `path` is there."""
        self._folders.pop(path, None)

    def missing(self) -> Iterator[Finding]:
        """What is listed and was not seen, sorted by its path."""
        lists = [within(each.folder, f"{FOLDER}/{one.path}") for each in self._histories for one in each.chain]
        absent = {path: several[0].listed_in for path, several in self._expected.items() if path not in self._seen}
        absent = {path: name for path, name in absent.items() if not self.ignores(path)}
        absent.update({path: name for path, name in self._folders.items() if not self.ignores(path, is_folder=True)})
        for history in self._histories:
            absent.update(dict.fromkeys(missing_references(history, lists), history.generations[-1].name))
        for path, name in sorted(absent.items()):
            yield Finding(path=path, verdict=Verdict.MISSING, reason="not found", listed_in=name)

    def _above(self, path: str) -> Iterator[tuple[str, Ignored, bool]]:
        """What each list above `path` leaves out, after the path of `path` in its folder; whether it is a history."""
        folder = path
        while folder:
            folder, _, _ = folder.rpartition("/")
            for each, has_chain in self._ignored.get(folder, ()):
                yield path[len(folder) + 1 :] if folder else path, each, has_chain
