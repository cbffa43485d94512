"""Is it safe, may the copy be freed, what is to be done: one sentence for each file or archive, from the catalog alone.

`mgmt free` and `mgmt delete` look at what is there now (copies.py). This says no more than they would find if all is as
recorded: it never says that a copy may be freed where `free` would refuse it by what the catalog knows, nor that an
archive is safe in which a fault was found since its last verification.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mgmt.catalog import Catalog, FileRecord, FileStatus, KnownCopy, Location, Verdict
from mgmt.catalog.files.verdicts import shared
from mgmt.choices import FROZEN_CLASSES
from mgmt.services.steps.safety_rules import Fault, Judge, Level, Safety, ago, is_at, is_stored, say
from mgmt.services.steps.thaw import state

__all__ = ["Fault", "Level", "Safety", "not_in_catalog", "safeties", "safeties_of", "safety_of"]


def safety_of(
    file: FileRecord,
    catalog: Catalog,
    *,
    faults: Mapping[int, Fault] | None = None,
    archive_faults: Mapping[int, str] | None = None,
) -> Safety:
    """The safety of one file or archive.

    `faults` is what a look at local copies has just found wrong, and `archive_faults` what the stores of archives have
    just shown to be wrong, by the ids of their records.
    """
    record, now = _known(file), datetime.now(UTC)
    judge = _gathered([record], catalog, now)
    verdicts = dict(judge.verdicts)
    known = [record, *(each for same in judge.copies.values() for each in same)]
    for archive, message in (archive_faults or {}).items():
        objects = {each.archive_id for each in known if each.id == archive and each.archive_id is not None}
        for each in {archive, *(each.id for each in known if each.archive_id in objects)}:
            earlier = verdicts.get(each)
            if earlier is None or earlier.problem is None or earlier.restored:
                verdicts[each] = Verdict("damaged", message, now, restored=False)
    return replace(judge, verdicts=verdicts, faults={**judge.faults, **(faults or {})}).safety(record)


def safeties(files: Iterable[object], catalog: Catalog, *, now: datetime | None = None) -> dict[int, Safety]:
    """The safety of each recorded one of `files`, by its id; four or five queries for a page of them.

    `now` is the time from which days are counted.
    """
    return _judged([_known(each) for each in files if isinstance(each, FileRecord)], catalog, now)


def safeties_of(files: Collection[int], catalog: Catalog, *, now: datetime | None = None) -> dict[int, Safety]:
    """The same for the files with these numbers."""
    return _judged(catalog.known_copies.numbered(files), catalog, now)


def not_in_catalog(url: str) -> Safety:
    """The safety of an archive that only its store has."""
    return say(Level.UNPROVEN, f"{url} is not in the catalog", "run mgmt db rebuild")


def _known(record: FileRecord) -> KnownCopy:
    return KnownCopy(*(getattr(record, name) for name in KnownCopy._fields))


def _judged(records: Sequence[KnownCopy], catalog: Catalog, now: datetime | None) -> dict[int, Safety]:
    judge = _gathered(records, catalog, now or datetime.now(UTC))
    return {each.id: judge.safety(each) for each in records}


def _gathered(records: Sequence[KnownCopy], catalog: Catalog, now: datetime) -> "Judge":
    """Ask the catalog for all that concerns the contents of `records`."""
    digests = {each.digest for each in records if each.digest is not None}
    copies = catalog.known_copies.of(digests) if digests else {}
    known = {each.id: each for same in copies.values() for each in same} | {each.id: each for each in records}
    archives = [each for each in known.values() if is_stored(each)]
    frozen = [each for each in archives if each.storage_class in FROZEN_CLASSES]
    thaws = catalog.thaws.latest_of(frozen) if frozen else {}
    gone = [each.id for each in known.values() if is_at(each, Location.COMPLETED, FileStatus.DELETED)]
    present = [each for each in known.values() if is_at(each, Location.COMPLETED, FileStatus.COMPLETED)]
    originals = [each.id for each in records if is_at(each, Location.LOCAL, FileStatus.COMPLETED)]
    claimable = {str(each.digest) for each in present}
    changed = catalog.verdicts.changed([each.id for each in present]) if present else {}
    return Judge(
        copies=copies,
        verdicts=shared(archives, catalog.verdicts.of([each.id for each in archives])) if archives else {},
        cold={each.id: state(thaws.get(each.id)) for each in frozen},
        freed=catalog.verdicts.freed(gone) if gone else set(),
        claimed=catalog.verdicts.claimed(claimable) if claimable else set(),
        faults={each: Fault(f"was found changed {ago(at, now)}") for each, at in changed.items()},
        left_out=catalog.verdicts.left_out(originals) if originals else {},
        now=now,
    )
