"""Seeded inputs, the same on every machine, kept between runs."""

import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
WORDS = 20_000
POOL = 8 * MIB
"""Bytes of each kind of content, from which files take pieces: far more than the 32 KiB window of gzip."""


@dataclass(frozen=True)
class Input:
    """A file or a folder."""

    path: Path
    size: int
    """Bytes of content."""
    files: int


@dataclass(frozen=True)
class Inputs:
    """The inputs below `folder`, each made when first requested. `share` scales their sizes; it is 1 or less."""

    folder: Path
    share: float = 1.0

    def small_files(self) -> Input:
        """A folder with 20,000 small files that compress, 344 MiB."""
        count = self._scaled(20_000)
        return self._folder("small", lambda: _files("small", count, self._scaled(344 * MIB), _COMPRESSIBLE))

    def mixed_tree(self) -> Input:
        """A folder of 0.9 GiB in 3,000 files, from text to incompressible data."""
        count = self._scaled(3_000)
        return self._folder("mixed", lambda: _files("mixed", count, self._scaled(922 * MIB), _MIXED))

    def media(self, size: int = GIB) -> Input:
        """One file of `size` bytes (of which a share is taken) that does not compress."""
        size = self._scaled(size)
        name = f"media-{size // MIB}MiB.mov"

        def make(path: Path) -> None:
            with path.open("wb") as file:
                for block in _incompressible(name, size):
                    file.write(block)

        return Input(path := self._made(name, make), _read(path), 1)

    def album(self) -> Input:
        """A folder of 2.9 GiB: files of 32 MiB that do not compress, and a few of 10 KB."""
        count, size = self._scaled(92), 32 * MIB

        def make(path: Path) -> None:
            path.mkdir()
            chance = random.Random("album")
            for number in range(count):
                with (path / f"clip-{number:03}.mov").open("wb") as file:
                    for block in _incompressible(f"album {number}", size):
                        file.write(block)
            for number in range(10):
                (path / f"note-{number}.txt").write_bytes(chance.randbytes(10_000))

        return Input(self._made("album", make), count * size + 100_000, count + 10)

    def many_files(self, count: int) -> Input:
        """A folder with `count` files (of which a share is taken) of 100 to 600 bytes, a thousand to a folder."""
        count = self._scaled(count)

        def contents() -> Iterator[tuple[str, bytes]]:
            chance = random.Random(count)
            text = _text(chance)
            for number in range(count):
                start = chance.randrange(len(text) - 600)
                length = 100 + number * 7919 % 501
                yield f"{number // 1000:04}/file-{number:07}.txt", text[start : start + length]

        return self._folder(f"many-{count}", contents)

    def small_file(self, folder: Path, name: str) -> Path:
        """A new file of 10 KB in `folder`."""
        path = folder / name
        path.write_bytes(random.Random(name).randbytes(10_000))
        return path

    def _scaled(self, full: int) -> int:
        return max(1, int(full * self.share))

    def _folder(self, name: str, contents: Callable[[], Iterator[tuple[str, bytes]]]) -> Input:
        def make(path: Path) -> None:
            path.mkdir()
            made: set[str] = set()
            for relative, data in contents():
                parent = os.path.dirname(relative)
                if parent not in made:
                    (path / parent).mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                with open(f"{path}/{relative}", "wb", buffering=0) as file:
                    file.write(data)

        path = self._made(name, make)
        sizes = [_read(f"{folder}/{each}") for folder, _, names in os.walk(path) for each in names]
        return Input(path, sum(sizes), len(sizes))

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The input `name`; it is made again unless it was completed and is still there."""
        path, complete = self.folder / name, self.folder / f"{name}.complete"
        if not (complete.exists() and path.exists()):
            self.folder.mkdir(parents=True, exist_ok=True)
            complete.unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
            make(path)
            complete.touch()
        return path


def _read(path: str | Path) -> int:
    """Read the file into the page cache, so that all measurements find it there; returns its size."""
    with open(path, "rb", buffering=0) as file:
        return sum(iter(lambda: len(file.read(MIB)), 0))


_Kind = tuple[str, str, float]
"""Extension, content, and share of the files."""

_COMPRESSIBLE: tuple[_Kind, ...] = (("txt", "text", 0.5), ("json", "records", 0.3), ("dat", "numbers", 0.2))
_MIXED: tuple[_Kind, ...] = (
    ("txt", "text", 0.35),
    ("json", "records", 0.25),
    ("dat", "numbers", 0.2),
    ("jpg", "noise", 0.2),
)


def _files(seed: str, count: int, size: int, kinds: tuple[_Kind, ...]) -> Iterator[tuple[str, bytes]]:
    """(relative path, content) of `count` files with about `size` bytes together, most small and some large."""
    chance = random.Random(seed)
    pools = {"text": _text(chance), "records": _records(chance), "numbers": _numbers(chance)}
    weights = [min(chance.lognormvariate(0, 1), 20.0) for _ in range(count)]
    scale = size / math.fsum(weights)
    for number, weight in enumerate(weights):
        extension, content, _ = chance.choices(kinds, [share for _, _, share in kinds])[0]
        length = int(weight * scale)
        data = chance.randbytes(length) if content == "noise" else _pieces(pools[content], length, chance)
        yield f"{number // 1000:02}/{number // 100 % 10}/{content}-{number:05}.{extension}", data


def _pieces(pool: bytes, length: int, chance: random.Random) -> bytes:
    parts = []
    while length > 0:
        start = chance.randrange(len(pool) - 64 * 1024)
        parts.append(pool[start : start + min(length, 64 * 1024)])
        length -= len(parts[-1])
    return b"".join(parts)


def _text(chance: random.Random) -> bytes:
    """Words, of which some are far more frequent than others, in lines."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    frequency = [1 / (place + 2) for place in range(len(letters))]
    words = ["".join(chance.choices(letters, frequency, k=chance.randint(2, 11))) for _ in range(WORDS)]
    weights = [1 / (place + 3) for place in range(WORDS)]
    chosen = chance.choices(words, weights, k=POOL // 5)
    return _cut(" ".join("\n" + word if place % 12 == 0 else word for place, word in enumerate(chosen)).encode())


def _records(chance: random.Random) -> bytes:
    """JSON lines with measurements."""
    names = [f"sensor-{number}" for number in range(50)]
    lines = (
        f'{{"id":{number},"name":"{chance.choice(names)}","value":{chance.gauss(20, 5):.3f},"ok":true}}\n'
        for number in range(POOL // 64)
    )
    return _cut("".join(lines).encode())


def _numbers(chance: random.Random) -> bytes:
    """32-bit samples of a slowly changing value."""
    value, samples = 0, bytearray()
    for _ in range(POOL // 4):
        value = (value + int(chance.gauss(0, 40))) & 0xFFFFFF
        samples += value.to_bytes(4, "little")
    return _cut(bytes(samples))


def _cut(data: bytes) -> bytes:
    return data[:POOL]


def _incompressible(seed: str, size: int) -> Iterator[bytes]:
    """`size` bytes in blocks of 1 MiB, each of which differs."""
    block = random.Random(seed).randbytes(MIB)
    for number, start in enumerate(range(0, size, MIB)):
        yield (number.to_bytes(8, "little") + block[8:])[: size - start]
