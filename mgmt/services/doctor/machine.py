"""Checks of the machine: Python, the native libraries, and the disks that mgmt writes to."""

import os
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version

import mgmt
from mgmt.config import Settings
from mgmt.errors import ExitStatus, MgmtError
from mgmt.services.doctor.finding import Finding, State, problem
from mgmt.words import operand

LOW_SPACE, NO_SPACE = 1 << 30, 16 << 20
"""Free bytes of a disk below which there is a warning, and a problem."""

LOW_INODES, NO_INODES = 10_000, 100

_PACKAGES = ("isal", "zlib-ng", "deflate", "awscrt")
_CRC64NVME_CHECK = 0xAE8B14860A799888.to_bytes(8, "big")  # of b"123456789", from the catalogue of CRC algorithms
_DIRECTORY = "file://"


def check_python() -> Iterator[Finding]:
    """Report versions, and check that the native compressors and checksums work."""
    yield Finding(area="python", what="version", detail=f"Python {platform.python_version()}, mgmt {mgmt.__version__}")
    try:
        from mgmt.archive.blocks import pack, unpack
        from mgmt.choices import Level
        from mgmt.storage.checksums import checksum

        data = b"mgmt " * 1000
        works = all(unpack(b"".join(pack(data, level)[0]), len(data)) == data for level in Level)
        works = works and checksum("crc64nvme", [b"123456789"]) == _CRC64NVME_CHECK
        versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        detail = versions if works else "wrong output from the native compressors or checksums"
    except (ImportError, MgmtError) as error:
        works, detail = False, f"cannot load the native compressors: {error}"
    yield Finding(
        area="python",
        what="native compressors",
        state="ok" if works else "problem",
        detail=detail,
        next=None if works else f"python -m pip install --force-reinstall {' '.join(_PACKAGES)}",
        exit_status=None if works else ExitStatus.FAILED,
    )


def check_disks(settings: Settings, folder: str) -> Iterator[Finding]:
    """Check free space where mgmt writes. A folder that does not exist yet counts as the one it would be created in."""
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
            yield problem("disk", what, MgmtError(f"{path}: {error.strerror}", next_step="check the disk"))


def _space(what: str, path: str) -> Finding:
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    detail = f"{path}: {free >> 20} MiB free"
    states: list[State] = [_state(free, NO_SPACE, LOW_SPACE)]
    if found.f_files:  # not every file system counts inodes
        detail += f", {found.f_favail} inodes free"
        states.append(_state(found.f_favail, NO_INODES, LOW_INODES))
    if not os.access(path, os.W_OK | os.X_OK):
        detail += ", not writable"
        states.append("problem")
    worst, word = max(states, key=("ok", "warning", "problem").index), operand(path)
    return Finding(
        area="disk",
        what=what,
        state=worst,
        detail=detail,
        next=None if worst == "ok" else f"df -h {word}; df -i {word}; ls -ld {word}\n# check space and permissions",
        exit_status=ExitStatus.FAILED if worst == "problem" else None,
    )


def _state(count: int, problem: int, warning: int) -> State:
    return "problem" if count < problem else "warning" if count < warning else "ok"


def _existing(path: str) -> str:
    path = os.path.abspath(os.path.expanduser(path))
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path
