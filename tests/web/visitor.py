"""The pages of `mgmt browse` in this process, and a client of them that is not a browser."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from html import unescape

from mgmt.catalog import Catalog, ReadOnly
from mgmt.services.report import gather
from mgmt.services.steps.figures import Report
from mgmt.web.guard import Guard
from mgmt.web.server import Server
from mgmt.web.site import Site


@dataclass(frozen=True)
class Seen:
    """An answer."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    html: str

    @property
    def text(self) -> str:
        """What a person reads of the page, without the part that is the same everywhere."""
        main = self.html.partition("<main")[2].rpartition("<footer")[0] or self.html
        return unescape(" ".join(re.sub("<[^>]*>", " ", main).split()))

    @property
    def rows(self) -> int:
        """Rows of its lists: of tables, and members of a folder."""
        return self.html.count("<tr><th") + self.html.count("<li>") - self.html.count("<thead><tr><th")


@dataclass
class Visitor:
    """A client with the cookie that the token has given it."""

    server: Server
    guard: Guard
    headers: dict[str, str] = field(default_factory=dict)

    def enter(self) -> "Visitor":
        """Exchange the token for a cookie, as a browser does."""
        answer = self.ask(f"/?token={self.guard.token}")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        return Visitor(self.server, self.guard, {"Cookie": answer.headers["set-cookie"].partition(";")[0]})

    def ask(self, target: str, method: str = "GET", **headers: str) -> Seen:
        """Send one request, with the header names as Python spells them."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            connection.putrequest(method, target, skip_host="Host" in sent)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Seen(answer.status, found, answer.read().decode())

    def see(self, target: str) -> Seen:
        """A page that there is."""
        seen = self.ask(target)
        assert seen.status == 200, seen.text
        return seen


@contextmanager
def serving(url: str, figures: Callable[[Catalog], Report] = gather) -> Iterator[Visitor]:
    """The pages of the catalog at `url`, and a visitor who has come in."""
    with closing(ReadOnly(url)) as catalog, Server(0) as server:
        guard = Guard(server.port)
        server.site = Site(guard, catalog, figures)
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield Visitor(server, guard).enter()
        finally:
            server.shutdown()
            thread.join()
