"""Shell completion of archive names, from the catalog."""

import os
import shlex

import click
from click.shell_completion import CompletionItem

from mgmt.cli.render import safe
from mgmt.config import default_path, load
from mgmt.errors import MgmtError


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of archives that begin with `incomplete`; none if the catalog cannot be used."""
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
        return []  # completion has nowhere to show an error
    # A name that needs escaping cannot be completed, and the shell would print it unescaped.
    names = [each.path.removesuffix(".tar.gz") for each in found if safe(each.path) == each.path]
    # Bash inserts what it is given as it is, and would run `a;b` as two commands; zsh and fish quote it.
    in_bash = os.environ.get("_MGMT_COMPLETE", "").startswith("bash")
    return [CompletionItem(shlex.quote(name) if in_bash else name) for name in names]
