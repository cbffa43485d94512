"""Recovering operations of a host that is down, as far as another host can.

The store and the catalog can be reached from here. What is on that host's disk stays there; the record says what it may
be, for when the host or its disk is back.
"""

import os

from mgmt.archive import partial_name
from mgmt.catalog import (
    Catalog,
    DeleteRecord,
    DownloadRecord,
    FreeRecord,
    OperationRecord,
    Status,
    UploadRecord,
)
from mgmt.services.steps.local_files import host, token
from mgmt.services.steps.move_original import PROVEN, finish_upload


def is_elsewhere(record: OperationRecord) -> bool:
    """Whether the operation worked on another host's disk."""
    return record.host is not None and record.host != host()


def is_out_of_reach(store_url: str | None) -> bool:
    """Whether the store may be on that host's disk: here the same path may be another directory."""
    return store_url is None or not store_url.startswith("s3://")


def finish_elsewhere(record: UploadRecord, catalog: Catalog) -> str:
    """End an upload whose archive is proven; whether its original has moved is unknown. Return what was done."""
    left = left_there(record)
    if not left:
        finish_upload(record, catalog)
        return "finished: the archive was proven"
    catalog.journal.close(record, Status.PARTIAL, f"the archive is proven, but {_dead(record)}: {left}")
    return f"finished but for what is on {record.host}: {left}"


def give_up_elsewhere(record: OperationRecord, undone: str = "") -> str:
    """Cancel the operation; its record says what was `undone` and what may be left. Return what was done."""
    rest = "; ".join(filter(None, (undone, left_there(record))))
    record.status = Status.CANCELLED
    record.error_message = f"given up, as {_dead(record)}" + (f": {rest}" if rest else "")
    return f"given up: {rest}" if rest else "given up"


def left_there(record: OperationRecord) -> str:
    """A description of what may be left on the disk of the host; empty when that is nothing."""
    own = token(record.operation_id)
    left = []
    match record:
        case UploadRecord():
            if record.completed_dir_path is not None:
                left.append(f"the original is at {record.target_path} or has moved to {record.completed_dir_path}")
            elif record.stage != PROVEN:
                left.append(f"the original is at {record.target_path}")
            if record.compressed_file_path is not None:
                folder = os.path.dirname(record.compressed_file_path)
                left.append(f"a copy of the archive is {record.compressed_file_path} or {folder}/{partial_name(own)}")
            if record.stage != PROVEN and record.s3_object_key is not None and is_out_of_reach(record.store):
                left.append(f"what was sent is in {record.store}")
        case DownloadRecord() if record.local_path is not None:
            left.append(f"what was restored, or {partial_name(own)}, is in {record.local_path}")
        case FreeRecord():
            folder = os.path.dirname(str(record.target_path))
            left.append(f"the copy is {record.target_path} or {folder}/.mgmt-{own}.free, or is removed")
        case DeleteRecord() if is_out_of_reach(record.target_path):
            left.append("whether the archive is removed cannot be seen")
    return "; ".join(left)


def _dead(record: OperationRecord) -> str:
    return f"{record.host} was reported as down"
