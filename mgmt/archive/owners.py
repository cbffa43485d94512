"""Owner and group lookup (`--owners`)."""

import grp
import os
import pwd
from functools import cache

from mgmt.archive.header import Owner


def owner_of(status: os.stat_result) -> Owner:
    """The owner and group in `status`, by number and, where the system knows it, by name."""
    return Owner(status.st_uid, status.st_gid, _user(status.st_uid), _group(status.st_gid))


@cache
def _user(uid: int) -> bytes:
    try:
        return pwd.getpwuid(uid).pw_name.encode("utf-8", "surrogateescape")
    except KeyError:
        return b""


@cache
def _group(gid: int) -> bytes:
    try:
        return grp.getgrgid(gid).gr_name.encode("utf-8", "surrogateescape")
    except KeyError:
        return b""
