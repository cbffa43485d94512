"""Append a generation to the media hash lists of a folder that was just restored, or make the first."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from mgmt import __version__
from mgmt.archive import fsync_folder, give_name
from mgmt.errors import ConfigurationError, IntegrityError
from mgmt.mhl.append import NewList, formats_of, histories_of, next_generation
from mgmt.mhl.hashes import Hashing
from mgmt.mhl.history import is_list, read_histories
from mgmt.mhl.verify import Check, Finding, Verdict, Verification
from mgmt.mhl.write import File, Made
from mgmt.progress import Progress
from mgmt.services.steps.folder_walk import Walk, pieces
from mgmt.services.steps.local_files import host
from mgmt.umask import shared

_TEMPORARY = ".mgmt-new"


def append_generation(root: str, name: str, progress: Progress) -> None:
    """Read the files of the folder `root`, to be called `name`, and append a generation to each history in it.

    Nothing is written unless each listed file is there and is as listed: raises IntegrityError, which names the first
    that is not, ConfigurationError if `root` is no folder. Files that are not listed become part of the history. What
    an interruption leaves is not consistent: call it on a folder that does not have its name yet.
    """
    if not os.path.isdir(root) or os.path.islink(root):
        raise ConfigurationError(
            f"{name} is a file; a media hash list needs a folder", next_step="mgmt download NAME\n# without --mhl"
        )
    lists = [each.path for each in Walk(root) if each.kind == "f" and is_list(each.path)]
    histories = read_histories(lists, lambda path: map(bytes, pieces(root, path)))
    verification, chained = Verification(histories), histories_of(histories)
    reading = _Reading(root, formats_of(chained), progress)
    progress.start(f"hash {name}")
    findings = [*reading.read(verification), *verification.missing()]
    progress.stop()
    if wrong := next((each for each in findings if each.verdict not in (Verdict.OK, Verdict.ADDED)), None):
        raise IntegrityError(
            f"{name} is as it was archived, but not as its media hash list says: {wrong.path}: {wrong.reason}",
            next_step="mgmt download NAME\n# without --mhl; then: mgmt mhl verify DIR",
        )
    made = Made(datetime.now(UTC), host(), "mgmt", __version__, "transfer")
    chained = {
        each: history for each, history in chained.items() if not each or not verification.ignores(each, is_folder=True)
    }
    for each in next_generation(name, chained, reading.files, reading.folders, made):
        _write(root, each)


class _Reading:
    """The files and folders below `root`, each read once: for the hashes to write, and for those that are listed."""

    def __init__(self, root: str, formats: tuple[str, ...], progress: Progress) -> None:
        self.files: list[File] = []
        self.folders: dict[str, int] = {}
        self._root = root
        self._formats = formats
        self._progress = progress

    def read(self, verification: Verification) -> Iterator[Finding]:
        """Read them all; yields the verdict on each."""
        walk = Walk(self._root)
        for entry in walk:
            status = os.lstat(os.path.join(self._root, entry.path))
            if entry.kind == "d":
                if verification.ignores(entry.path, is_folder=True):
                    walk.prune()
                    continue
                self.folders[entry.path] = status.st_mtime_ns
                verification.see_folder(entry.path)
            elif entry.kind == "f" and not verification.ignores(entry.path):
                yield from self._read(entry.path, status, verification)

    def _read(self, path: str, status: os.stat_result, verification: Verification) -> Iterator[Finding]:
        found = verification.check(path)
        check = found if isinstance(found, Check) else None
        hashing = Hashing([*self._formats, *(check.formats if check is not None else ())])
        for piece in pieces(self._root, path):
            hashing.update(piece)
            self._progress.advance(len(piece))
        values = hashing.values()
        self.files.append(File(path, status.st_size, status.st_mtime_ns, values))
        if check is not None:
            yield check.compare(values, status.st_size)


def _write(root: str, new: NewList) -> None:
    """Write the manifest, then the chain that names it."""
    folder = os.path.join(root, os.path.dirname(new.path))
    with _kept(os.path.dirname(folder)), shared():
        if not os.path.isdir(folder):
            os.mkdir(folder)
    with _kept(folder, times=False):
        temporary = os.path.join(folder, _TEMPORARY)
        _write_file(temporary, new.manifest)
        give_name(temporary, os.path.join(root, new.path))
        _write_file(temporary, new.chain)
        os.replace(temporary, os.path.join(root, new.chain_path))
        fsync_folder(folder)


def _write_file(path: str, content: bytes) -> None:
    with shared():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _kept(folder: str, *, times: bool = True) -> Iterator[None]:
    """Make `folder` writable in the block; it keeps its mode, and its times of access and modification."""
    status = os.stat(folder)
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(folder, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.chmod(folder, mode)
            if times:
                os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
