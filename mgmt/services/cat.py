"""The content of one member of an archive, as a stream."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from mgmt.archive import Data, Index, Member, inflate, read_member, read_members
from mgmt.errors import ConfigurationError, IntegrityError, NotFoundError
from mgmt.progress import Progress
from mgmt.services.steps.context import Context
from mgmt.services.steps.indexes import any_index
from mgmt.services.steps.resolve import Archive, find_archive
from mgmt.services.steps.restoring import expected_digest
from mgmt.services.steps.thaw import ThawOptions, refuse_to_look
from mgmt.storage import StoredObject
from mgmt.words import shell_word

_KINDS = {"d": "a folder", "l": "a symbolic link"}


def cat(name: str, path: str, context: Context, *, threads: int = 4) -> Iterator[Data]:
    """The content of the file `path`, with or without the name of the root, in the archive that `name` means.

    Only the blocks that hold it are read, and each is checked before its bytes are returned. The last piece, of at most
    1 MiB, is returned only when the sha256 of the whole is proven: what is complete is right. An archive that mgmt did
    not write is read from its start. Nothing is recorded, and no restore of a frozen archive is requested.

    Raises NotFoundError without such a member, ConfigurationError for a folder or a link, NotReadyError if the archive
    is frozen, IntegrityError if it is damaged.
    """
    found = find_archive(name, context)
    stored = found.store.head(found.key)
    refuse_to_look(found, stored, ThawOptions())
    try:
        with any_index(found.store, stored) as index:
            expected_digest(found, index)
            reading = _Reading(found, stored, index, context.progress)
            yield from _proven_first(reading.content(_member(index, path, found), threads))
    finally:
        context.progress.stop()


def _member(index: Index, path: str, found: Archive) -> Member:
    """The file that `path` means; of a hard link, the file that it refers to."""
    path = path.rstrip("/")
    wanted = {path, f"{next(index.members()).path}/{path}"}
    member = next((each for each in index.members() if each.path in wanted), None)
    if member is None:
        raise NotFoundError(f"{found.url} has no member {path}", next_step=f"mgmt ls --members {found.word}")
    if member.type == "h":
        member = index.find(member.link or "")
    if member.type != "f":
        pointed = f" to {member.link}" if member.type == "l" else ""
        raise ConfigurationError(
            f"{member.path} is {_KINDS.get(member.type, 'no file')}{pointed}, and has no content",
            next_step=f"mgmt download --member {shell_word(member.path)} {found.word}",
        )
    return member


@dataclass(frozen=True, slots=True)
class _Reading:
    """One archive that is being read."""

    found: Archive
    stored: StoredObject
    index: Index
    progress: Progress

    def content(self, member: Member, threads: int) -> Iterator[Data]:
        """The content of a file in pieces. Raises IntegrityError after the last one, unless its sha256 is right."""
        self.progress.start(f"read {member.path}", member.size)
        pieces = (
            read_member(self.index, member, self._fetch, threads) if self.index.lengths else self._from_start(member)
        )
        for piece in pieces:
            self.progress.advance(len(piece))
            yield piece

    def _fetch(self, start: int, end: int) -> bytes:
        return self.found.store.read(self.found.key, start, end, etag=self.stored.etag)

    def _from_start(self, member: Member) -> Iterator[Data]:
        """As `read_member`, for an archive without blocks."""
        where, hasher = self.found.store.location(self.found.key), hashlib.sha256()
        stream = self.found.store.stream(self.found.key, etag=self.stored.etag)
        for each, content in read_members(inflate(stream, where)):
            if each.path == member.path and each.type == "f":
                for piece in content:
                    hasher.update(piece)
                    yield piece
                break
        if hasher.digest() != member.sha256:
            raise IntegrityError(f"{member.path} in {where} is corrupt: sha256 mismatch")


def _proven_first(pieces: Iterator[Data]) -> Iterator[Data]:
    """`pieces`, each one when the next one is known, so that the last one is held back until all are proven."""
    held: Data | None = None
    for piece in pieces:
        if held is not None:
            yield held
        held = bytes(piece)
    if held is not None:
        yield held
