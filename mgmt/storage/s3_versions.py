"""Requests about the versions of objects (ListObjectVersions, and versionId of S3)."""

from collections.abc import Callable, Iterator
from typing import Any

from mgmt.errors import StoreError
from mgmt.storage.s3 import Bucket
from mgmt.storage.s3_errors import translated
from mgmt.storage.store import KeyVersions, StoredObject


class BucketVersions:
    """The older versions of the objects in a bucket: see `Versions`."""

    def __init__(self, bucket: Bucket, before_removal: Callable[[], None]) -> None:
        self._bucket = bucket
        self._before_removal = before_removal

    def status(self) -> str | None:
        """See `Versions.status`."""
        bucket = self._bucket
        with translated(bucket.url):
            return bucket.client.get_bucket_versioning(Bucket=bucket.name).get("Status")

    def of(self, key: str) -> KeyVersions:
        """See `Versions.of`."""
        versions: list[Any] = []
        markers: list[Any] = []
        for page in self._pages(key):
            own = self._bucket.place(key)["Key"]
            versions += [each for each in page.get("Versions", []) if each["Key"] == own]
            markers += [each for each in page.get("DeleteMarkers", []) if each["Key"] == own]
        # Within a second, times do not tell what is newer: what is listed first is, and the latest says so.
        versions.sort(key=lambda each: (bool(each.get("IsLatest")), each["LastModified"]), reverse=True)
        return KeyVersions(
            versions=tuple(str(each["VersionId"]) for each in versions),
            markers=tuple(str(each["VersionId"]) for each in markers),
            hidden_by=next((str(each["VersionId"]) for each in markers if each.get("IsLatest")), None),
        )

    def head(self, key: str, version_id: str) -> StoredObject:
        """See `Versions.head`."""
        return self._bucket.head(key, version_id)

    def delete(self, key: str, version_id: str) -> None:
        """See `Versions.delete`."""
        self._before_removal()
        self._bucket.delete(key, version_id)

    def _pages(self, key: str) -> Iterator[Any]:
        bucket = self._bucket
        markers: dict[str, str] = {}
        seen: set[tuple[str, ...]] = set()
        with translated(bucket.where(key)):
            while True:
                place: Any = {"Bucket": bucket.name, "Prefix": bucket.place(key)["Key"], **markers}
                page: Any = bucket.client.list_object_versions(**place)
                yield page
                if not page.get("IsTruncated"):
                    return
                following = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
                markers = {name: page[given] for name, given in following.items() if page.get(given)}
                mark = tuple(markers.values())
                if not mark or mark in seen:
                    raise StoreError(f"the store cannot list all versions of {bucket.where(key)}")
                seen.add(mark)
