"""Names, paths and URLs as words of a command that a message tells the user to type."""

import shlex

_EXPANDED = "\\'!"
"""What could end or change a word in `$'...'`; an interactive bash expands `!` even behind an escaped quote."""


def shell_word(text: str) -> str:
    """`text` as one word of bash: unquoted where it may be, in quotes, or as `$'...'` with the bytes as `\\xNN`.

    The last is for what a terminal does not show as it is: controls, and bytes that are not UTF-8 (surrogateescape).
    The word itself is always printable. A leading dash stays: see `operand`.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def operand(text: str) -> str:
    """`text` as the last word of a command, which must not be taken for an option: after `--` if it begins with `-`."""
    return f"-- {shell_word(text)}" if text.startswith("-") else shell_word(text)


def _escaped(character: str) -> str:
    if character.isprintable() and character not in _EXPANDED:
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
