"""What has happened in folders, as the kernel saw it: a log outside of everything that is tested."""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FROM, _TO, _CREATED, _DELETED, _OVERFLOW = 0x40, 0x80, 0x100, 0x200, 0x4000
"""See inotify(7)."""

_EVENT = struct.Struct("iIII")


class Effects:
    """Names that came to some folders, and names that went."""

    def __init__(self, descriptor: int, folders: dict[int, Path]) -> None:
        self._descriptor, self._folders = descriptor, folders

    def counts(self) -> tuple[Counter[Path], Counter[Path]]:
        """How often each path came, and how often it went, since the last call."""
        came, went = Counter[Path](), Counter[Path]()
        while events := self._read():
            while events:
                watch, mask, _, length = _EVENT.unpack_from(events)
                assert not mask & _OVERFLOW
                name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                (came if mask & (_TO | _CREATED) else went)[self._folders[watch] / os.fsdecode(name)] += 1
                events = events[_EVENT.size + length :]
        return came, went

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return b""


@contextmanager
def watching(*folders: Path) -> Iterator[Effects]:
    """Watch what comes to these folders and what goes; the kernel queues it."""
    system = ctypes.CDLL(None, use_errno=True)
    descriptor = system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        watches = {
            system.inotify_add_watch(descriptor, os.fsencode(each), _FROM | _TO | _CREATED | _DELETED): each
            for each in folders
        }
        assert descriptor >= 0, os.strerror(ctypes.get_errno())
        assert min(watches) >= 0, os.strerror(ctypes.get_errno())
        yield Effects(descriptor, watches)
    finally:
        os.close(descriptor)
