"""The originals of an upload, when it ends."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.catalog.records.enums import FileStatus, Role, Status
from mgmt.catalog.records.files import FileRecord
from mgmt.catalog.records.operations import OperationFile, OperationRecord


def end_sources(session: Session, upload: OperationRecord) -> None:
    """No original stays `pending` or `uploading` when its upload is finished."""
    sources = (
        select(FileRecord)
        .join(OperationFile, OperationFile.file_id == FileRecord.id)
        .where(OperationFile.operation_id == upload.operation_id, OperationFile.role == Role.SOURCE)
    )
    for source in session.scalars(sources):
        if source.status in (FileStatus.PENDING, FileStatus.UPLOADING):
            succeeded = upload.status in (Status.SUCCESS, Status.PARTIAL)
            source.status = FileStatus.COMPLETED if succeeded else FileStatus.FAILED
            source.error_message = upload.error_message
