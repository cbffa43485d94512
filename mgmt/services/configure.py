"""Changing a setting, which is an operation like any other."""

import re
from collections.abc import Callable
from pathlib import Path

from mgmt.catalog import Catalog, ConfigRecord
from mgmt.config import check_name, parse_value, write
from mgmt.errors import ConfigurationError
from mgmt.progress import Progress
from mgmt.services.search import note_unrecorded


def configure(
    path: Path, name: str, value: str | None, *, open_catalog: Callable[[], Catalog], progress: Progress
) -> None:
    """Set one setting in the file at `path` (unset it, with None) and record that.

    A catalog that cannot be used is noted and does not stand in the way: this may be the command that mends it.
    """
    name = check_name(name)
    if value is not None:
        parse_value(name, value, "given")
    record = ConfigRecord(
        target_path=str(path), target_name=name, command_args={"name": name, "value": redact(value or "")}
    )
    try:
        catalog = open_catalog()
    except ConfigurationError as exc:
        note_unrecorded(exc, progress)
        write(path, name, value)
        return
    with catalog.journal.record(record, unrecorded=lambda error: note_unrecorded(error, progress)):
        write(path, name, value)


def redact(text: str) -> str:
    """`text` without the password of a URL in it."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
