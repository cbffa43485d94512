"""Any gzip stream, inflated as it comes."""

from collections.abc import Iterable, Iterator

from zlib_ng import zlib_ng

from mgmt.archive.blocks import Data
from mgmt.errors import IntegrityError

_AT_ONCE = 1 << 16  # bytes of input; deflate makes at most 1032 times as many of them


def inflate(chunks: Iterable[Data]) -> Iterator[bytes]:
    """The content of a gzip stream (RFC 1952) of one or more members, in pieces as they come.

    Zeros after the end are padding. A stream that is damaged, cut short or not gzip raises IntegrityError; so does one
    whose trailer does not fit, but only when everything else was given.
    """
    inflater = zlib_ng.decompressobj(31)
    begun = complete = False
    for data in slices(chunks):
        while data:
            if complete and not data.lstrip(b"\0"):
                break
            begun, complete = True, False
            try:
                piece = inflater.decompress(data)
            except zlib_ng.error as error:  # type: ignore[misc]  # the stub says instance, and it is a class
                raise IntegrityError(f"the archive is damaged, or no gzip: {error}") from error
            if piece:
                yield piece
            data = b""
            if inflater.eof:
                complete, data, inflater = True, inflater.unused_data, zlib_ng.decompressobj(31)
    if not complete:
        raise IntegrityError("the archive is cut short" if begun else "the archive is empty")


def slices(chunks: Iterable[Data]) -> Iterator[bytes]:
    """The same bytes in slices so short that no slice inflates to more than memory has room for."""
    for chunk in chunks:
        for start in range(0, len(chunk), _AT_ONCE):
            yield bytes(chunk[start : start + _AT_ONCE])
