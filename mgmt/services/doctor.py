"""What is wrong with the machine, the settings, the catalog and the store, and the command that mends it.

Each check stands by itself: what is broken for one is no reason to leave out another. Nothing is changed here, and
nothing is made; in a store, what an upload would find out is found out in the same way.
"""

import os
import platform
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Literal

import mgmt
from mgmt.catalog import HEAD, Catalog, OperationRecord, UploadRecord, open_catalog
from mgmt.catalog.db.engine import is_writable
from mgmt.config import Settings, load
from mgmt.errors import CatalogError, ConfigurationError, ExitStatus, MgmtError, StoreUnavailableError
from mgmt.services.steps.local_files import host
from mgmt.services.steps.open_store import open_unremembered
from mgmt.services.steps.orphans import abandoned_probes
from mgmt.services.steps.unrecorded import unnamed
from mgmt.storage import ObjectStore, PendingUpload

State = Literal["ok", "warning", "problem"]

LITTLE, NONE = 1 << 30, 16 << 20
"""Free bytes of a disk below which there is a warning, and a problem."""

FEW_INODES, NO_INODES = 10_000, 100
SKEW = timedelta(minutes=5)
"""How far S3 lets two clocks be apart is fifteen minutes."""

_CRC64NVME_CHECK = 0xAE8B14860A799888.to_bytes(8, "big")  # of b"123456789", from the catalogue of CRC algorithms
_DIRECTORY = "file://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `next` is the command that mends it, `exit_status` that of a problem."""

    type: str = "finding"
    area: str
    what: str
    state: State = "ok"
    detail: str
    next: str | None = None
    exit_status: int | None = None


def examine(
    config_path: Path, settings: Callable[[], Settings], flags: dict[str, str | None], folder: str
) -> Iterator[Finding]:
    """Look at everything, for work in `folder`. `settings` may raise: then flags and environment are all there is."""
    yield from _python()
    chosen, findings = _configuration(config_path, settings, flags)
    yield from findings
    if chosen is None:
        return
    yield from _disks(chosen, folder)
    uploads: dict[str, UploadRecord] = {}
    try:
        catalog = open_catalog(chosen.catalog_url(), create=False)
    except ConfigurationError as error:
        yield _problem("catalog", "URL", error)
    else:
        try:
            yield from _catalog(catalog, uploads)
        finally:
            catalog.close()
    if chosen.store is not None:
        yield from _store(chosen.store, chosen, uploads)


def verdict(findings: Iterable[Finding]) -> MgmtError | None:
    """The error that stands for the problems among `findings`: the catalog's, else the store's, else the settings'."""
    problems = [each for each in findings if each.state == "problem"]
    if not problems:
        return None
    kinds: tuple[type[MgmtError], ...] = (CatalogError, StoreUnavailableError, ConfigurationError, MgmtError)
    for kind in kinds:
        if first := next((each for each in problems if each.exit_status == kind.exit_status), None):
            break
    else:
        kind, first = MgmtError, problems[0]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems, one of them"
    return kind(f"{count}: {first.area}, {first.what}: {first.detail}", next_step=first.next)


def _python() -> Iterator[Finding]:
    yield Finding(area="python", what="version", detail=f"Python {platform.python_version()}, mgmt {mgmt.__version__}")
    packages = ("isal", "zlib-ng", "deflate", "awscrt")
    try:
        from mgmt.archive.blocks import pack, unpack
        from mgmt.choices import Level
        from mgmt.storage.checksums import checksum

        data = b"mgmt " * 1000
        works = all(unpack(b"".join(pack(data, level)[0]), len(data)) == data for level in Level)
        works = works and checksum("crc64nvme", [b"123456789"]) == _CRC64NVME_CHECK
        detail = (
            ", ".join(f"{name} {version(name)}" for name in packages) if works else "they do not give back the data"
        )
    except (ImportError, MgmtError) as error:
        works, detail = False, f"they cannot be used: {error}"
    yield Finding(
        area="python",
        what="native compressors",
        state="ok" if works else "problem",
        detail=detail,
        next=None if works else f"python -m pip install --force-reinstall {' '.join(packages)}",
        exit_status=None if works else ExitStatus.FAILED,
    )


def _configuration(
    path: Path, settings: Callable[[], Settings], flags: dict[str, str | None]
) -> tuple[Settings | None, list[Finding]]:
    """What settings can be had, and what there is to say of them."""
    chosen: Settings | None
    try:
        chosen = settings()
        detail = str(path) if path.exists() else f"there is no {path}; defaults, environment and flags hold"
        findings = [Finding(area="configuration", what="settings", detail=detail)]
    except (ConfigurationError, OSError) as error:
        findings = [
            _problem("configuration", "settings", error, next_step=f"mend it where it was set, which may be {path}")
        ]
        chosen = _without_file(flags)
    findings += _permissions("configuration", [(str(path), 0o600), (str(path.parent), 0o700)])
    if chosen is not None:
        try:
            findings.append(Finding(area="configuration", what="store", detail=chosen.store_url()))
        except ConfigurationError as error:
            findings.append(_problem("configuration", "store", error))
    return chosen, findings


def _without_file(flags: dict[str, str | None]) -> Settings | None:
    try:
        return load(flags, Path(os.devnull))
    except ConfigurationError:  # it was not the file, and has been said
        return None


def _permissions(area: str, wanted: Sequence[tuple[str, int]]) -> Iterator[Finding]:
    """A warning for each of the files that is there and lets others in."""
    for path, mode in wanted:
        try:
            found = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:  # not there, or not to be seen: whoever opens it says so
            continue
        if found & ~mode & 0o077:
            detail = f"{path} is open to others: its mode is {found:04o}, not {mode:04o}"
            yield Finding(area=area, what="permissions", state="warning", detail=detail, next=f"chmod {mode:o} {path}")


def _disks(settings: Settings, folder: str) -> Iterator[Finding]:
    """Free space where mgmt writes; a folder that is yet to be made counts as the one that it will be made in."""
    places = {"temporary files": tempfile.gettempdir(), "completed originals": settings.completed_dir}
    catalog = settings.catalog_url()
    if catalog.startswith("sqlite:///"):
        places["the catalog"] = os.path.dirname(os.path.expanduser(catalog.removeprefix("sqlite:///")))
    if settings.store is not None and settings.store.startswith(_DIRECTORY):
        places["the store"] = settings.store.removeprefix(_DIRECTORY)
    for what, path in places.items():
        path = _existing(os.path.join(folder, path))
        try:
            yield _space(what, path)
        except OSError as error:
            yield _problem("disk", what, MgmtError(f"{path}: {error.strerror}", next_step="check the disk"))


def _space(what: str, path: str) -> Finding:
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    detail = f"{path}: {free >> 20} MiB free"
    states: list[State] = [_state(free, NONE, LITTLE)]
    if found.f_files:  # not every file system counts them
        detail += f", room for {found.f_favail} files"
        states.append(_state(found.f_favail, NO_INODES, FEW_INODES))
    if not os.access(path, os.W_OK | os.X_OK):
        detail += ", and it cannot be written"
        states.append("problem")
    worst = max(states, key=("ok", "warning", "problem").index)
    return Finding(
        area="disk",
        what=what,
        state=worst,
        detail=detail,
        next=None if worst == "ok" else f"make room: df -h {path}; df -i {path}; ls -ld {path}",
        exit_status=ExitStatus.FAILED if worst == "problem" else None,
    )


def _state(count: int, problem: int, warning: int) -> State:
    return "problem" if count < problem else "warning" if count < warning else "ok"


def _existing(path: str) -> str:
    path = os.path.abspath(os.path.expanduser(path))
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _catalog(catalog: Catalog, uploads: dict[str, UploadRecord]) -> Iterator[Finding]:
    """Look at the catalog; `uploads` gets those that may have left parts in a store, by the id of their upload."""
    database = catalog.database
    try:
        if database.path is not None and not os.path.exists(database.path):
            yield Finding(
                area="catalog", what="file", detail=f"there is no {database.path} yet; the first use makes it"
            )
            return
        if database.path is not None:
            yield from _catalog_file(database.path)
        found = database.revision()
        if found != HEAD:
            yield _other_schema(database.name, found)
            return
        from mgmt.catalog.schema import migrate as schema

        problems = schema.check(database)
        if problems:
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            detail = f"{database.name}: {problems[0]}{more}"
            damaged = "restore it from a backup, or move it away and run: mgmt db rebuild"
            yield _problem("catalog", "soundness", CatalogError(detail, next_step=damaged))
        else:
            yield Finding(area="catalog", what="soundness", detail=f"{database.name} is sound, its schema is {found}")
        interrupted = catalog.journal.interrupted()
        uploads.update(_abandoned(catalog, interrupted))
    except CatalogError as error:
        yield _problem("catalog", "soundness", error)
        return
    if interrupted:
        detail = f"{len(interrupted)} were cut off, the first a {interrupted[0].operation_type} of"
        yield Finding(
            area="catalog",
            what="operations",
            state="warning",
            detail=f"{detail} {interrupted[0].target_path}",
            next="mgmt recover",
        )
    else:
        yield Finding(area="catalog", what="operations", detail="none was interrupted and is still to be settled")
    yield _copies(catalog)


def _copies(catalog: Catalog) -> Finding:
    """Copies in completed folders that need `recover`: half removed, or in no record."""
    left = [str(each.result_path) for each in catalog.metadata.unfinished_removals(host())]
    left = [path for path in dict.fromkeys(left) if os.path.lexists(path)]
    unrecorded = unnamed(catalog)
    if not left and not unrecorded:
        return Finding(area="catalog", what="copies", detail="each completed copy here is recorded")
    told = [f"{len(left)} half removed, the first {left[0]}"] if left else []
    told += [f"{len(unrecorded)} in no record, the first {unrecorded[0]}"] if unrecorded else []
    return Finding(area="catalog", what="copies", state="warning", detail="; ".join(told), next="mgmt recover")


def _catalog_file(path: str) -> Iterator[Finding]:
    own = [(path, 0o600), (f"{path}-wal", 0o600), (f"{path}-shm", 0o600), (os.path.dirname(path), 0o700)]
    yield from _permissions("catalog", own)
    if not is_writable(path):
        error = CatalogError(f"{path} cannot be written here", next_step=f"chmod u+w {path}; chmod u+wx its folder")
        yield _problem("catalog", "permissions", error)


def _other_schema(name: str, found: str | None) -> Finding:
    if found is None:
        return Finding(area="catalog", what="schema", detail=f"{name} is empty; the first use makes the schema")
    kind, mend = ("older", "mgmt db upgrade") if found < HEAD else ("newer", "use a newer mgmt")
    detail = f"{name} has the {kind} schema {found}; this mgmt needs {HEAD}"
    return _problem("catalog", "schema", CatalogError(detail, next_step=mend))


def _abandoned(catalog: Catalog, interrupted: Sequence[OperationRecord]) -> dict[str, UploadRecord]:
    """Uploads that may have left parts in a store, and that no living process goes on with."""
    uploads = [each for each in interrupted if isinstance(each, UploadRecord)]
    uploads += catalog.metadata.unfinished_uploads()
    found = {each.upload_id: each for each in uploads if each.upload_id is not None}
    for each in catalog.journal.running():
        if isinstance(each, UploadRecord) and each not in uploads and each.upload_id is not None:
            found.pop(each.upload_id, None)
    return found


def _store(url: str, settings: Settings, uploads: dict[str, UploadRecord]) -> Iterator[Finding]:
    try:
        store = open_unremembered(url, settings)
        yield from _clock(store)
        next(islice(store.list(), 1), None)
        yield Finding(area="store", what="access", detail=f"{url} answers, and lets us in")
    except MgmtError as error:
        yield _problem("store", "access", error)
        return
    for check in (_abilities, lambda there: _leftovers(there, uploads)):
        try:
            yield check(store)
        except MgmtError as error:
            yield _problem("store", "uploads", error)


def _clock(store: ObjectStore) -> Iterator[Finding]:
    before = datetime.now(UTC)
    there = store.clock()
    after = datetime.now(UTC)
    if there is None:
        return
    apart = max(before - there, there - after, timedelta(0))
    if apart <= SKEW:
        yield Finding(
            area="store", what="clock", detail=f"the store's and ours are {apart.total_seconds():.0f} s apart"
        )
        return
    minutes = apart.total_seconds() / 60
    ahead = "behind" if there > after else "ahead of"
    yield Finding(
        area="store",
        what="clock",
        state="warning",
        detail=f"the clock here is {minutes:.0f} min {ahead} the store's; S3 refuses requests from 15 min on",
        next="set the clock of this machine, for example: timedatectl set-ntp true",
    )


def _abilities(store: ObjectStore) -> Finding:
    checksum = store.capabilities().checksum
    if checksum is not None:
        detail = f"an archive is proven by the store's own {checksum}: a wrong one was refused just now"
    else:
        detail = "no checksum of the store's can be trusted: each archive is read back to prove it"
    return Finding(area="store", what="proof", detail=detail)


def _leftovers(store: ObjectStore, uploads: dict[str, UploadRecord]) -> Finding:
    """Parts that nobody will join, for which somebody pays."""
    pending = list(store.pending())
    ours = [each for each in pending if each.upload_id in uploads] + abandoned_probes(store)
    others = len(pending) - len(ours)
    besides = f"; {others} more are under way, or another catalog's" if others else ""
    if not ours:
        return Finding(area="store", what="uploads", detail=f"none of ours is abandoned{besides}")
    detail = f"{_counted(ours)} abandoned{besides}"
    return Finding(area="store", what="uploads", state="warning", detail=detail, next="mgmt recover")


def _counted(uploads: Sequence[PendingUpload]) -> str:
    return f"{len(uploads)} with {sum(each.size for each in uploads)} bytes"


def _problem(area: str, what: str, error: MgmtError | OSError, next_step: str | None = None) -> Finding:
    return Finding(
        area=area,
        what=what,
        state="problem",
        detail=error.message if isinstance(error, MgmtError) else str(error),
        next=next_step or (error.next_step if isinstance(error, MgmtError) else None),
        exit_status=error.exit_status if isinstance(error, MgmtError) else ExitStatus.USAGE,
    )
