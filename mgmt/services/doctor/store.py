"""Checks of the store."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from mgmt.catalog import UploadRecord
from mgmt.config import Settings
from mgmt.errors import MgmtError, RefusedError, StoreError, StoreUnavailableError
from mgmt.services.doctor.finding import Finding, problem
from mgmt.services.doctor.lifecycle import check_lifecycle
from mgmt.services.steps.open_store import is_missing, open_unremembered
from mgmt.services.steps.orphans import abandoned_probes
from mgmt.storage import ObjectStore
from mgmt.storage.refusals import UnsupportedError

SKEW = timedelta(minutes=5)
"""Difference between two clocks from which there is a warning. S3 refuses requests from fifteen minutes on."""


def check_store(url: str, settings: Settings, uploads: dict[str, UploadRecord]) -> Iterator[Finding]:
    """Check access, the clock, the proof that the store can give, and orphaned uploads.

    `uploads` are, by upload id, those that no running process will resume.
    """
    try:
        store = open_unremembered(url, settings)
        yield from _clock(store)
        next(islice(store.list(), 1), None)
        yield _reachable(url)
    except MgmtError as error:
        yield problem("store", "access", error)
        return
    for what, check in _checks(uploads):
        try:
            if (found := check(store)) is not None:
                yield found
        except UnsupportedError as error:
            detail = f"the store does not support what is needed to look: {error.message}"
            yield Finding(area="store", what=what, state="warning", detail=detail)
        except MgmtError as error:
            yield problem("store", what, error)
    try:
        yield from check_lifecycle(store)
    except MgmtError as error:
        yield problem("store", "lifecycle", error)


def _reachable(url: str) -> Finding:
    if not is_missing(url):
        return Finding(area="store", what="access", detail=f"{url} is reachable{_access(url)}")
    return Finding(
        area="store",
        what="access",
        state="warning",
        detail=f"{url} does not exist: the first upload creates it",
        next="mgmt config set store file:///DIRECTORY\n# if that is not the name you meant, or its disk is not mounted",
    )


def _access(url: str) -> str:
    """What else is known of a store that can be listed; the space of a directory is checked as a disk."""
    if not url.startswith("file://"):
        return ", and accepts the credentials"
    return ", and can be written" if os.access(url.removeprefix("file://"), os.W_OK | os.X_OK) else ""


def _clock(store: ObjectStore) -> Iterator[Finding]:
    before = datetime.now(UTC)
    there = store.clock()
    after = datetime.now(UTC)
    if there is None:
        return
    apart = max(before - there, there - after, timedelta(0))
    if apart <= SKEW:
        detail = f"{apart.total_seconds():.0f} s off the store's clock"
        yield Finding(area="store", what="clock", detail=detail)
        return
    minutes = apart.total_seconds() / 60
    ahead = "behind" if there > after else "ahead of"
    yield Finding(
        area="store",
        what="clock",
        state="warning",
        detail=f"the clock of this host is {minutes:.0f} min {ahead} the store's; S3 refuses requests from 15 min on",
        next="set the clock of this host, for example: timedatectl set-ntp true",
    )


def _proof(store: ObjectStore) -> Finding:
    checksum = store.capabilities().checksum
    if checksum is not None:
        detail = f"archives are proven by the store's {checksum} checksum: it refused a wrong one just now"
    else:
        detail = "the store has no checksum that can be trusted: archives are proven by reading them back"
    return Finding(area="store", what="proof", detail=detail)


def _checks(uploads: dict[str, UploadRecord]) -> Iterator[tuple[str, Callable[[ObjectStore], Finding | None]]]:
    """What is checked of a store that can be listed, and by which name it is reported."""
    yield "proof", _proof
    yield "uploads", lambda store: _orphans(store, uploads)
    yield "versions", _versions


def _versions(store: ObjectStore) -> Finding | None:
    """Whether what is deleted remains, and for how long the bucket locks what is stored. None for a directory."""
    if store.versions is None or store.locks is None:
        return None
    try:
        status = store.versions.status()
    except StoreUnavailableError:
        raise
    except StoreError:
        return None  # it knows no versions, or does not let these credentials see whether it does
    kept = {
        None: "what is deleted is gone: the bucket is not versioned",
        "Enabled": "what is deleted remains as an older version, and is billed: mgmt undelete brings it back",
    }.get(status, f"versioning is {str(status).lower()}: what was deleted before may remain as an older version")
    try:
        default = store.locks.default()
    except RefusedError:
        return Finding(area="store", what="versions", detail=f"{kept}; it has no object lock")
    if default is None or default.until is None:
        return Finding(area="store", what="versions", detail=f"{kept}; object lock is on, without a default retention")
    days = round((default.until - datetime.now(UTC)) / timedelta(days=1))
    detail = f"{kept}; object lock retains what is stored for {days} days by default ({default.mode})"
    return Finding(area="store", what="versions", detail=detail)


def _orphans(store: ObjectStore, uploads: dict[str, UploadRecord]) -> Finding:
    """Multipart uploads that nobody will complete, but that are charged for."""
    pending = list(store.pending())
    ours = [each for each in pending if each.upload_id in uploads] + abandoned_probes(store)
    others = len(pending) - len(ours)
    besides = f"; {others} more running, or of another catalog" if others else ""
    if not ours:
        return Finding(area="store", what="uploads", detail=f"no orphaned uploads{besides}")
    detail = f"{len(ours)} orphaned, with {sum(each.size or 0 for each in ours)} bytes{besides}"
    return Finding(area="store", what="uploads", state="warning", detail=detail, next="mgmt recover")
