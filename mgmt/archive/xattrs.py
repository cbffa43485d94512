"""Reading extended attributes."""

import errno
import os


def read_xattrs(descriptor: int) -> dict[bytes, bytes]:
    """The attributes of an open file or folder that this process may read; none where they are not supported."""
    try:
        return {os.fsencode(name): os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
