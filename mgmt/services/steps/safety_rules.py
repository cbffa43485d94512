"""What follows for the safety of a content from what the catalog knows of its copies: see safety.py."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mgmt.archive import covers
from mgmt.catalog import MOST_COPIES, FileStatus, KnownCopy, Location, Verdict
from mgmt.choices import Proof
from mgmt.services.steps.local_copy import GZIP
from mgmt.services.steps.local_files import host
from mgmt.words import operand, shell_word

_MOST_PLACES = 3
_RECENT_DAYS = 60


class Level(StrEnum):
    """How safe a content is, in a word."""

    SAFE = "safe"
    """An archive of it is proven, and no fault was found since."""
    UNPROVEN = "unproven"
    """Nothing has proven its archive, or it has none yet."""
    AT_RISK = "at risk"
    """A fault was found since the last verification, or by it, or no archive is left."""
    DELETED = "deleted"
    """The archive was deleted."""


@dataclass(frozen=True, slots=True)
class Safety:
    """How safe a file or archive is, as far as the catalog knows."""

    level: Level
    sentence: str
    """For people: the level, why, and what to do."""


class Fault(NamedTuple):
    """What is wrong with a local copy."""

    said: str
    """What follows its path in a sentence."""
    is_gone: bool = False


def is_at(copy: KnownCopy, location: Location, status: FileStatus) -> bool:
    """Whether `copy` is recorded there, with this status."""
    return copy.location is location and copy.status is status


def is_stored(copy: KnownCopy) -> bool:
    """Whether `copy` is an archive that was not deleted."""
    return copy.location is Location.S3 and copy.status is not FileStatus.DELETED


def _may_hold(archive: KnownCopy, file: KnownCopy) -> bool:
    """Whether `archive` keeps what was kept of `file` besides its digest, or it is not recorded whether it does."""
    return None in (archive.kept, file.kept) or covers(str(archive.kept), str(file.kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What the catalog knows, and what follows from it."""

    copies: Mapping[str, Sequence[KnownCopy]]
    verdicts: Mapping[int, Verdict]
    cold: Mapping[int, str]
    freed: set[int]
    claimed: set[str]
    faults: Mapping[int, Fault]
    """What is wrong with local copies, by their ids: they do not count."""
    left_out: Mapping[int, int]
    """Of originals: how much their uploads have left out."""
    now: datetime

    def safety(self, file: KnownCopy) -> Safety:
        """How safe a file or archive is."""
        if file.location is Location.S3:
            return self._of_archive(file, self._completed(file))
        if file.status in (FileStatus.PENDING, FileStatus.UPLOADING) or (
            file.location is Location.LOCAL and file.status is FileStatus.FAILED
        ):
            return say(Level.UNPROVEN, "it is not archived", f"run mgmt upload {operand(file.path)}")
        fault = self.faults.get(file.id)
        if (count := self.left_out.get(file.id)) and is_at(file, Location.LOCAL, FileStatus.COMPLETED):
            again = f"to archive all of it: run mgmt upload --on-conflict rename {operand(file.path)}"
            return say(Level.UNPROVEN, f"partly archived: {count} left out", again)
        if fault is not None and not fault.is_gone:
            return say(Level.UNPROVEN, f"{file.path} {fault.said}", _archive_now(file))
        stored = [each for each in self._same(file) if is_at(each, Location.S3, FileStatus.COMPLETED)]
        archives = [each for each in stored if _may_hold(each, file)]
        if archives:
            best = max(archives, key=lambda each: (self._is_sound(each), each.proof is not None, each.id))
            if is_at(file, Location.COMPLETED, FileStatus.FAILED):
                return self._of_archive(best, (), f"its removal has begun: run mgmt free {operand(file.path)}")
            if is_at(file, Location.COMPLETED, FileStatus.COMPLETED):
                return self._of_archive(best, [file])
            return self._of_archive(best, () if file.location is Location.COMPLETED else self._completed(file))
        if file.status is FileStatus.DELETED:
            return say(Level.DELETED, "no archive of it is stored")
        why = "no archive keeps its owners or extended attributes" if stored else "no archive of it is stored"
        return say(Level.AT_RISK, why, f"run mgmt upload --keep {operand(file.path)}")

    def _same(self, file: KnownCopy) -> Sequence[KnownCopy]:
        return self.copies.get(file.digest, ()) if file.digest is not None else ()

    def _completed(self, file: KnownCopy) -> list[KnownCopy]:
        """The copies in completed/ of this content: those on this host, or else those elsewhere."""
        found = [each for each in self._same(file) if self._is_copy(each)]
        return [each for each in found if each.host == host()] or found

    def _is_copy(self, copy: KnownCopy) -> bool:
        """Whether it is in completed/, and nothing is known to be wrong with it."""
        return is_at(copy, Location.COMPLETED, FileStatus.COMPLETED) and copy.id not in self.faults

    def _faulty(self, archive: KnownCopy) -> str:
        """What is wrong with copies in completed/ of the content of `archive`, and what to do about the first."""
        same = (each for each in self._same(archive) if is_at(each, Location.COMPLETED, FileStatus.COMPLETED))
        faulty = [(each, self.faults[each.id]) for each in same if each.id in self.faults]
        said = [f"{each.path} {fault.said}" for each, fault in faulty[:_MOST_PLACES]]
        changed = next((each for each, fault in faulty if not fault.is_gone), None)
        return "; ".join([*said, *([] if changed is None else [_archive_now(changed)])])

    def _of_archive(self, archive: KnownCopy, copies: Sequence[KnownCopy], advice: str | None = None) -> Safety:
        """The safety of `archive`; it is said of `copies` whether they may be freed, unless there is other `advice`."""
        url = f"{archive.store}/{archive.s3_object_key}"
        others, faulty = list(self._other_places(archive)), self._faulty(archive)
        if archive.status is FileStatus.DELETED:
            can_return = archive.version_id not in (None, "null")
            back = f"mgmt undelete {shell_word(url)} brings it back while its version is kept" if can_return else ""
            return say(Level.DELETED, _remaining(others), faulty, back)
        verdict, verify = self.verdicts.get(archive.id), f"run mgmt verify {shell_word(url)}"
        if verdict is not None and verdict.problem is not None:
            if verdict.restored:
                return say(
                    Level.UNPROVEN, f"{url} was undeleted, and not verified since", _remaining(others), faulty, verify
                )
            fault = verdict.message or f"{url} is {verdict.problem}"
            mend = self._mend(archive, alone=not others) if verdict.is_verified else verify
            return say(Level.AT_RISK, f"{fault} (found {ago(verdict.at, self.now)})", _remaining(others), faulty, mend)
        if not self._is_sound(archive):
            return say(Level.UNPROVEN, f"{url} was never verified", _remaining(others), faulty, verify)
        places = [str(archive.store), *others]
        count = f"{_counted(places)} proven {'copy' if len(places) == 1 else 'copies'} ({_listed(places)})"
        if archive.proven_at is not None:
            count += f", last verified {ago(archive.proven_at, self.now)}"
        if advice is None:
            advice = self._advice(archive, copies, alone=not others)
        return say(Level.SAFE, count, self._cold(archive), advice, faulty)

    def _is_sound(self, archive: KnownCopy) -> bool:
        """Whether it is proven, and nothing was found wrong with it since."""
        verdict = self.verdicts.get(archive.id)
        is_faultless = verdict is None or verdict.problem is None
        return archive.status is FileStatus.COMPLETED and archive.proof is not None and is_faultless

    def _other_places(self, archive: KnownCopy) -> Iterator[str]:
        """Where else all that `archive` holds is proven to be, or was when it was moved to completed/."""
        seen = {archive.archive_id, None}  # the same object may be recorded twice, under two URLs of its store
        for each in sorted(self._same(archive), key=lambda each: each.location is Location.COMPLETED):
            if archive.kept and not covers(each.kept or "", archive.kept):
                continue
            if self._is_copy(each):
                yield "completed/" if each.host == host() else f"completed/ on {each.host}"
            elif is_stored(each) and self._is_sound(each) and archive.archive_id and each.archive_id not in seen:
                seen.add(each.archive_id)
                yield str(each.store)

    def _advice(self, archive: KnownCopy, copies: Sequence[KnownCopy], *, alone: bool) -> str:
        """What may be done with `copies` in completed/, or what became of the original."""
        copies = [each for each in copies if self._is_copy(each)]
        if copies:
            if archive.digest in self.claimed:
                return "another operation on it is not finished"
            if all(self._may_be_freed(each) for each in copies):
                elsewhere = {str(each.host) for each in copies} - {host()}
                return "may be freed" + (f" on {', '.join(sorted(elsewhere))}" if elsewhere else "")
            if self.cold.get(archive.id, "ready") != "ready":
                url = shell_word(f"{archive.store}/{archive.s3_object_key}")
                return f"to free the copy, it has to be read: run mgmt restore {url}"
            return ""
        if any(each.id in self.freed for each in self._same(archive)):
            return "the original was freed"
        for each in self._same(archive):
            if is_at(each, Location.LOCAL, FileStatus.COMPLETED) and each.id not in self.faults:
                kept = "a tar.gz" if each.mime_type == GZIP else "a copy"
                return f"{kept} is at {each.path}" + ("" if each.host == host() else f" on {each.host}")
        return "no other copy is known" if alone else ""

    def _mend(self, archive: KnownCopy, *, alone: bool) -> str:
        """What to do about a lost or damaged archive; `alone` if no other copy is known."""
        url, key = shell_word(f"{archive.store}/{archive.s3_object_key}"), shell_word(str(archive.s3_object_key))
        if archive.version_id not in (None, "null") or archive.kept is None:
            return f"run mgmt verify {url}"  # which looks at the older versions in the store
        if alone:
            back = f"restore the object from a backup of the store, then run mgmt verify {url}"
            return f"{back}; if it is lost for good: run mgmt delete --last-copy {url}"
        for copy in self._same(archive):
            if self._is_copy(copy) and copy.host == host() and covers(copy.kept or "", archive.kept):
                kept = "".join(f" --{each}" for each in ("owners", "xattrs") if f"{each}:" in archive.kept)
                again = f"mgmt --store {shell_word(str(archive.store))} upload --keep --key {key}{kept}"
                return f"run mgmt delete {url} && {again} {operand(copy.path)}"
        return f"run mgmt verify {url}"

    def _may_be_freed(self, copy: KnownCopy) -> bool:
        """Whether `mgmt free` would find a proof for this copy, if all is as recorded."""
        return any(self._would_prove(each, copy) for each in self._same(copy) if is_stored(each))

    def _would_prove(self, archive: KnownCopy, copy: KnownCopy) -> bool:
        if not self._is_sound(archive):
            return False
        # An older mgmt has not recorded what was kept: only reading the archive can tell.
        if copy.kept != "" and (None in (copy.kept, archive.kept) or not covers(archive.kept or "", copy.kept or "")):
            return False
        by_checksum = str(archive.proof).startswith(Proof.SERVER_CHECKSUM) and archive.object_checksum is not None
        return by_checksum or self.cold.get(archive.id, "ready") == "ready"

    def _cold(self, archive: KnownCopy) -> str:
        return {"thawing": "being restored", "ready": ""}.get(self.cold.get(archive.id, "ready"), "frozen")


def ago(moment: datetime, now: datetime) -> str:
    """Days before `now`, or the date of what is long ago or, by a wrong clock, to come."""
    days = (now - moment).days
    if not 0 <= days <= _RECENT_DAYS:
        return f"on {moment:%Y-%m-%d}"
    return "today" if not days else "yesterday" if days == 1 else f"{days} days ago"


def say(level: Level, *parts: str) -> Safety:
    """The sentence of these `parts`, without the empty ones."""
    return Safety(level, f"{level.capitalize()}: {'; '.join(filter(None, parts))}")


def _archive_now(copy: KnownCopy) -> str:
    """How to archive a copy that was changed as it is now."""
    where = "" if copy.host == host() else f" on {copy.host}"
    return f"to archive it as it is now: run mgmt upload --keep --on-conflict rename {operand(copy.path)}{where}"


def _remaining(others: Sequence[str]) -> str:
    if not others:
        return "no other copy is known"
    what = "copy remains" if len(others) == 1 else "copies remain"
    return f"{_counted(others)} proven {what} ({_listed(others)})"


def _counted(places: Sequence[str]) -> str:
    return f"at least {len(places)}" if len(places) >= MOST_COPIES else str(len(places))


def _listed(places: Sequence[str]) -> str:
    """Each place once, with how many there are in it, the first few of them."""
    named = [each if times == 1 else f"{times} in {each}" for each, times in Counter(places).items()]
    more = len(named) - _MOST_PLACES
    return ", ".join(named[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
