"""Check the links between the Markdown pages: `python -m tests.links` prints each broken one."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.*?)[ #]*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)|^\[[^\]]+\]: +(\S+)", re.MULTILINE)


def anchors(page: str) -> set[str]:
    """The fragments that lead to the headings of a page, by GitHub's rule."""
    found: Counter[str] = Counter()
    names = set()
    for title in _HEADING.findall(_FENCED.sub("", page)):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def broken_links(page: Path) -> Iterator[str]:
    """The links of `page` that lead to no file, or to no heading of it. Links to other sites are not followed."""
    text = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", page.read_text("utf-8")))
    for inline, reference in _LINK.findall(text):
        link = inline or reference
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (fragment and fragment not in anchors(target.read_text("utf-8"))):
            yield link


def main() -> int:
    """Print the broken links of all pages; the exit status is 1 if there are any."""
    broken = [f"{page.relative_to(ROOT)}: broken link {link}" for page in PAGES for link in broken_links(page)]
    print("\n".join(broken) or f"{len(PAGES)} pages, no broken link")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
