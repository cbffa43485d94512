"""Probe an endpoint: which wrong checksum it refuses, and whether it keeps metadata. Nothing is left in it."""

from contextlib import suppress
from uuid import uuid4

from mgmt.errors import ConflictError, IntegrityError, StoreError, StoreUnavailableError
from mgmt.storage.checksums import checksum
from mgmt.storage.keys import OWN
from mgmt.storage.part_data import InMemory
from mgmt.storage.publish import drops_metadata
from mgmt.storage.refusals import UnsupportedError
from mgmt.storage.s3 import Bucket
from mgmt.storage.s3_object import NewObject
from mgmt.storage.store import OPERATION, PROBE, Attributes, Capabilities

PROBED = ("crc64nvme", "sha256", "md5")
PROBED_OBJECT = f"{OWN}/probe"
"""An object of four bytes, always under the same key: where it may not be removed, there is never more than one."""

DATA = InMemory([b"mgmt"])


def probe(bucket: Bucket) -> Capabilities:
    """Return what the endpoint supports. Raises StoreError when it drops metadata: mgmt cannot work with it."""
    trusted = next((algorithm for algorithm in PROBED if _refuses_wrong(bucket, algorithm)), None)
    _require_metadata(bucket, trusted or "md5")
    return Capabilities(trusted)


def _refuses_wrong(bucket: Bucket, algorithm: str) -> bool:
    """Whether the endpoint accepts a part with the right checksum and rejects one with a wrong checksum.

    Whatever it refuses for a checksum that it may not know is not supported, by whichever code it says so. Content-MD5
    is part of HTTP, and probed last: an error there is one of the store.
    """
    probed = NewObject(bucket, f"{PROBE}{uuid4().hex}", algorithm, Attributes({}))
    probed.where = bucket.url  # errors here are about the store, not about the probe's object
    try:
        upload_id = probed.begin()
    except StoreError as error:
        if _may_not_know(algorithm, error):
            return False
        raise
    try:
        probed.send(upload_id, 1, DATA, checksum(algorithm, DATA))
    except IntegrityError:
        return False
    except StoreError as error:
        if _may_not_know(algorithm, error):
            return False
        raise
    else:
        return _is_refused(probed, upload_id, DATA, checksum(algorithm, [b"wrong"]))
    finally:
        with suppress(StoreError):  # an upload of four bytes; `mgmt recover` removes it
            probed.abort(upload_id)


def _may_not_know(algorithm: str, error: StoreError) -> bool:
    if isinstance(error, StoreUnavailableError):
        return False
    return algorithm != PROBED[-1] or isinstance(error, UnsupportedError)


def _is_refused(probed: NewObject, upload_id: str, data: InMemory, wrong: bytes) -> bool:
    try:
        probed.send(upload_id, 1, data, wrong)
    except (IntegrityError, UnsupportedError):
        return True
    except StoreUnavailableError:
        raise
    except StoreError:
        return False  # refused, but perhaps for another reason: it is not trusted
    return False


def _require_metadata(bucket: Bucket, algorithm: str) -> None:
    """Raise StoreError when the metadata of an object does not come back.

    Where such an object may not be stored, the first index shows it.
    """
    probed = NewObject(bucket, PROBED_OBJECT, algorithm, Attributes({OPERATION: "probe"}))
    probed.where = bucket.url
    there = probed.head()
    if there is None:
        try:
            probed.put(DATA, checksum(algorithm, DATA))
        except StoreUnavailableError:
            raise
        except (ConflictError, IntegrityError, StoreError):
            return
        there = probed.head()
    try:
        bucket.delete(PROBED_OBJECT, there.version_id if there is not None else None)
    except StoreError:  # a bucket with object lock may retain it: then it is hidden
        with suppress(StoreError):
            bucket.delete(PROBED_OBJECT)
    if there is not None and OPERATION not in there.metadata:
        raise drops_metadata(bucket.url)
