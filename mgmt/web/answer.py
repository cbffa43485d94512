"""What a request is answered with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from mgmt.web.guard import Guard
from mgmt.web.request import Request

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer; a page has a policy of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with."""

    body: str
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/html; charset=utf-8"


class Site(Protocol):
    """What the server shows."""

    guard: Guard

    def answer(self, request: Request) -> Answer:
        """The answer to `request`, whoever sent it."""
        ...
