"""Which requests `mgmt browse` answers: those of a browser that was given the token, for a page of this server.

A page of another site can send requests to 127.0.0.1, too, and its name can be made to point there (DNS rebinding).
So a request names this host, comes from no other site, and shows a secret that only the terminal has printed.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus

from mgmt.web.request import Request

METHODS = ("GET", "HEAD")

LONGEST_TARGET = 16 << 10
"""Bytes of a path with its query: the longest path of a folder in an archive, each byte as `%XX`."""


class Refusal(Enum):
    """Why a request is not answered: the status of HTTP, and a sentence."""

    METHOD = (HTTPStatus.METHOD_NOT_ALLOWED, "This page can only be read.")
    TARGET = (HTTPStatus.BAD_REQUEST, "This is not an address of this server.")
    TOO_LONG = (HTTPStatus.REQUEST_URI_TOO_LONG, "This address is too long.")
    HOST = (HTTPStatus.FORBIDDEN, "This server answers as 127.0.0.1 or localhost only.")
    ORIGIN = (HTTPStatus.FORBIDDEN, "Another site has led here. Type the address that `mgmt browse` has printed.")
    TOKEN = (HTTPStatus.FORBIDDEN, "Open the address that `mgmt browse` has printed: its token is missing here.")

    @property
    def status(self) -> HTTPStatus:
        """The status of HTTP."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What is told to the reader."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Guard:
    """The secrets of one server."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """In the URL that the terminal shows."""
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """In the cookie: what a browser has stored does not open the server to another one."""

    @property
    def url(self) -> str:
        """The URL to open."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The header that gives a browser the session. Scripts do not see it, other sites do not send it."""
        return f"{self._cookie_name}={self.session}; Path=/; HttpOnly; SameSite=Strict"

    def refusal(self, request: Request) -> Refusal | None:
        """Why `request` is refused, whatever it asks for; None for one of this server's own pages."""
        # A browser leaves out the port that HTTP has anyway.
        hosts = [f"{name}:{self.port}".removesuffix(":80") for name in ("127.0.0.1", "localhost")]
        if request.method not in METHODS:
            return Refusal.METHOD
        if len(request.target) > LONGEST_TARGET:
            return Refusal.TOO_LONG
        if not request.target.startswith("/") or request.target.startswith("//") or not request.target.isascii():
            return Refusal.TARGET
        if request.one("host") not in hosts:
            return Refusal.HOST
        origin, site = request.one("origin"), request.one("sec-fetch-site")
        if origin is not None and origin not in [f"http://{host}" for host in hosts]:
            return Refusal.ORIGIN
        if site is not None and site not in ("same-origin", "none"):
            return Refusal.ORIGIN
        return None

    def is_token(self, word: str) -> bool:
        """Whether `word` is the token. It takes the same time for any word."""
        return _same(word, self.token)

    def is_known(self, request: Request) -> bool:
        """Whether the browser has the session."""
        for header in request.headers.get("cookie", []):
            for pair in header.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self._cookie_name and _same(value, self.session):
                    return True
        return False

    @property
    def _cookie_name(self) -> str:
        # Browsers send a cookie to every port of a host: two servers must not replace each other's.
        return f"mgmt-{self.port}"


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())
