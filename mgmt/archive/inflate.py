"""Inflating gzip streams of any origin."""

from collections.abc import Iterable, Iterator

from zlib_ng import zlib_ng

from mgmt.archive.blocks import Data
from mgmt.errors import IntegrityError

_AT_ONCE = 1 << 16  # bytes of input
_PIECE = 1 << 20


def inflate(chunks: Iterable[Data], name: str = "the archive") -> Iterator[bytes]:
    """The content of a gzip stream (RFC 1952) of one or more members, in pieces of at most 1 MiB.

    Zeros after the end are padding. Raises IntegrityError for a stream that is damaged, truncated or not gzip; for a
    wrong trailer, only after the whole content was yielded. `name` is what the errors call the archive.
    """
    inflater = zlib_ng.decompressobj(31)
    begun = complete = False
    for data in slices(chunks):
        while data:
            if complete and not data.lstrip(b"\0"):
                break
            begun, complete = True, False
            try:
                piece = inflater.decompress(data, _PIECE)
            except zlib_ng.error as error:  # type: ignore[misc]  # the stub is wrong: it is a class
                raise IntegrityError(f"{name} is damaged or not gzip ({error})") from error
            if piece:
                yield piece
            data = inflater.unconsumed_tail
            if inflater.eof:
                complete, data, inflater = True, inflater.unused_data, zlib_ng.decompressobj(31)
    if not complete:
        raise IntegrityError(f"{name} is truncated" if begun else f"{name} is empty")


def slices(chunks: Iterable[Data]) -> Iterator[bytes]:
    """The same bytes in slices short enough to inflate in memory."""
    for chunk in chunks:
        for start in range(0, len(chunk), _AT_ONCE):
            yield bytes(chunk[start : start + _AT_ONCE])
