"""Shell completion of archive names, from the catalog."""

import os
import re
import shlex

import click
from click.shell_completion import CompletionItem

from mgmt.config import default_path, load
from mgmt.errors import MgmtError
from mgmt.shown import safe

MOST = 200
"""Names that are offered."""


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of archives that begin with `incomplete`; none if the catalog cannot be used."""
    from pathlib import Path

    given = ctx.find_root().params
    path = Path(given["config_file"]) if given.get("config_file") else default_path()
    try:
        found = _keys(load({"catalog": given.get("catalog")}, path).catalog_url(), incomplete)
    except MgmtError:
        return []  # completion has nowhere to show an error
    # A name that needs escaping cannot be completed, and the shell would print it unescaped.
    names = [key.removesuffix(".tar.gz") for key in found if safe(key) == key]
    # Bash inserts what it is given as it is, and would run `a;b` as two commands; zsh and fish quote it.
    if os.environ.get("_MGMT_COMPLETE", "").startswith("bash"):
        names = [quoted for name in names if (quoted := _for_bash(name, _word_in_bash())) is not None]
    return [CompletionItem(name) for name in names]


def _keys(url: str, prefix: str) -> list[str]:
    """The first keys of archives that begin with `prefix`. Raises CatalogError."""
    from mgmt.catalog import FileStatus, Location, archive_keys, open_catalog

    if (found := archive_keys(url, prefix, MOST)) is not None:
        return found
    catalog = open_catalog(url, create=False)
    try:
        stored = catalog.files.list_files(prefix, Location.S3, FileStatus.COMPLETED, limit=MOST)
        return [each.path for each in stored]
    finally:
        catalog.close()


def _word_in_bash() -> str:
    """The word that is completed, as it was typed. Click's script separates the words by newlines."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    at = int(os.environ.get("COMP_CWORD", "0"))
    return words[at] if at < len(words) else ""


def _for_bash(name: str, typed: str) -> str | None:
    """`name` as one word of bash in place of what was `typed`; None where it cannot be.

    Within a double quote, bash would still expand what single quotes protect; so the word stays in that quote.
    """
    quote = _open_quote(typed)
    if quote == '"' and typed.startswith('"'):
        # In a double quote, nothing escapes the `!` of the history.
        word = '"' + re.sub(r'(["$`\\])', r"\\\1", name).replace("!", "\"'!'\"") + '"'
    elif quote and not typed.startswith(quote):
        return None
    else:
        word = shlex.quote(name)
    return word.replace("\\", "\\\\")  # Click's script reads it with `read`, which removes a backslash


def _open_quote(typed: str) -> str:
    """The quote that is not closed at the end of what was `typed`; empty if there is none."""
    quote, escaped = "", False
    for character in typed:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
    return quote
