"""Buckets with object lock, on moto, the only test server that supports them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from mgmt.storage import open_store
from tests.servers import Server


def test_an_anchor_states_its_retention(moto: Server) -> None:
    client, bucket = moto.client(), f"locked-{uuid4().hex}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
    )
    stored = open_store(f"s3://{bucket}/prefix").anchor("0000000001-ab", b"one")
    assert stored.locked_until is not None
    assert stored.locked_until - datetime.now(UTC) > timedelta(days=29)
