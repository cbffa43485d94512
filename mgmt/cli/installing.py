"""What `install` writes for the system to start, and what to type then."""

import os
import shutil
import sys
from typing import TYPE_CHECKING

from mgmt.cli.app import App

if TYPE_CHECKING:
    from mgmt.services.units import Installed, Invocation


def invocation(app: App) -> "Invocation":
    """How to start this mgmt again with the settings that it has now, from any folder.

    Raises ConfigurationError if a setting holds a password, which does not belong in a unit or a crontab.
    """
    from mgmt.services.units import invocation_of

    return invocation_of(_program(), app.settings, app.config_file if app.names_config else None, os.environ)


def _program() -> list[str]:
    """The words that start this mgmt, by absolute path. A link stays one, so that an upgrade is found."""
    started = sys.argv[0]
    found = started if os.sep in started else shutil.which(started)
    if found is not None and os.path.basename(found) == "mgmt" and os.access(found, os.X_OK):
        return [os.path.abspath(found)]
    return [os.path.abspath(sys.executable), "-m", "mgmt"]


def show_installed(app: App, installed: "Installed") -> None:
    """Say what was written, and what to type next."""
    if not app.render.for_people:
        app.render.one(installed)
        return
    for path in installed.paths:
        app.render.line(f"wrote     {path}")
    for name in installed.left_out:
        app.progress.note(f"note: {name} is a secret and was not written; the service needs it from a file")
    for line in installed.next:
        app.render.line(line)
    if shutil.which("systemctl") is None:
        app.progress.note("note: there is no systemctl here; without systemd nothing starts what was written")
