"""Files among those of the user that mgmt has written, and may write again: units, completion scripts."""

import os
import tempfile
from pathlib import Path

from mgmt.errors import ConfigurationError, RefusedError
from mgmt.words import shell_word

FIRST = "# Written by mgmt;"
"""How a file that mgmt may replace begins."""


def write_own(path: Path, text: str, first: str = FIRST, *, what: str) -> bool:
    """Write the whole of `text`, or nothing; False if the file is like that already. It is called `what` in messages.

    Raises RefusedError if there is a file that does not begin with `first`, ConfigurationError if it cannot be written.
    """
    try:
        if os.path.lexists(path):
            known = path.read_text("utf-8") if path.is_file() else ""
            if not known.startswith(first):
                raise RefusedError(
                    f"{path} was not written by mgmt; left unchanged", next_step=f"mv {shell_word(str(path))} ..."
                )
            if known == text:
                return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "a path in it is not UTF-8"
        raise ConfigurationError(f"the {what} {path} cannot be written: {reason}") from exc
    return True
