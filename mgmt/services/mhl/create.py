"""Make a media hash list of an archive: it is read once, and nothing is written before all of it is proven."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from mgmt import __version__
from mgmt.archive import Digest, Member, give_name, inflate, read_members
from mgmt.errors import ConflictError, IntegrityError
from mgmt.mhl.hashes import Hashing
from mgmt.mhl.ignore import Ignored
from mgmt.mhl.write import File, Generation, Made, manifest
from mgmt.paths import held_parent
from mgmt.progress import Progress
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_files import host
from mgmt.services.steps.proof import refuse_frozen
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.restoring import index_if_any
from mgmt.storage import StoredObject
from mgmt.storage.checksums import Crc64Nvme
from mgmt.umask import shared
from mgmt.words import shell_word


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A list that was made. `size` is the bytes of the files in it; `path` is None if it was not written to a file."""

    type: str = "media_hash_list"
    object: str
    path: str | None
    formats: tuple[str, ...]
    files: int
    size: int
    digest: str
    """That of the archive, which was compared with what was recorded."""


def create(name: str, formats: Sequence[str], to: str | None, context: Context) -> tuple[Created, bytes]:
    """Make a list of what the archive that `name` means holds; write it to `to`, if given. Returns it as well.

    Its paths are relative to the archived folder. Symbolic links and empty folders of MHL's own are not in a list; a
    hard link is listed as a file. Raises IntegrityError when the archive is not what was recorded, ConflictError when
    `to` exists.
    """
    if to is not None and os.path.lexists(to):
        raise _exists(to)
    found = find_archive(name, context)
    stored = found.store.head(found.key)
    refuse_frozen(found.store, stored)
    reading = _Reading(formats)
    try:
        digest = reading.read(found, stored, context.progress)
    finally:
        context.progress.stop()
    made = Made(datetime.now(UTC), host(), "mgmt", __version__, "flatten")
    generation = Generation(made, reading.files, reading.folders, hashed=formats)
    text = b"".join(manifest(generation))
    if to is not None:
        _write(to, text)
    size = sum(each.size for each in reading.files)
    path = None if to is None else os.path.abspath(to)
    created = Created(
        object=found.store.location(found.key),
        path=path,
        formats=tuple(formats),
        files=len(reading.files),
        size=size,
        digest=digest,
    )
    return created, text


class _Reading:
    """The files of an archive, with their hashes, as it is read."""

    def __init__(self, formats: Sequence[str]) -> None:
        self.files: list[File] = []
        self.folders: dict[str, int] = {}
        self._formats = formats
        self._hashes: dict[str, tuple[int, dict[str, str]]] = {}
        self._ignored = Ignored()

    def read(self, found: Archive, stored: StoredObject, progress: Progress) -> str:
        """Read the archive to its end; returns its digest, which is the recorded one. Raises IntegrityError."""
        where, digest, whole = found.store.location(found.key), Digest(), Crc64Nvme()
        progress.start(f"hash {found.key}", stored.size)

        def chunks() -> Iterator[bytes]:
            for chunk in found.store.stream(found.key, etag=stored.etag):
                progress.advance(len(chunk))
                whole.update(chunk)
                yield chunk

        stream = chunks()
        root = None
        for member, content in read_members(inflate(stream, where)):
            root = member.path if root is None else root
            sha256, hashing = hashlib.sha256(), Hashing(self._formats)
            if member.type == "f":
                for piece in content:
                    sha256.update(piece)
                    hashing.update(piece)
                member = member.with_sha256(sha256.digest())
            digest.add(member)
            self._add(member, root, hashing)
        for _ in stream:  # what follows the end of the tar
            pass
        _compare(found, stored, digest.hexdigest(), whole)
        return digest.hexdigest()

    def _add(self, member: Member, root: str, hashing: Hashing) -> None:
        path = os.path.basename(root) if member.path == root else member.path.removeprefix(f"{root}/")
        if not {"", ".", ".."}.isdisjoint(path.split("/")):  # mgmt makes no such archive
            raise IntegrityError(f"the archive holds {member.path!r}, which leads outside its root")
        if member.type == "f":
            self._hashes[member.path] = member.size, hashing.values()
        if member.type == "d":
            if member.path != root and not self._ignored.leaves_out(path, is_folder=True):
                self.folders[path] = member.mtime_ns
        elif member.type in "fh" and not self._ignored.leaves_out(path):
            known = self._hashes.get(member.path if member.type == "f" else member.link or "")
            if known is None:
                raise IntegrityError(f"{member.path} is a hard link to {member.link}, which the archive does not hold")
            size, hashes = known
            self.files.append(File(path, size, member.mtime_ns, hashes))


def _compare(found: Archive, stored: StoredObject, digest: str, whole: Crc64Nvme) -> None:
    """Raise IntegrityError unless the archive is what the catalog and its index say."""
    where = found.store.location(found.key)
    with index_if_any(found, stored) as index:
        expected = {index.end.digest} if index is not None else set[str]()
        checksums = {index.end.checksum or None} if index is not None else set[str | None]()
    if found.record is not None:
        expected.add(found.record.digest or digest)
        checksums.add(found.record.object_checksum)
    if expected - {digest} or any(whole.contradicts(each) for each in checksums):
        raise IntegrityError(
            f"{where} does not hold what was archived", next_step=f"mgmt verify --read-back {found.word}"
        )


def _write(to: str, text: bytes) -> None:
    """Write `text` to the new file `to`, which appears whole or not at all. Raises ConflictError."""
    with held_parent(to) as (path, _):
        temporary = f"{os.path.dirname(path)}/.mgmt-{secrets.token_hex(8)}"
        try:
            with shared():
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with open(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            give_name(temporary, path)
        except ConflictError as exc:
            raise _exists(to) from exc
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _exists(to: str) -> ConflictError:
    return ConflictError(
        f"{to} exists, and nothing is ever overwritten", next_step=f"ls -l {shell_word(to)}\n# or: choose another file"
    )
