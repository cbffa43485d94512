"""Makes and compares trees of files."""

import hashlib
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path


def make_tree(root: Path, *, files: int, seed: int = 1) -> Path:
    """Make a folder with `files` small files in deep paths, and one of every other kind of entry and name."""
    chance = random.Random(seed)
    folders = [root]
    root.mkdir(parents=True)
    for number in range(files // 20):
        parent = chance.choice(folders[-30:])
        folder = parent / f"folder {number}"
        folder.mkdir()
        folders.append(folder)
    for number in range(files):
        path = chance.choice(folders) / f"file-{number}.{chance.choice(['txt', 'jpg', 'dat'])}"
        kind = chance.random()
        data = (
            chance.randbytes(chance.randrange(4000))
            if kind < 0.5
            else f"line {number}\n".encode() * chance.randrange(200)
        )
        path.write_bytes(data)
        path.chmod(chance.choice([0o644, 0o600, 0o755, 0o444]))
    odd = root / "odd"
    odd.mkdir()
    (odd / "empty folder").mkdir(mode=0o700)
    (odd / "empty file").write_bytes(b"")
    (odd / ("n" * 255)).write_text("a name of 255 bytes")
    (odd / "two\nlines").write_text("newline")
    (odd / "ünï cödé ☃").write_text("utf-8")
    Path(os.fsdecode(os.fsencode(odd) + b"/not utf-8 \xff\xfe")).write_text("bytes")
    (odd / "link").symlink_to("empty file")
    (odd / "dangling").symlink_to("../nowhere/" + "x" * 120)
    (odd / "first name").write_text("hard")
    (odd / "second name").hardlink_to(odd / "first name")
    with (odd / "sparse").open("wb") as sparse:
        sparse.truncate(5 << 20)
        sparse.seek(3 << 20)
        sparse.write(b"in the middle")
    deep = odd
    for level in range(25):
        deep = deep / f"level-{level:02d}-with-a-long-name"
        deep.mkdir()
    (deep / "at the bottom").write_text("deep")
    for path in walk(root):
        moment = chance.randrange(10**18, 17 * 10**17)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    return root


def walk(root: Path) -> Iterator[Path]:
    """All entries below `root`, each folder after its entries; `root` comes last."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in sorted(files) + sorted(name for name in folders if os.path.islink(os.path.join(folder, name))):
            yield Path(folder, name)
        yield Path(folder)


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """The properties that a restored tree must share with its original: kinds, modes, times, contents and links."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[tuple[int, int], str] = {}
    for path in sorted(walk(root)):
        status = path.lstat()
        name = os.path.relpath(path, root)
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path), status.st_mtime_ns)
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("folder", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        else:
            same = inodes.setdefault((status.st_dev, status.st_ino), name)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_size, digest, same)
    return found


def random_file(path: Path, size: int, seed: int = 1) -> Path:
    """Write a file that does not compress."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(chance.randbytes(min(size, 1 << 20)))
    return path
