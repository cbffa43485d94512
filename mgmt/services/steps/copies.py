"""What may be removed: which proven copies of a content remain when one of them goes.

A content is identified by its digest and by what was kept of it besides (docs/catalog.md), never by paths or keys,
which are reused. Whatever removes a copy asks here, in an operation that claims the content (`content_claim`), so that
two removals of one content exclude each other on any machine. The catalog only says where to look; what counts is what
is there now.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from mgmt.archive import Hashed, Tree, covers, digest_members, hash_tree, inflate, look_again
from mgmt.catalog import FileRecord, Location
from mgmt.choices import Proof
from mgmt.errors import CatalogError, IntegrityError, MgmtError, NotFoundError, RefusedError, SourceChangedError
from mgmt.services.steps.context import Context
from mgmt.services.steps.local_copy import GZIP
from mgmt.services.steps.local_files import host
from mgmt.services.steps.overlaps import store_folder
from mgmt.services.steps.proof import prove_again, read_back, refuse_frozen, still_there
from mgmt.services.steps.resolve import Archive
from mgmt.storage import StoredObject
from mgmt.storage.checksums import Crc64Nvme
from mgmt.words import shell_word

CHUNK = 1 << 20


def content_claim(digest: str) -> str:
    """The claim of an operation that removes a copy: the copies of one content are removed one at a time."""
    return f"content {digest}"


def is_altered(path: str) -> RefusedError:
    """The error about a copy that is not what was archived."""
    return RefusedError(f"{path} is not what was archived, so it stays", next_step=_archive_first(path))


def is_unarchived(path: str) -> RefusedError:
    """The error about a copy without an archive of what it holds."""
    return RefusedError(f"no archive holds what {path} holds, so it stays", next_step=_archive_first(path))


def _archive_first(path: str) -> str:
    return f"mgmt upload --keep --on-conflict rename {shell_word(path)}\n# then free it again"


@dataclass(frozen=True, slots=True)
class Proven:
    """An archive that has just been proven, and how."""

    archive: Archive
    stored: StoredObject
    proof: str


@dataclass(frozen=True, slots=True)
class OtherCopy:
    """A copy that has just been proven: a path, or the URL of an archive."""

    where: str
    look_again: Callable[[], object]
    """Raises MgmtError unless the copy is still there and its stat is unchanged."""
    is_archive: bool = False
    """It is an archive in a store."""
    holds_original: bool = False
    """It is a file or folder as it was archived, rather than a tar.gz of it."""


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies that the catalog knows, looked at where they are."""

    context: Context
    altered: list[FileRecord] = field(default_factory=list)
    """The local copies that were compared, and are not what their records say."""
    faulty: dict[FileRecord, str] = field(default_factory=dict)
    """The archives that are not what was archived, and what is wrong with each."""

    def hash(self, copy: FileRecord, folder: int | None = None) -> Hashed:
        """Read the local `copy` on this machine, with the attributes that were to be kept; `folder` is its open parent.

        Raises RefusedError unless it is what its record says.
        """
        self.context.progress.start(f"compare {copy.name}", copy.original_size or copy.size)
        try:
            seen = self._hash(Tree(copy.path, copy.name, folder=folder), self._asked(copy))
        except (SourceChangedError, NotFoundError) as exc:
            raise RefusedError(f"{copy.path} stays: {exc.message}", next_step=exc.next_step) from exc
        finally:
            self.context.progress.stop()
        if seen.digest != copy.digest or seen.skipped or copy.kept not in (None, seen.kept):
            self.altered.append(copy)
            raise is_altered(copy.path)
        return seen

    def archive_of(self, seen: Hashed, path: str) -> Proven:
        """Find and prove an archive that holds all of what was `seen` at `path`.

        Raises RefusedError when no archive holds it, or the reason why none of them could be proven.
        """
        failure: MgmtError | None = None
        for record in self.context.catalog.metadata.archives_of(seen.digest):
            try:
                archive = self._opened(record)
                if not seen.kept or covers(self._kept(archive), seen.kept):
                    return self._prove(archive, record)
            except CatalogError:
                raise
            except MgmtError as exc:  # another archive may hold it too
                failure = failure or exc
        raise failure or is_unarchived(path)

    def archive_like(self, record: FileRecord) -> Proven:
        """Prove the archive of `record`, or another one that holds all that it holds.

        Raises RefusedError when there is none, or the reason why none could be proven.
        """
        failure: MgmtError | None = None
        there = self.context.catalog.metadata.archives_of(str(record.digest))
        for other in sorted(there, key=lambda each: each.id != record.id):
            try:
                archive = self._opened(other)
                if other.id == record.id or covers(self._kept(archive), record.kept or ""):
                    return self._prove(archive, other)
            except CatalogError:
                raise
            except MgmtError as exc:
                failure = failure or exc
        raise failure or RefusedError(f"no archive holds what {record.store}/{record.s3_object_key} held")

    def tar_gz(self, copy: FileRecord, archive: FileRecord, folder: int) -> Hashed:
        """Read the local `copy`, a tar.gz in its open `folder`. Raises RefusedError unless it is that `archive`."""
        tree = Tree(copy.path, copy.name, folder=folder)
        self.context.progress.start(f"compare {copy.name}", copy.size)
        try:
            seen = self._hash(tree, (False, False))
            same = is_archive_of(copy.path, archive, archive.kept or "")
            look_again(tree, seen)
        except IntegrityError:
            same = False
        except (SourceChangedError, NotFoundError) as exc:
            raise RefusedError(f"{copy.path} stays: {exc.message}", next_step=exc.next_step) from exc
        finally:
            self.context.progress.stop()
        if not same:
            raise RefusedError(f"{copy.path} is not what was written, so it stays")
        return seen

    def other_copy(self, archive: Archive) -> OtherCopy:
        """Find and prove another copy of what `archive` holds, on this machine or in a store.

        Raises RefusedError when there is none: the archive is the last copy.
        """
        found = next(self.others(archive), None)
        if found is None:
            raise RefusedError(
                f"{archive.store.location(archive.key)} is the last proven copy of what it holds",
                next_step=f"mgmt download {archive.word}\n# or: mgmt delete --last-copy {archive.word}",
            )
        return found

    def others(self, archive: Archive) -> Iterator[OtherCopy]:
        """Prove one after the other of the copies of what `archive` holds, on this machine and in the stores."""
        record = archive.record
        if record is None or record.digest is None:
            return
        wanted = self._wanted(archive)
        copies = self.context.catalog.metadata.copies_of(record.digest)
        for copy in sorted(copies, key=lambda each: each.location is not Location.COMPLETED):
            if copy.host == host() and os.path.lexists(copy.path) and not _is_itself(copy.path, archive):
                found = self._local(copy, record, wanted)
                if found is not None:
                    yield found
        for other in self.context.catalog.metadata.archives_of(record.digest):
            # The same object may be recorded twice, under two URLs of its store; only another id is another object.
            if other.archive_id is None or record.archive_id is None or other.archive_id == record.archive_id:
                continue
            try:
                there = self._opened(other)
                if covers(self._kept(there), wanted):
                    self._prove(there, other)
                    again = partial(still_there, there.store, other)
                    yield OtherCopy(there.store.location(there.key), again, is_archive=True)
            except CatalogError:
                raise
            except MgmtError:  # an archive that cannot be proven now is no proof
                continue

    def _local(self, copy: FileRecord, record: FileRecord, wanted: str) -> OtherCopy | None:
        """The local `copy` if it holds all that the archive of `record` does, as the original or as the same tar.gz."""
        tree = Tree(copy.path, os.path.basename(copy.path))
        self.context.progress.start(f"compare {copy.name}", copy.original_size or copy.size)
        try:
            seen = self._hash(tree, ("owners:" in wanted, "xattrs:" in wanted))
            same = original = seen.digest == record.digest and covers(seen.kept, wanted) and not seen.skipped
            if not same and copy.mime_type == GZIP:
                same = is_archive_of(copy.path, record, wanted)
                look_again(tree, seen)
        except CatalogError:
            raise
        except (MgmtError, OSError):  # it is changing or cannot be read, so it is no proof
            return None
        finally:
            self.context.progress.stop()
        if same:
            return OtherCopy(copy.path, partial(look_again, tree, seen), holds_original=original)
        if seen.digest != copy.digest:  # else it only keeps less than the archive does
            self.altered.append(copy)
        return None

    def _hash(self, tree: Tree, asked: tuple[bool, bool]) -> Hashed:
        """Read all of `tree`, then look again. Raises SourceChangedError when it changed meanwhile."""
        owners, xattrs = asked
        seen = hash_tree(tree, self.context.progress, owners=owners, xattrs=xattrs)
        look_again(tree, seen)
        return seen

    def _asked(self, copy: FileRecord) -> tuple[bool, bool]:
        """Whether owners and extended attributes of the local `copy` were to be kept."""
        if copy.kept is not None:
            return "owners:" in copy.kept, "xattrs:" in copy.kept
        if copy.operation_id is None:
            return False, False
        arguments = self.context.catalog.metadata.require_operation(copy.operation_id).command_args
        return bool(arguments.get("owners")), bool(arguments.get("xattrs"))

    def _prove(self, archive: Archive, record: FileRecord) -> Proven:
        with self._noting(record):
            stored, proof = prove_again(archive.store, record, Proof.AUTO, self.context.progress)
        return Proven(archive, stored, proof)

    @contextmanager
    def _noting(self, record: FileRecord) -> Iterator[None]:
        """Note in `faulty` what shows the archive of `record` to be wrong."""
        try:
            yield
        except IntegrityError as exc:
            self.faulty.setdefault(record, exc.message)
            raise

    def _kept(self, archive: Archive) -> str:
        """What `archive` keeps besides the digest; the archive is read where that is not recorded, or not proven."""
        record = archive.record
        assert record is not None  # noqa: S101 - it came from the catalog
        if record.kept is None or record.proof is None:
            refuse_frozen(archive.store, archive.store.head(archive.key))
            with self._noting(record):
                read = archive.store, archive.key, record.object_checksum, record.digest
                found = read_back(*read, self.context.progress)
            if record.kept is not None:
                return found.kept
            record.kept = found.kept
        return record.kept

    def _wanted(self, archive: Archive) -> str:
        """What `archive` keeps, which another copy has to keep too; of a damaged one, what is recorded."""
        try:
            return self._kept(archive)
        except IntegrityError:
            if archive.record is None or archive.record.kept is None:
                raise
            return archive.record.kept

    def _opened(self, record: FileRecord) -> Archive:
        return Archive(str(record.s3_object_key), partial(self.context.open_store, record.store), record)


def _is_itself(path: str, archive: Archive) -> bool:
    """Whether the local `path` is the object of `archive`: a tar.gz may be kept in a folder that is also a store."""
    folder = store_folder(archive.store.url)
    return folder is not None and os.path.realpath(path) == os.path.realpath(os.path.join(folder, archive.key))


def is_archive_of(path: str, record: FileRecord, wanted: str) -> bool:
    """Whether the tar.gz at `path` is the archive of `record`, byte for byte, and holds what is `wanted`."""
    whole = Crc64Nvme()

    def chunks() -> Iterator[bytes]:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
            yield chunk

    with open(path, "rb") as file:
        pieces = chunks()
        found = digest_members(inflate(pieces))
        deque(pieces, maxlen=0)  # what follows the end of the tar
    return found.digest == record.digest and found.holds(wanted) and not whole.contradicts(record.object_checksum)
