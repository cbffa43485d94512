"""Extended attributes of what is on disk."""

import errno
import os


def read_xattrs(descriptor: int) -> dict[bytes, bytes]:
    """All that this process may see of an open file or folder; none, where there are no such things."""
    try:
        return {os.fsencode(name): os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
