"""Completing the names of archives in a shell, from the catalog."""

import click
from click.shell_completion import CompletionItem

from mgmt.cli.render import safe
from mgmt.config import default_path, load
from mgmt.errors import MgmtError


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of archives that begin with `incomplete`; none where the catalog cannot tell."""
    from pathlib import Path

    from mgmt.catalog import FileStatus, Location, open_catalog

    given = ctx.find_root().params
    path = Path(given["config_file"]) if given.get("config_file") else default_path()
    try:
        settings = load({"catalog": given.get("catalog")}, path)
        catalog = open_catalog(settings.catalog_url(), create=False)
        found = catalog.metadata.list_files(incomplete, Location.S3, FileStatus.COMPLETED, limit=200)
        catalog.close()
    except MgmtError:
        return []  # a shell that is completing has nowhere to show an error
    # What would have to be escaped is no name that could be completed, and a shell prints it as it is.
    return [CompletionItem(each.path.removesuffix(".tar.gz")) for each in found if safe(each.path) == each.path]
