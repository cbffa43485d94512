"""The patterns of --include and --exclude."""

import re


class Patterns:
    """A set of gitignore-style globs, matched against paths relative to the root of a tree.

    A glob without a slash matches that name at any depth (`*.tmp`), one with a slash matches that path from the root
    (`a/**/b`, `/a`), one that ends with a slash matches folders only (`cache/`). `*` and `?` do not match a slash, `**`
    does; `[...]` is a set, `[!...]` its complement; a backslash escapes the next character.
    """

    def __init__(self, globs: tuple[str, ...]) -> None:
        self._match = re.compile("|".join(map(_regex, globs)), re.DOTALL).fullmatch if globs else None

    def __bool__(self) -> bool:
        return self._match is not None

    def match(self, path: str, *, folder: bool) -> bool:
        """Whether one of the globs matches `path`."""
        return self._match is not None and self._match(path + "/" if folder else path) is not None


def _regex(glob: str) -> str:
    body = glob.rstrip("/")
    anchored = "/" in body
    end = "/" if body != glob else "/?"
    return f"(?:{'' if anchored else '(?:.*/)?'}{_translate(body.lstrip('/'))}{end})"


def _translate(glob: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        elif glob[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2 + glob.startswith("!", at + 1))) > 0:
            negated = glob[at + 1] in "!^"
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", glob[at + 1 + negated : end])
            parts.append(f"[^/{body}]" if negated else f"(?!/)[{body}]")
            at = end + 1
        else:
            at += glob[at] == "\\" and at + 1 < len(glob)
            parts.append(re.escape(glob[at]))
            at += 1
    return "".join(parts)
