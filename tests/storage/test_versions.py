"""Listings of versions, in pages; and what object lock a bucket has."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mgmt.errors import RefusedError, StoreError
from mgmt.storage import KeyVersions
from mgmt.storage.s3 import Bucket
from mgmt.storage.s3_locks import BucketLocks
from mgmt.storage.s3_versions import BucketVersions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Client:
    """Answers with these pages, one after the other."""

    class Meta:
        endpoint_url = "http://127.0.0.1:1"

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages, self.asked, self.meta = list(pages), list[dict[str, Any]](), self.Meta()

    def list_object_versions(self, **how: Any) -> dict[str, Any]:
        self.asked.append(how)
        return self.pages.pop(0)

    def get_object_lock_configuration(self, **_: Any) -> dict[str, Any]:
        page = self.pages.pop(0)
        if "Error" in page:
            raise ClientError({**page, "ResponseMetadata": {"HTTPStatusCode": 400}}, "GetObjectLockConfiguration")  # type: ignore[typeddict-item]
        return page


def bucket(*pages: dict[str, Any]) -> tuple[Bucket, Client]:
    client: Any = Client(*pages)
    return Bucket(client, "b", "p"), client


def version(version_id: str, key: str = "p/k", *, latest: bool = False) -> dict[str, Any]:
    return {"Key": key, "VersionId": version_id, "IsLatest": latest, "LastModified": NOW}


def test_pages_are_put_together_and_other_keys_left_out() -> None:
    first = {"Versions": [version("2"), version("x", "p/k2")], "IsTruncated": True, "NextKeyMarker": "p/k"}
    made, client = bucket(
        {**first, "DeleteMarkers": [version("3", latest=True)], "NextVersionIdMarker": "2"},
        {"Versions": [version("1")], "DeleteMarkers": [version("0")], "IsTruncated": False},
    )
    found = BucketVersions(made, lambda: None).of("k")
    assert found == KeyVersions(versions=("2", "1"), markers=("3", "0"), hidden_by="3")
    assert client.asked[1]["VersionIdMarker"] == "2"


def test_the_latest_version_is_the_first_whatever_the_order() -> None:
    made, _ = bucket({"Versions": [version("1"), version("2", latest=True)]})
    assert BucketVersions(made, lambda: None).of("k").versions == ("2", "1")


def test_a_listing_that_cannot_be_continued_is_an_error() -> None:
    page = {"Versions": [version("1")], "IsTruncated": True, "NextKeyMarker": "p/k"}
    for pages in ([{"Versions": [], "IsTruncated": True}], [page, page]):
        made, _ = bucket(*pages)
        with pytest.raises(StoreError, match="cannot list all versions"):
            BucketVersions(made, lambda: None).of("k")


@pytest.mark.parametrize(
    "answer",
    [
        {"Error": {"Code": "ObjectLockConfigurationNotFoundError"}},
        {"Error": {"Code": "NotImplemented"}},
        {"ObjectLockConfiguration": {}},
    ],
)
def test_a_bucket_without_object_lock_is_refused(answer: dict[str, Any]) -> None:
    made, _ = bucket(answer)
    with pytest.raises(RefusedError, match="no object lock"):
        BucketLocks(made).default()


def test_a_default_retention_is_read_and_one_that_may_not_be_read_is_unknown() -> None:
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 1}}
    made, _ = bucket({"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule}})
    default = BucketLocks(made).default()
    assert default is not None
    assert default.until is not None
    assert 364 <= (default.until - datetime.now(UTC)).days <= 365
    made, _ = bucket({"Error": {"Code": "AccessDenied"}})
    assert BucketLocks(made).default() is None
