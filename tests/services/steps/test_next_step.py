"""The command to type after an operation that has not succeeded."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from mgmt.catalog import BatchRecord, ConfigRecord, OperationRecord, Status, UndoRecord, UploadRecord, this_host
from mgmt.services.steps.next_step import next_step


def ended(record: OperationRecord, status: Status, **facts: object) -> OperationRecord:
    record.status = status
    for name, value in facts.items():
        setattr(record, name, value)
    return record


@dataclass(frozen=True)
class Case:
    operation: OperationRecord
    command: str | None
    repeats: tuple[OperationRecord, ...] = ()


HERE = this_host()
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
CASES = {
    "success": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.SUCCESS), None),
    "failed": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.FAILED), "mgmt retry ID"),
    "cancelled": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.CANCELLED), "mgmt retry ID"),
    "a batch in part": Case(ended(BatchRecord(host=HERE), Status.PARTIAL), "mgmt retry ID"),
    "failed on another host": Case(
        ended(UploadRecord(target_path="/a", host="elsewhere"), Status.FAILED), "mgmt retry ID\n# on elsewhere"
    ),
    "not repeated from its record": Case(
        ended(ConfigRecord(target_path="level", host=HERE), Status.FAILED), "mgmt config set NAME VALUE"
    ),
    "an undo": Case(ended(UndoRecord(host=HERE, undo_of="X"), Status.FAILED), "mgmt undo X"),
    "done again since": Case(
        ended(UploadRecord(target_path="/a", host=HERE), Status.FAILED),
        None,
        (ended(UploadRecord(target_path="/a"), Status.SUCCESS),),
    ),
    "being done again": Case(
        ended(UploadRecord(target_path="/a", host=HERE), Status.FAILED),
        None,
        (ended(UploadRecord(target_path="/a"), Status.RUNNING),),
    ),
    "done again in vain": Case(
        ended(UploadRecord(target_path="/a", host=HERE), Status.FAILED),
        "mgmt retry ID",
        (ended(UploadRecord(target_path="/a"), Status.FAILED),),
    ),
    "waiting": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.PENDING), None),
    "running": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.RUNNING, heard_at=datetime.now(UTC)), None),
    "silent": Case(ended(UploadRecord(target_path="/a", host=HERE), Status.RUNNING, heard_at=LONG_AGO), "mgmt recover"),
    "silent elsewhere": Case(
        ended(UploadRecord(target_path="/a", host="elsewhere"), Status.RUNNING, heard_at=LONG_AGO),
        "mgmt recover\n# on elsewhere",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_to_type_next(name: str) -> None:
    case = CASES[name]
    found = next_step(case.operation, list(case.repeats))
    assert found == (case.command and case.command.replace("ID", case.operation.operation_id))
