"""Listings in pages. One that cannot be continued is an error: an incomplete listing is never taken for a complete one.

Services differ in how they say how to continue: by a token, by nothing at all, or as version 1 of the listing does.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgmt.errors import StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FULL = 1000
"""Entries of a page that has no room for more; a service that does not state whether it is truncated may have more."""


@dataclass(frozen=True, slots=True)
class _Listing:
    entries: str
    """The element of the pages that holds the entries."""
    name: Callable[[Any], Hashable]
    """What distinguishes an entry from all others."""
    token: str
    """The element of a page that says how to continue."""
    following: Callable[[Any, Any], Iterator[Any]]
    """Candidates for the page after this one, given its last entry or None; the next is asked if one is no progress."""


def objects(client: "S3Client", bucket: str, prefix: str) -> Iterator[Any]:
    """The objects whose keys begin with `prefix`. Raises StoreError for a listing that cannot be continued."""
    place: Any = {"Bucket": bucket, "Prefix": prefix}

    def following(page: Any, last: Any) -> Iterator[Any]:
        if token := page.get("NextContinuationToken"):
            yield client.list_objects_v2(**place, ContinuationToken=token)
        elif last is not None:
            yield client.list_objects_v2(**place, StartAfter=last["Key"])
            yield client.list_objects(**place, Marker=last["Key"])

    listing = _Listing("Contents", lambda each: each["Key"], "NextContinuationToken", following)
    return _entries(listing, client.list_objects_v2(**place), f"s3://{bucket}/{prefix}")


def uploads(client: "S3Client", bucket: str, prefix: str) -> Iterator[Any]:
    """The multipart uploads of keys that begin with `prefix`. Raises StoreError as `objects` does."""
    place: Any = {"Bucket": bucket, "Prefix": prefix}

    def following(page: Any, last: Any) -> Iterator[Any]:
        key, upload_id = page.get("NextKeyMarker"), page.get("NextUploadIdMarker")
        if not key and last is not None:
            key, upload_id = last["Key"], last["UploadId"]
        if key:
            markers = {"UploadIdMarker": upload_id} if upload_id else {}
            yield client.list_multipart_uploads(**place, KeyMarker=key, **markers)

    listing = _Listing("Uploads", lambda each: (each["Key"], each["UploadId"]), "NextKeyMarker", following)
    return _entries(listing, client.list_multipart_uploads(**place), f"s3://{bucket}/{prefix}")


def parts(client: "S3Client", place: Any) -> Iterator[Any]:
    """The parts of the upload at `place`. Raises StoreError as `objects` does."""

    def following(page: Any, last: Any) -> Iterator[Any]:
        number = page.get("NextPartNumberMarker") or (last and last["PartNumber"])
        if number:
            yield client.list_parts(**place, PartNumberMarker=number)

    listing = _Listing("Parts", lambda each: (each["PartNumber"], each.get("ETag")), "NextPartNumberMarker", following)
    return _entries(listing, client.list_parts(**place), f"s3://{place['Bucket']}/{place['Key']}")


def _entries(listing: _Listing, page: Any, where: str) -> Iterator[Any]:
    seen: set[Hashable] = set()
    while True:
        entries = page.get(listing.entries, [])
        yield from entries
        if not page.get("IsTruncated", len(entries) >= FULL):
            return
        seen.add(_mark(listing, page))
        candidates = listing.following(page, entries[-1] if entries else None)
        found = next((each for each in candidates if _is_progress(listing, each, seen)), None)
        if found is None:
            raise StoreError(
                f"the store cannot list all of {where}: it says that there is more, and not how to continue",
                next_step="use a prefix with fewer objects, and report this to the provider",
            )
        page = found


def _is_progress(listing: _Listing, page: Any, seen: set[Hashable]) -> bool:
    """Whether a page is none of those before it, which an endpoint repeats that ignores how to continue."""
    is_last = not page.get(listing.entries) and not page.get("IsTruncated", False)
    return is_last or _mark(listing, page) not in seen


def _mark(listing: _Listing, page: Any) -> Hashable:
    entries = page.get(listing.entries)
    return listing.name(entries[0]) if entries else ("empty", page.get(listing.token))
