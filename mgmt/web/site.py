"""What `mgmt browse` shows at which address. Who may see it is up to the guard; a page itself is made by `views`."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import SplitResult, unquote, urlsplit

from mgmt.catalog import Catalog, ReadOnly
from mgmt.errors import BusyError, CatalogError, ConfigurationError, MgmtError, NotFoundError
from mgmt.services import browse
from mgmt.services.steps.figures import Report
from mgmt.web import views
from mgmt.web.answer import Answer
from mgmt.web.guard import Guard, Refusal
from mgmt.web.kept_figures import KeptFigures
from mgmt.web.query import Query, number
from mgmt.web.request import Request

_STATUSES: Mapping[type[MgmtError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConfigurationError: HTTPStatus.BAD_REQUEST,
    CatalogError: HTTPStatus.SERVICE_UNAVAILABLE,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Site:
    """The pages of one catalog."""

    def __init__(self, guard: Guard, catalog: ReadOnly, gather: Callable[[Catalog], Report]) -> None:
        """`gather` makes the figures of the report."""
        self.guard = guard
        self._catalog = catalog
        self._figures = KeptFigures(catalog, gather)

    def answer(self, request: Request) -> Answer:
        """The answer to `request`, whoever sent it. An error of mgmt becomes a page."""
        if refusal := self.guard.refusal(request):
            return _refused(refusal)
        try:
            target = urlsplit(request.target)
            query = Query(target.query)
        except (ValueError, ConfigurationError):
            return _refused(Refusal.TARGET)
        if "token" in query:
            return self._admitted(target, query)
        if not self.guard.is_known(request):
            return _refused(Refusal.TOKEN)
        try:
            parts = [unquote(part, errors="surrogateescape") for part in target.path.split("/")[1:]]
            return self._page(parts, query)
        except MgmtError as error:
            status = next((_STATUSES[kind] for kind in _STATUSES if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
            return views.problem(status, error.message, error.next_step)

    def _admitted(self, target: SplitResult, query: Query) -> Answer:
        """Give the browser a cookie in place of the token, which leaves its address bar and its history by that."""
        if target.path != "/" or not self.guard.is_token(query.text("token")):
            return _refused(Refusal.TOKEN)
        return Answer("", HTTPStatus.SEE_OTHER, {"Location": "/", "Set-Cookie": self.guard.cookie})

    def _page(self, parts: list[str], query: Query) -> Answer:
        match parts:
            case [""]:
                return views.overview(self._figures.report())
            case ["search"]:
                return self._with(lambda catalog: views.search(query.text("q"), catalog))
            case ["parts", "search"]:
                return self._with(lambda catalog: views.typed(query.text("q"), catalog))
            case ["archives"]:
                after = query.number("after")
                return self._with(lambda catalog: views.archives(catalog, after))
            case ["archives", text]:
                archive, folder, after = number(text), query.text("folder"), query.number("after")
                return self._with(lambda catalog: views.archive(archive, catalog, folder, after))
            case ["parts", "folder", text]:
                archive, folder, after = number(text), query.text("folder"), query.number("after")
                return self._with(lambda catalog: views.folder(archive, catalog, folder, after))
            case ["operations"]:
                wanted = browse.wanted(query.text("type"), query.text("status"), query.text("month"))
                after_id = query.text("after") or None
                return self._with(lambda catalog: views.operations(wanted, catalog, after_id))
            case ["operations", operation_id] if operation_id and "\0" not in operation_id:
                return self._with(lambda catalog: views.operation(operation_id, catalog))
        raise NotFoundError("there is no such page")

    def _with(self, view: Callable[[Catalog], Answer]) -> Answer:
        with browse.look(self._catalog) as catalog:
            return view(catalog)


def _refused(refusal: Refusal) -> Answer:
    return views.problem(refusal.status, refusal.sentence, None, is_known=False)
