"""What `mgmt status` says of a file: a sentence, then groups of facts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mgmt.cli import log
from mgmt.cli.app import App
from mgmt.cli.render import Column
from mgmt.cli.retention import restore_state
from mgmt.shown import human_size, human_time

if TYPE_CHECKING:
    from mgmt.catalog import FileRecord
    from mgmt.services.status import FileStatusReport

MOST_EVENTS = 10
"""Operations in the history of a file, without `-l`."""


def _place(file: Any) -> str:
    from mgmt.catalog import this_host

    if file.location == "s3":
        return f"{file.store}/{file.s3_object_key}"
    return file.path if file.host == this_host() else f"{file.path} on {file.host}"


HISTORY = tuple(each for each in log.COLUMNS if each.title != "TARGET")
"""As of any list of operations; the target is the file itself."""

PLACES = (
    Column("LOCATION", "location"),
    Column("STATUS", "status"),
    Column("SIZE", "size", "size", leaves=1),
    Column("WHERE", _place, "long"),
)


def show_file(app: App, report: "FileStatusReport") -> None:
    """Print the sentence, what the file is, where it is, what proves it, and its last operations."""
    app.render.line(report.sentence)
    file, archives = report.file, report.archives
    app.render.group("What", _what(report))
    places = [] if file is None else [*([file] if file.status != "deleted" or not archives else []), *archives]
    known = {each.id for each in places}
    places += [each for each in report.copies if each.id not in known]
    section(app, "Where", places, PLACES)
    app.render.group("Proof", _proof(report))
    events = report.history[:MOST_EVENTS]
    columns = HISTORY if any(each.error_message for each in events) else HISTORY[:-1]
    section(app, "History", events, columns)
    if len(report.history) > MOST_EVENTS:
        app.render.line(f"{len(report.history) - MOST_EVENTS} older operations: mgmt status -l")


def _archive(report: "FileStatusReport") -> "FileRecord | None":
    return next(iter(report.archives), report.file)


def _what(report: "FileStatusReport") -> Mapping[str, Any]:
    archive = _archive(report)
    if archive is None:
        return {"size": None if report.stored is None else report.stored.size}
    size = archive.size if archive.location == "s3" else None
    ratio = f"{size / archive.original_size:.0%}" if size and archive.original_size else None
    return {
        "name": archive.name,
        "members": report.members,
        "original size": archive.original_size,
        "stored size": size,
        "compressed to": ratio,
        "archived" if size is not None else "modified": _moment(archive.modified_at),
        "tags": ", ".join(f"{key}={value}" for key, value in archive.tags.items()),
        "digest": archive.digest,
        "error": archive.error_message,
    }


def _proof(report: "FileStatusReport") -> Mapping[str, Any]:
    archive, stored = _archive(report), report.stored
    there = None
    if stored is not None:
        cold = restore_state("thawing" if stored.thawing else report.cold)
        facts = [human_size(stored.size), stored.storage_class, cold]
        there = ", ".join(each for each in facts if each)
    if archive is None:
        return {"in the store now": report.problem or there}
    return {
        "proven by": archive.proof,
        "verified": _moment(archive.proven_at),
        "in the store now": report.problem or there,
        "checksum": archive.object_checksum,
        "locked until": _moment(archive.locked_until),
        "legal hold": archive.legal_hold,
    }


def section(app: App, title: str, items: Sequence[object], columns: Sequence[Column], *, long: bool = False) -> None:
    """Print a titled table, unless it is empty."""
    if items:
        app.render.line(title, apart=True)
        app.render.many(items, columns, long=long)


def _moment(moment: Any) -> str | None:
    return None if moment is None else human_time(moment)
