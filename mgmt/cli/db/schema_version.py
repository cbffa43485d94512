"""How `mgmt db` shows the revision of the schema."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from mgmt.cli.app import App

if TYPE_CHECKING:
    from mgmt.services.database import SchemaVersion


def show_version(app: App, version: "SchemaVersion") -> None:
    """Print `version`; after a migration, also the path of the backup."""
    if not app.render.for_people:
        app.render.one(asdict(version))
        return
    head = "(head)" if version.is_current else f"(head: {version.head})"
    app.render.line(f"{version.current or 'base'} {head}  {version.catalog}")
    if path := getattr(version, "backup", None):
        app.render.line(f"backup of the previous version: {path}")
    for lacking in getattr(version, "lacking", ()):
        app.render.line(lacking)
    if command := getattr(version, "next", None):
        app.render.line(f"  try: {command}")
