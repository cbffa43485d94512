"""A TCP proxy in front of a PostgreSQL server that counts requests and cuts the connection at a chosen one.

A request is what a client sends before it waits for an answer: a startup message, a query, or a batch up to its Sync.
A cut comes before the server receives the request, or after the server has run it and before the client is answered.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

REQUEST_ENDS = b"QSXpcf"
"""Query, Sync, Terminate, the response to a password request, and the end of the rows of a COPY."""
READY = b"ZG"
"""ReadyForQuery, and CopyInResponse: the server waits for the client."""


@dataclass
class Cut:
    """At the `nth` request, counted from 1, of those that contain `text`; `after`: when the server has run it."""

    nth: int
    after: bool = False
    text: bytes = b""
    times: int = 1
    """Number of requests to cut, from that one on."""


@dataclass
class Proxy:
    """Its URL, the requests it received, and the cut to make."""

    url: str
    asked: list[bytes] = field(default_factory=list)
    cut: Cut | None = None
    met: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, cut: Cut | None = None) -> None:
        """Forget the requests, and make this cut from now on."""
        with self.lock:
            self.asked.clear()
            self.cut, self.met, self._seen = cut, 0, 0

    _seen: int = 0

    def happens(self, request: bytes) -> Cut | None:
        """The cut to make at this request, if any."""
        with self.lock:
            self.asked.append(request)
            cut = self.cut
            if cut is None or cut.text not in request:
                return None
            self._seen += 1
            if not cut.nth <= self._seen < cut.nth + cut.times:
                return None
            self.met += 1
            return cut


class _Connection:
    """A client's connection, with a thread for each direction."""

    def __init__(self, state: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.state, self.client, self.server = state, client, server
        self.silent = False
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.threads = [threading.Thread(target=run) for run in (self._ask, self._answer)]
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        for each in (self.client, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> None:
        with suppress(OSError):
            request = self._read(self.client, typed=False)
            while request:
                cut = self.state.happens(request)
                if cut is not None and not cut.after:
                    break
                self.silent = cut is not None
                self.server.sendall(request)
                request = b""
                while message := self._read(self.client):
                    request += message
                    if message[:1] in REQUEST_ENDS:
                        break
                else:
                    break
        if not self.silent:  # otherwise it is cut when the server has run the request
            self.close()

    def _answer(self) -> None:
        with suppress(OSError):
            while message := self._read(self.server):
                if not self.silent:
                    self.client.sendall(message)
                elif message[:1] in READY:
                    break
        self.close()

    def _read(self, side: socket.socket, *, typed: bool = True) -> bytes:
        """One whole message; empty at the end. A client's first message has no type byte."""
        kind = 1 if typed else 0
        head = self._exactly(side, kind + 4)
        if len(head) < kind + 4:
            return b""
        (size,) = struct.unpack("!I", head[kind:])
        return head + self._exactly(side, size - 4)

    @staticmethod
    def _exactly(side: socket.socket, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (more := side.recv(size - len(data))):
            data += more
        return bytes(data)


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """A proxy on a free loopback port, in threads of this process, to the database at `url`."""
    upstream = urlsplit(url)
    connections: list[_Connection] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        netloc = f"{upstream.username}@127.0.0.1:{port}"
        state = Proxy(urlunsplit(upstream._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable")))

        def listen() -> None:
            with suppress(OSError):  # it was closed
                while True:
                    client, _ = listener.accept()
                    try:
                        server = socket.create_connection((upstream.hostname, upstream.port))
                    except OSError:
                        client.close()
                        continue
                    connections.append(_Connection(state, client, server))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield state
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()
                for each in connection.threads:
                    each.join()
                connection.client.close()
                connection.server.close()
