"""One block of an archive: 1 MiB of tar as an independent piece of deflate (docs/format.md, "The object")."""

import importlib.metadata
import mmap

import deflate
from isal import isal_zlib
from zlib_ng import zlib_ng

from mgmt.choices import Level
from mgmt.errors import IntegrityError

Data = bytes | bytearray | memoryview

BLOCK = 1 << 20
"""Bytes of tar in a block; only the last block may be shorter."""

HEADER = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff" + b"mgmt/1 block=%d\0" % BLOCK
"""The first bytes of every archive: a gzip header (RFC 1952) whose comment names the format."""

_STORED = 65535
_STORED_HEADER = b"\0\xff\xff\0\0"
_SYNC = b"\0\0\0\xff\xff"
_FLUSHED = _SYNC[1:]  # the end of every sync flush, whatever its bit offset
_FINAL = b"\x03\0"
_SAMPLES = 16
_SAMPLE = 2048


def new_buffer() -> memoryview:
    """A writable buffer for one block. It begins at a page: on some CPUs the kernel copies several times as fast to
    there as to 16 bytes after it, where the data of a bytearray begins.
    """
    return memoryview(mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE))


def pack(data: Data, level: Level) -> tuple[tuple[bytes, ...], int]:
    """Compress or store one block; return its pieces, to be written in order, and its crc32."""
    crc = deflate.crc32(data)
    view = memoryview(data)
    if not _incompressible(view):
        piece = _compress(view, level)
        if len(piece) < len(view):
            return (piece,), crc
    return (_store(view),), crc


def unpack(piece: Data, size: int) -> bytearray:
    """Inflate one block of `size` bytes. Raises IntegrityError; the caller checks the crc32."""
    try:
        data = deflate.deflate_decompress(b"".join((piece, _FINAL)), size)
    except deflate.DeflateError as error:
        raise IntegrityError("a block of the archive is corrupt: it does not inflate") from error
    if len(data) != size or bytes(piece[-4:]) != _FLUSHED:
        raise IntegrityError(f"a block of the archive is incomplete: {len(data)} of {size} bytes")
    return data


def trailer(crc: int, size: int) -> bytes:
    """The last bytes of an archive whose tar has this crc32 and size (RFC 1952)."""
    return _FINAL + crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def crc32_combine(first: int, second: int, second_size: int) -> int:
    """The crc32 of two consecutive pieces, computed from the crc32 of each."""
    return isal_zlib.crc32_combine(first, second, second_size)


def largest_object(tar_size: int) -> int:
    """The maximum size of the archive of a tar of `tar_size` bytes."""
    blocks = -(-tar_size // BLOCK)
    return len(HEADER) + tar_size + blocks * (-(-BLOCK // _STORED) + 1) * 5 + len(trailer(0, 0))


def compressor(level: Level) -> str:
    """The library that compresses at `level`, with its version: the same one gives the same bytes."""
    package = "isal" if level == Level.FAST else "zlib-ng"
    return f"{package} {importlib.metadata.version(package)}"


def _incompressible(view: memoryview) -> bool:
    if len(view) < _SAMPLES * _SAMPLE:
        return False
    step = (len(view) - _SAMPLE) // (_SAMPLES - 1)
    samples = b"".join([view[i * step : i * step + _SAMPLE] for i in range(_SAMPLES)])
    return len(isal_zlib.compress(samples, 1)) > len(samples) * 0.97


def _compress(view: memoryview, level: Level) -> bytes:
    if level == Level.FAST:
        fast = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15)
        return fast.compress(view) + fast.flush(isal_zlib.Z_SYNC_FLUSH)
    balanced = zlib_ng.compressobj(6, zlib_ng.DEFLATED, -15)
    return balanced.compress(view) + balanced.flush(zlib_ng.Z_SYNC_FLUSH)


def _store(view: memoryview) -> bytes:
    pieces: list[bytes | memoryview] = []
    for start in range(0, len(view), _STORED):
        data = view[start : start + _STORED]
        size = len(data)
        pieces += (_STORED_HEADER if size == _STORED else b"\0" + _le16(size) + _le16(size ^ 0xFFFF), data)
    pieces.append(_SYNC)
    return b"".join(pieces)


def _le16(value: int) -> bytes:
    return value.to_bytes(2, "little")
