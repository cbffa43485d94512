"""Checks of the configuration."""

import os
from collections.abc import Callable
from pathlib import Path

from mgmt.config import Settings, load
from mgmt.errors import ConfigurationError
from mgmt.services.doctor.finding import Finding, permissions, problem

Flags = dict[str, str | None]


def check_configuration(
    path: Path, settings: Callable[[], Settings], flags: Flags
) -> tuple[Settings | None, list[Finding]]:
    """The settings to continue with, and the findings.

    If the settings cannot be loaded, the configuration file is left out; None if they cannot be loaded even then.
    """
    chosen: Settings | None
    try:
        chosen = settings()
        detail = str(path) if path.exists() else f"{path} does not exist; using defaults, environment and flags"
        findings = [Finding(area="configuration", what="settings", detail=detail)]
    except (ConfigurationError, OSError) as error:
        next_step = f"correct the value where it is set, for example in {path}"
        if not path.exists() and isinstance(error, ConfigurationError):
            next_step = error.next_step or next_step
        findings = [problem("configuration", "settings", error, next_step=next_step)]
        chosen = _without_file(flags)
    findings += permissions("configuration", [(str(path), 0o600), (str(path.parent), 0o700)])
    if chosen is not None:
        try:
            findings.append(Finding(area="configuration", what="store", detail=chosen.store_url()))
        except ConfigurationError as error:
            findings.append(problem("configuration", "store", error))
    return chosen, findings


def _without_file(flags: Flags) -> Settings | None:
    try:
        return load(flags, Path(os.devnull))
    except ConfigurationError:  # not the file's fault, and reported already
        return None
