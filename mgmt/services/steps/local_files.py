"""Local files: who and where we are, and records of what is on disk."""

import getpass
import mimetypes
import os
import stat
from datetime import UTC, datetime

from mgmt.catalog import FileRecord, FileStatus, Location, this_host
from mgmt.errors import MgmtError
from mgmt.paths import canonical


def host() -> str:
    """The name of this machine, to which local paths belong."""
    return this_host()


def user() -> str:
    """The name of the user who runs mgmt."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())


def claim(path: str) -> str:
    """The claim of an operation that works on the local `path`; no two live operations have the same claim."""
    return f"{host()}:{path}"


def paths_meant(name: str) -> set[str]:
    """The paths in the catalog that a NAME can mean: as written, and as this machine resolves it now."""
    try:
        return {name, canonical(name)}
    except MgmtError:  # it need not be a path
        return {name}


def token(operation_id: str) -> str:
    """The part of an operation's id that its temporary names contain."""
    return operation_id.replace("-", "")[:12]


def moment(seconds: float) -> datetime | None:
    """The time `seconds` after 1970, in UTC; None outside the years that a datetime can hold."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def is_in(folder: int, path: str) -> bool:
    """Whether the open `folder` has an entry with the last name of `path`."""
    try:
        os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def describe(path: str, location: Location, status: FileStatus, folder: int | None = None) -> FileRecord:
    """A record of what is at `path` now; `folder` is the open folder that holds it, if given.

    Times are UTC; `created_at` is set only where the system reports it.
    """
    name = path if folder is None else os.path.basename(path)
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    folder = stat.S_ISDIR(found.st_mode)
    born = getattr(found, "st_birthtime", None)
    return FileRecord(
        name=os.path.basename(path),
        path=path,
        location=location,
        host=host(),
        size=None if folder else found.st_size,
        is_directory=folder,
        mime_type=None if folder else _mime_type(path),
        created_at=moment(born) if born is not None else None,
        modified_at=moment(found.st_mtime),
        accessed_at=moment(found.st_atime),
        status=status,
    )


def _mime_type(path: str) -> str | None:
    kind, encoding = mimetypes.guess_type(path)
    return "application/gzip" if encoding == "gzip" else kind
