"""Change a setting, and record the change as an operation."""

from collections.abc import Callable
from pathlib import Path

from mgmt.catalog import Catalog, ConfigRecord
from mgmt.config import check_name, parse_value, redact, value_in, write
from mgmt.errors import ConfigurationError
from mgmt.progress import Progress
from mgmt.services.steps.changed_setting import BEFORE
from mgmt.services.steps.context import note_unrecorded


def configure(
    path: Path, name: str, value: str | None, *, open_catalog: Callable[[], Catalog], progress: Progress
) -> None:
    """Set a setting in the file at `path` (None: unset it), and record the change.

    If the catalog cannot be used, the change is made all the same, with a note: it may be the one that fixes the
    catalog. Raises ConfigurationError for an unknown setting or an invalid value.
    """
    name = check_name(name)
    if value is not None:
        parse_value(name, value, "command line")
    record = ConfigRecord(
        target_path=str(path.absolute()), target_name=name, command_args={"name": name, "value": redact(value or "")}
    )
    try:
        catalog = open_catalog()
    except ConfigurationError as exc:
        note_unrecorded(exc, progress)
        write(path, name, value)
        return
    with catalog.journal.record(record, unrecorded=lambda error: note_unrecorded(error, progress)):
        before = value_in(path, name)
        record.details = {BEFORE: None if before is None else redact(before)}
        write(path, name, value)
