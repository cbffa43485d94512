"""Sizes, times, durations, numbers and names as people read them: at the terminal and on a page."""

import unicodedata
from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123456Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def human_size(size: int) -> str:
    """`1.4 GiB`."""
    number = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"


def human_time(moment: datetime) -> str:
    """`3 min ago`; older than a month, the date; to come, also the time of day."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 0:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M")
    if seconds >= 30 * 86400:
        return moment.astimezone().strftime("%Y-%m-%d")
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def human_duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: the two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole, parts = round(seconds), []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if whole >= length:
            parts.append(f"{whole // length} {unit}")
            whole %= length
    return " ".join(parts[:2])


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 archive`, `1,204 archives`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def safe(text: str) -> str:
    """Escape whatever could control or deceive a terminal, or the reader of a page.

    That is: C0 and C1 controls, ESC, bidirectional and zero-width characters, noncharacters, and bytes that are not
    UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_safe_character, text))


def _safe_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    if is_noncharacter or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character
