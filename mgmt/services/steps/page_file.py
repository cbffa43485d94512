"""The file of a page: it replaces an earlier page, and nothing else."""

from mgmt.errors import ConfigurationError
from mgmt.paths import absolute
from mgmt.services.steps.own_files import Kind, replace_own

BEGINS, MARK = b"<!doctype html>", b'<meta name="generator" content="mgmt '
"""How a page of mgmt begins, and what it has among its first bytes."""


def save(file: str, text: str) -> str:
    """Write the page to `file` and return its full path; `file` is the old page or the new one, never a part of it.

    A page of mgmt that is there already is replaced, and keeps its mode. Raises ConflictError if `file` is anything
    else, ConfigurationError if it cannot be written.
    """
    try:
        return replace_own(file, text.encode(), Kind("a page of mgmt", _is_page, keeps_mode=True))
    except OSError as error:
        raise ConfigurationError(
            f"{absolute(file)} cannot be written: {error.strerror}", next_step="use another FILE"
        ) from error


def _is_page(beginning: bytes) -> bool:
    return beginning.startswith(BEGINS) and MARK in beginning
