"""Verify a folder against the media hash lists in it; reads each file once, and changes and records nothing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mgmt.errors import IntegrityError, MgmtError, NotFoundError
from mgmt.mhl.history import is_list, read_histories
from mgmt.mhl.verify import Check, Finding, Verdict, Verification
from mgmt.paths import real_folder
from mgmt.progress import Progress
from mgmt.services.steps.folder_walk import Found, Walk, pieces
from mgmt.words import operand


@dataclass(slots=True)
class Verified:
    """What is known of a folder once its findings were read. Sizes are in bytes."""

    folder: str
    lists: int
    formats: list[str]
    files: int = 0
    """Files that were compared."""
    size: int = 0
    unlisted: int = 0
    """Files outside of each folder with a list."""
    verdicts: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, object]:
        """The counts: of the lists, of the files and bytes that were read, and of each verdict."""
        counted = {each.value: self.verdicts[each] for each in Verdict}
        names = ("folder", "lists", "formats", "files", "size", "unlisted")
        return {"type": "media_hash_lists", **{name: getattr(self, name) for name in names}, **counted}

    @property
    def error(self) -> IntegrityError | None:
        """The error that stands for all findings but `ok`; None if there are none."""
        counts = [f"{self.verdicts[each]} {each.value}" for each in Verdict if self.verdicts[each] and each != "ok"]
        if not counts:
            return None
        return IntegrityError(
            f"{self.folder} differs from its media hash lists: {', '.join(counts)}",
            next_step="compare these files with another copy",
        )


def verify(folder: str, progress: Progress) -> tuple[Verified, Iterator[Finding]]:
    """Compare the files below `folder` with the lists in it; yields a finding for each, `ok` too.

    Raises NotFoundError when there is no list, IntegrityError when one cannot be used.
    """
    root = real_folder(folder)
    lists = [each.path for each in Walk(root) if each.kind == "f" and is_list(each.path)]
    if not lists:
        raise NotFoundError(
            f"{folder} has no media hash list", next_step=f"ls -R {operand(folder)}\n# a list is *.mhl, or in ascmhl/"
        )
    try:
        verification = Verification(read_histories(lists, lambda path: map(bytes, pieces(root, path))))
    except OSError as exc:
        raise MgmtError(f"a media hash list in {folder} cannot be read: {exc.strerror}") from exc
    verified = Verified(root, verification.lists, verification.formats)
    return verified, _findings(root, verification, verified, progress)


def _findings(root: str, verification: Verification, verified: Verified, progress: Progress) -> Iterator[Finding]:
    progress.start(f"verify {root}")
    try:
        for finding in _compared(root, verification, verified, progress):
            verified.verdicts[finding.verdict] += 1
            yield finding
        verified.unlisted = verification.unlisted
    finally:
        progress.stop()


def _compared(root: str, verification: Verification, verified: Verified, progress: Progress) -> Iterator[Finding]:
    walk = Walk(root)
    for entry in walk:
        if entry.kind == "d":
            if verification.ignores(entry.path, is_folder=True):
                walk.prune()
            verification.see_folder(entry.path)
        elif entry.kind == "!":
            yield Finding(path=entry.path, verdict=Verdict.UNREADABLE, reason=entry.reason)
        elif entry.kind == "f" or verification.is_listed(entry.path):
            check = verification.check(entry.path)
            if isinstance(check, Check):
                yield _read(root, entry, check, verified, progress)
            elif check is not None:
                yield check
    yield from verification.missing()


def _read(root: str, entry: Found, check: Check, verified: Verified, progress: Progress) -> Finding:
    if entry.kind != "f":
        return check.unreadable("it is a symbolic link" if entry.kind == "l" else "it is not a file")
    try:
        for piece in pieces(root, entry.path):
            check.update(piece)
            verified.size += len(piece)
            progress.advance(len(piece))
    except OSError as exc:
        return check.unreadable(exc.strerror or "it cannot be read")
    verified.files += 1
    return check.finish()
