"""Requests about the tags of objects, and about the lifecycle rules of a bucket."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from mgmt.errors import RefusedError
from mgmt.storage.lifecycle import LifecycleRule
from mgmt.storage.refusals import UnsupportedError, one_line
from mgmt.storage.s3 import Bucket
from mgmt.storage.s3_errors import translated


def put_tags(bucket: Bucket, key: str, tags: Mapping[str, str]) -> None:
    """Replace all tags of an object (PutObjectTagging)."""
    named: Any = [{"Key": name, "Value": value} for name, value in tags.items()]
    with translated(bucket.where(key)):
        try:
            bucket.client.put_object_tagging(**bucket.place(key), Tagging={"TagSet": named})
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status not in (405, 501):
                raise
            words = one_line(error.response["Error"].get("Message", ""))
            raise RefusedError(
                f"the store keeps no tags of objects: {bucket.where(key)}: {words}".rstrip(": "),
                next_step="mgmt tag NAME ...\n# without --sync-tags: in the catalog only",
            ) from error


def lifecycle(bucket: Bucket) -> list[LifecycleRule]:
    """The enabled lifecycle rules (GetBucketLifecycleConfiguration)."""
    with translated(bucket.url):
        try:
            answer = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)
        except ClientError as error:
            if error.response["Error"].get("Code") == "NoSuchLifecycleConfiguration":
                return []
            raise
        if "Rules" not in answer:  # a service without rules, which answers as if a listing was asked for
            raise UnsupportedError(f"the store has no lifecycle rules: {bucket.url}")
        return [_rule(each, number) for number, each in enumerate(answer["Rules"], 1) if each["Status"] == "Enabled"]


def _rule(stated: Any, number: int) -> LifecycleRule:
    filtered = stated.get("Filter") or {}
    conditions = {**filtered, **filtered.get("And", {})}
    tags = [*conditions.get("Tags", ()), *([conditions["Tag"]] if "Tag" in conditions else ())]
    expires = stated.get("Expiration", {})
    return LifecycleRule(
        name=stated.get("ID") or f"number {number}",
        prefix=conditions.get("Prefix") or stated.get("Prefix") or "",
        tags={each["Key"]: each["Value"] for each in tags},
        larger_than=conditions.get("ObjectSizeGreaterThan"),
        smaller_than=conditions.get("ObjectSizeLessThan"),
        moves={each["StorageClass"]: _when(each) for each in stated.get("Transitions", ())},
        expires=_when(expires) if "Days" in expires or "Date" in expires else None,
        aborts_parts=stated.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    )


def _when(stated: Any) -> str:
    """When a rule applies, in words."""
    if "Date" in stated:
        return f"on {stated['Date']:%Y-%m-%d}"
    days = stated.get("Days", 0)
    return f"after {days} day{'' if days == 1 else 's'}"
