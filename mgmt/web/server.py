"""The server of `mgmt browse`: HTTP/1.1 on 127.0.0.1, one request for each connection.

A client that is slow, silent or hostile takes a connection, and no more than that: the oldest of those that have not
sent their request gives way to a new one.
"""

import io
import logging
import socket
import socketserver
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from mgmt.errors import BusyError, RefusedError
from mgmt.web.answer import HEADERS, Answer, Site
from mgmt.web.guard import METHODS
from mgmt.web.request import Request

CONNECTIONS = 64
"""Connections at a time."""

REQUEST_SECONDS = 10.0
"""How long a client may take to send its request, and again to receive the answer."""

LARGEST_HEAD = 32 << 10
"""Bytes of a request with its headers; it has no body that anybody would read."""

MOST_HEADERS = 64

_FAILED = "\r\n".join(
    [
        "HTTP/1.1 500 Internal Server Error",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
        "Content-Type: text/plain; charset=utf-8",
        "Connection: close",
        "",
        "This page could not be made. The terminal of `mgmt browse` says why.\n",
    ]
).encode()

logger = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """Serves a site on 127.0.0.1, each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, port: int) -> None:
        """Listen at `port`; 0 is any free one. Raises BusyError if it is taken, RefusedError if it may not be used."""
        self.site: Site | None = None
        self._open: dict[socket.socket, bool] = {}
        """The connections, the oldest first, and whether each is still waiting for its request."""
        self._mutex = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except PermissionError:
            raise RefusedError(f"port {port} may not be used", next_step="mgmt browse --port 8080") from None
        except OSError as error:
            raise BusyError(f"port {port} cannot be used: {error.strerror}", next_step="mgmt browse") from error

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without looking up the name of this host, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection; if there are too many, in place of the oldest that has sent no request."""
        with self._mutex:
            if len(self._open) >= CONNECTIONS:
                waiting = next((each for each, waits in self._open.items() if waits), None)
                if waiting is None:
                    request.close()
                    return
                del self._open[waiting]
                _hang_up(waiting)  # its thread ends by that
            self._open[request] = True
        super().process_request(request, client_address)

    def begin(self, connection: socket.socket) -> None:
        """The request of `connection` has arrived: it is served to the end."""
        with self._mutex:
            if connection in self._open:
                self._open[connection] = False

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._mutex:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one connection, and go on. A client that has left is no error."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError | TimeoutError):
            logger.info("a client of the page has left: %s", error)
            return
        logger.error("a page could not be shown", exc_info=True)
        _hang_up(request, _FAILED)


def _hang_up(connection: socket.socket, last: bytes = b"") -> None:
    try:
        if last:
            connection.settimeout(1)
            connection.sendall(last)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client did it


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def handle(self) -> None:
        """Read one request, and answer it."""
        self.close_connection = True
        head = self._head()
        if head is None:
            return
        self.rfile = io.BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        self.command = self.requestline = self.request_version = ""
        if not self.raw_requestline.decode("iso-8859-1").split():  # `parse_request` would not answer
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        if not self.parse_request():  # it has answered itself, by `send_error`
            return
        if len(self.headers) > MOST_HEADERS:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self.server.begin(self.connection)
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        # Its line as it was sent: BaseHTTPRequestHandler turns `//` into `/`.
        target = self.requestline.split()[1]
        site = cast(Site, self.server.site)
        self._send(site.answer(Request(method=self.command, target=target, headers=headers)))

    def _head(self) -> bytes | None:
        """The request up to the empty line; None if the client has left, or takes too long."""
        deadline, head = time.monotonic() + REQUEST_SECONDS, bytearray()
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.connection.settimeout(left)
            try:
                more = self.connection.recv(LARGEST_HEAD)
            except TimeoutError:
                return None
            if not more:
                return None
            head += more
            if len(head) > LARGEST_HEAD:
                self.command = self.requestline = self.request_version = ""
                self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return None
        return bytes(head)

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        logger.info("%s %s: %d", self.command, self.path.partition("?")[0], answer.status)
        self.connection.settimeout(REQUEST_SECONDS)  # for all of it
        self.request_version = self.protocol_version  # HTTP/0.9, which it takes anything else for, has no headers
        self.send_response(answer.status)
        headers = {**HEADERS, **answer.headers, "Content-Type": answer.content_type}
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(METHODS)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be parsed: with its status, and not with what was sent."""
        status = HTTPStatus(code)
        self.path = ""
        self._send(Answer(f"{status.phrase}\n", status, content_type="text/plain; charset=utf-8"))

    def version_string(self) -> str:
        """Without the versions of Python and mgmt."""
        return "mgmt"

    def log_message(self, *_: Any) -> None:
        """`_send` logs, without what was asked for: that may be a token."""
