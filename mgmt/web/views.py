"""The pages of `mgmt browse`: what `services.browse` finds, in templates."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import quote, urlencode

from mgmt.catalog import Catalog, OperationRecord, Status
from mgmt.services import browse
from mgmt.services.steps.figures import Report
from mgmt.services.steps.requests import KINDS
from mgmt.services.steps.safety import safeties
from mgmt.shown import counted
from mgmt.web.answer import Answer
from mgmt.web.embedded import asset, policy
from mgmt.web.environment import environment
from mgmt.web.facts import shown_facts
from mgmt.web.page import STYLE, Page, render
from mgmt.web.report import values

SCRIPTS = ("page.js", "browse.js")

SOURCES: Mapping[str, str] = {"connect-src": "'self'", "form-action": "'self'"}
"""What a page of the server may do besides: ask the server."""

TYPED, LISTED, CHILDREN = 12, 50, 500
"""Results while a word is typed, rows of a list, and operations of a batch."""

TYPES = tuple(sorted({*KINDS, "batch", "config", "ignore", "prune", "rebuild", "recover", "search", "status", "undo"}))


def overview(report: Report) -> Answer:
    """The figures of the report."""
    return _answer("overview", "Overview", **values(report, "/operations?month={}"))


def search(word: str, catalog: Catalog) -> Answer:
    """All archives and members that `word` means, as far as a page has room."""
    found = browse.find(word, catalog, limit=LISTED) if word else None
    return _answer("search", f"Search: {word}" if word else "Search", word=word, found=found, limit=LISTED)


def typed(word: str, catalog: Catalog) -> Answer:
    """A part of a page: what `word` can mean, as far as it is typed."""
    found = browse.complete(word, catalog, limit=TYPED) if word else None
    return _part("typed", word=word, found=found, limit=TYPED)


def archives(catalog: Catalog, after: int | None) -> Answer:
    """The stored archives."""
    found = browse.archives(catalog, limit=LISTED + 1, after=after)
    more = found[LISTED - 1].id if len(found) > LISTED else None
    shown = found[:LISTED]
    return _answer("archives", "Archives", archives=shown, safety=safeties(shown, catalog), more=more, after=after)


def archive(number: int, catalog: Catalog, path: str, after: int | None) -> Answer:
    """One archive, with the folder of it at `path`."""
    found = browse.archive(number, catalog)
    inside = browse.folder(number, path, catalog, limit=LISTED, after=after)
    return _answer("archive", found.archive.path, view=found, number=number, folder=inside, after=after)


def folder(number: int, catalog: Catalog, path: str, after: int | None) -> Answer:
    """A part of a page: what is in a folder of an archive."""
    return _part("folder", number=number, folder=browse.folder(number, path, catalog, limit=LISTED, after=after))


def operations(wanted: browse.Filter, catalog: Catalog, after: str | None) -> Answer:
    """The operations that match."""
    found = browse.operations(wanted, catalog, limit=LISTED + 1, after=after)
    more = found[LISTED - 1].operation_id if len(found) > LISTED else None
    return _answer(
        "operations",
        "Operations",
        wanted=wanted,
        operations=found[:LISTED],
        more=more,
        after=after,
        types=TYPES,
        statuses=tuple(Status),
    )


def operation(operation_id: str, catalog: Catalog) -> Answer:
    """One operation."""
    found = browse.operation(operation_id, catalog, limit=CHILDREN)
    title = f"{found.operation.operation_type} {found.operation.target_name or ''}".strip()
    facts = shown_facts(found.operation)
    return _answer("operation", title, view=found, facts=facts, limit=CHILDREN)


def problem(status: HTTPStatus, sentence: str, next_step: str | None, *, is_known: bool = True) -> Answer:
    """A page that says why there is no other one. `is_known`: the reader may see the rest of the site."""
    sentence = sentence[:1].upper() + sentence[1:]
    return _answer(
        "problem", status.phrase, status, scripts=(), sentence=sentence, next_step=next_step, is_known=is_known
    )


def link(path: str, **fields: object) -> str:
    """An address of this server, whatever bytes are in its fields; those that are None or "" are left out."""
    given = {name: str(value) for name, value in fields.items() if value not in (None, "")}
    return path + ("?" + urlencode(given, errors="surrogateescape") if given else "")


def path_of(operation: OperationRecord) -> str:
    """The address of an operation."""
    return f"/operations/{quote(operation.operation_id, safe='', errors='surrogateescape')}"


def _answer(
    name: str, title: str, status: HTTPStatus = HTTPStatus.OK, *, scripts: Sequence[str] = SCRIPTS, **values: object
) -> Answer:
    page = Page(template=f"browse_{name}.html", title=f"{title} - mgmt", scripts=tuple(scripts), sources=SOURCES)
    here = f"/{name}" if name in ("archives", "operations") else "/" if name == "overview" else None
    text = render(page, link=link, path_of=path_of, here=here, heading=title, **values)
    script = "\n".join(map(asset, scripts))
    allowed = policy(asset(STYLE), script, {**SOURCES, "frame-ancestors": "'none'"})
    return Answer(text, status, {"Content-Security-Policy": allowed})


def _part(name: str, **values: object) -> Answer:
    """Markup that a script puts into a page."""
    text = environment().get_template(f"browse_{name}.html").render(values, link=link, path_of=path_of, counted=counted)
    return Answer(text)
