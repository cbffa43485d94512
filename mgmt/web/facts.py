"""The record of an operation as text."""

import json
from datetime import datetime
from urllib.parse import quote

from mgmt.catalog import OperationRecord
from mgmt.shown import human_size, rfc3339


def shown_facts(operation: OperationRecord) -> list[tuple[str, str, str | None]]:
    """The fields that are not empty, and that the page does not show in its own way: name, text, and where it leads."""
    shown = ("claim", "owner", "operation_type", "status", "error_message", "sha256", "seal")
    links = ("parent_id", "retry_of", "undo_of")
    return [
        (name, _text(name, value), f"/operations/{quote(str(value), safe='')}" if name in links else None)
        for name, value in operation.as_dict().items()
        if name not in shown and value not in (None, "", [], {}, False)
    ]


def _text(name: str, value: object) -> str:
    match value:
        case datetime():
            return rfc3339(value)
        case bytes():
            return value.hex()
        case int() if name.endswith(("size", "bytes")):
            return f"{human_size(value)} ({value:,} bytes)"
        case float():
            return f"{value:,.2f}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
    return str(value)
