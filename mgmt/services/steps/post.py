"""Send one request to a URL: to an address that was looked at, once, and nowhere else.

The host is resolved once, and the connection is made to one of those very addresses, so that a name that changes in
between leads nowhere. Redirects are not followed, and no proxy of the environment is used.
"""

import base64
import http.client
import os
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

import mgmt
from mgmt.services.steps.addresses import is_allowed, parse_address
from mgmt.services.steps.rules import wrong_with_url

MOST_BYTES = 64 << 10
"""How much of an answer is read."""


class UndeliveredError(Exception):
    """A message was not accepted. The text says why, and contains no secret."""

    def __init__(self, why: str, *, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone
        """The receiver wants no more messages."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request."""

    url: str
    body: bytes
    headers: Mapping[str, str]


def post(request: Request, *, private: bool, seconds: float) -> None:
    """Send `request`; with `private` it may go to a private network. Raises UndeliveredError unless it is accepted."""
    if wrong_with_url(request.url) is not None:
        raise UndeliveredError("the URL is not valid")
    url = urlsplit(request.url)
    deadline = time.monotonic() + seconds
    try:
        status = _exchange(url, request, _connected(url, private=private, deadline=deadline), deadline)
    except TimeoutError as exc:
        raise UndeliveredError(f"{url.hostname} did not answer within {seconds:.3g} s") from exc
    except ssl.SSLError as exc:
        raise UndeliveredError(f"{url.hostname}: TLS failed: {exc.reason or type(exc).__name__}") from exc
    except OSError as exc:
        raise UndeliveredError(f"{url.hostname}: {exc.strerror or type(exc).__name__}") from exc
    except (http.client.HTTPException, ValueError) as exc:
        raise UndeliveredError(f"{url.hostname} did not answer in HTTP: {type(exc).__name__}") from exc
    if 300 <= status < 400:
        raise UndeliveredError(f"{url.hostname} answered {status}: redirects are not followed; change the URL")
    if not 200 <= status < 300:
        raise UndeliveredError(f"{url.hostname} answered {status}", gone=status == http.client.GONE)


def _connected(url: SplitResult, *, private: bool, deadline: float) -> socket.socket:
    """A connection to the host of `url`. Every address of the host must be allowed."""
    host, port = str(url.hostname), url.port or (443 if url.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise UndeliveredError(f"{host} cannot be resolved") from exc
    for *_, place in found:
        if not is_allowed(parse_address(str(place[0])), private=private):
            what = "is no address to send to" if private else "is not a public address; see allow_private"
            raise UndeliveredError(f"{host}: {place[0]} {what}")
    failed: OSError = OSError("no address")
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(place)
            if url.scheme == "https":
                context = ssl.create_default_context()
                return context.wrap_socket(connection, server_hostname=host)
            return connection
        except OSError as exc:
            connection.close()
            failed = exc
    raise failed


def _exchange(url: SplitResult, request: Request, connected: socket.socket, deadline: float) -> int:
    """Send the request over a connection, and return the status of the answer."""
    with connected:
        connection = http.client.HTTPConnection(str(url.hostname), url.port)
        connection.default_port = 443 if url.scheme == "https" else 80
        connection.auto_open = 0
        connection.sock = connected
        connected.settimeout(_left(deadline))
        connection.request("POST", _path(url), request.body, {**_common_headers(url), **request.headers})
        with connection.getresponse() as answer:
            with suppress(OSError, http.client.HTTPException):  # the status is what counts
                length = 0
                while length < MOST_BYTES and (block := answer.read1(MOST_BYTES - length)):
                    length += len(block)
                    connected.settimeout(_left(deadline))
            return answer.status


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _common_headers(url: SplitResult) -> dict[str, str]:
    port = f":{url.port}" if url.port else ""
    host = f"[{url.hostname}]" if ":" in str(url.hostname) else url.hostname
    headers = {"Host": f"{host}{port}", "User-Agent": f"mgmt/{mgmt.__version__}", "Connection": "close"}
    if url.username is not None:
        user = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(os.fsencode(user)).decode()
    return headers


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
