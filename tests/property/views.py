"""Contents of files, folders and archives, with their attributes or a part of them."""

import io
import os
import tarfile
from functools import lru_cache
from pathlib import Path

NOTE = "user.note"
PLAIN = ""
XATTRS = "xattrs"
OWNERS = "owners"
BOTH = "xattrs, owners"

Entry = tuple[str, bytes | None, str | None, int | None]
"""A file or a folder by its path below the root, its bytes (a folder has none), its note and its owner."""

Content = tuple[Entry, ...]
View = tuple[str, Content]
"""A content with a part of its attributes: PLAIN, XATTRS, OWNERS or BOTH."""


def view_of(content: Content, what: str) -> View:
    """The content with the attributes named by `what` only."""
    if what == PLAIN:
        return what, tuple((path, data, None, None) for path, data, _, _ in content)
    notes, owners = what != OWNERS, what != XATTRS
    kept = [(path, data, note if notes else None, owner if owners else None) for path, data, note, owner in content]
    return what, tuple(kept)


def all_views(content: Content) -> set[View]:
    return {view_of(content, what) for what in (PLAIN, XATTRS, OWNERS, BOTH)}


def on_disk(root: Path) -> Content:
    """The content of a file or a folder."""
    paths = [root, *root.rglob("*")] if root.is_dir() else [root]
    return tuple(sorted((_entry(root, path) for path in paths), key=lambda entry: entry[0]))


def _entry(root: Path, path: Path) -> Entry:
    name = "" if path == root else str(path.relative_to(root))
    note = os.getxattr(path, NOTE).decode() if NOTE in os.listxattr(path) else None
    return name, path.read_bytes() if path.is_file() else None, note, path.stat().st_uid


@lru_cache(maxsize=5000)
def in_archive(data: bytes) -> Content | None:
    """The content of an archive, as tar reads it; None if it is no whole archive."""
    entries: list[Entry] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for each in tar:
                file = tar.extractfile(each) if each.isfile() else None
                note = each.pax_headers.get(f"SCHILY.xattr.{NOTE}")
                entries.append((each.name.partition("/")[2], file.read() if file else None, note, each.uid))
    except (OSError, EOFError, tarfile.TarError):
        return None
    return tuple(sorted(entries, key=lambda entry: entry[0]))


def described(view: View) -> str:
    """A content in short, for messages."""
    what, content = view
    files = [
        f"{path}={data[: data.index(10)].decode()}" + f"({note},{owner})" * (what != PLAIN)
        for path, data, note, owner in content
        if data is not None
    ]
    return " ".join(files).replace("=", "", 1) if len(files) == 1 else "{" + " ".join(files) + "}"
