"""Compare the members of an archive with the media hash lists among them, without restoring anything."""

import hashlib
from collections import Counter
from collections.abc import Iterator

from mgmt.archive import Data, Digest, Index, Member, inflate, read_member, read_members
from mgmt.errors import IntegrityError, NotFoundError
from mgmt.mhl.history import is_list, read_histories
from mgmt.mhl.verify import Check, Finding, Verdict, Verification
from mgmt.progress import Progress
from mgmt.services.steps.indexes import any_index
from mgmt.services.steps.proof import refuse_frozen
from mgmt.services.steps.resolve import Archive
from mgmt.storage import StoredObject

_NAMED = 5
"""Files that a message names."""


def compare_lists(found: Archive, progress: Progress) -> None:
    """Read the whole archive, and compare what it holds with the lists in it and with the digest of its index.

    Raises IntegrityError, which names the first files that differ; NotFoundError when it holds no list, and
    NotReadyError when it is frozen.
    """
    store, where = found.store, found.store.location(found.key)
    stored = store.head(found.key)
    refuse_frozen(store, stored)
    with any_index(store, stored) as index:
        members = _Members(index)
        if not members.lists:
            raise NotFoundError(f"{where} has no media hash list", next_step=f"mgmt ls --members {found.word}")

        def read(path: str) -> Iterator[bytes]:
            member = members.lists[path]
            fetched = read_member(index, member, lambda start, end: store.read(found.key, start, end, etag=stored.etag))
            return map(bytes, fetched)

        verification = Verification(read_histories(members.lists, read))
        progress.start(f"compare {found.key}", stored.size)
        try:
            tar = inflate(_counted(found, stored, progress), where)
            wrong = [each for each in members.compare(verification, tar) if each.verdict is not Verdict.OK]
        finally:
            progress.stop()
        if members.digest.hexdigest() != index.end.digest:
            raise IntegrityError(f"{where} does not hold what was archived")
    if wrong:
        counts = Counter(each.verdict.value for each in wrong)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        named = ", ".join(each.path for each in wrong[:_NAMED]) + (", ..." if len(wrong) > _NAMED else "")
        raise IntegrityError(
            f"{where} differs from the media hash lists in it: {counted}: {named}",
            next_step=f"mgmt download --to DIR {found.word}\n# then: mgmt mhl verify",
        )


class _Members:
    """The members of an archive by their paths in its root."""

    def __init__(self, index: Index) -> None:
        self.digest = Digest()
        self.lists: dict[str, Member] = {}
        self._root: str | None = None
        self._links: dict[str, list[str]] = {}
        """The path of a file -> those of its hard links."""
        for member in index.members():
            path = self._relative(member.path)
            if member.type in "fh" and is_list(path):
                self.lists[path] = member
            if member.type == "h" and member.link is not None:
                self._links.setdefault(member.link, []).append(path)

    def compare(self, verification: Verification, tar: Iterator[bytes]) -> Iterator[Finding]:
        """The verdict on each file of `tar`, and on what is missing."""
        for member, content in read_members(tar):
            path = self._relative(member.path)
            if member.type == "d":
                verification.see_folder(path)
            elif member.type == "l" and verification.is_listed(path):
                check = verification.check(path)
                if isinstance(check, Check):
                    yield check.unreadable("it is a symbolic link")
            elif member.type == "f":
                paths = (path, *self._links.get(member.path, ()))
                checks = [found for each in paths if (found := verification.check(each)) is not None]
                member = self._read(member, content, [each for each in checks if isinstance(each, Check)])
                yield from (each.finish() if isinstance(each, Check) else each for each in checks)
            self.digest.add(member)
        yield from verification.missing()

    def _read(self, member: Member, content: Iterator[Data], checks: list[Check]) -> Member:
        sha256 = hashlib.sha256()
        for piece in content:
            sha256.update(piece)
            for each in checks:
                each.update(piece)
        return member.with_sha256(sha256.digest())

    def _relative(self, path: str) -> str:
        if self._root is None:
            self._root = path
        return path.rpartition("/")[2] if path == self._root else path.removeprefix(f"{self._root}/")


def _counted(found: Archive, stored: StoredObject, progress: Progress) -> Iterator[bytes]:
    for chunk in found.store.stream(found.key, etag=stored.etag):
        progress.advance(len(chunk))
        yield chunk
