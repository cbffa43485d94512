"""A TCP proxy in front of a PostgreSQL server, which counts what it is asked, and cuts the connection at one question.

A question is what a client sends before it waits for an answer: what begins a connection, a query, or a batch up to its
Sync. A cut comes before the server has heard of it, or after the server has acted, and before the client hears of that.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

ENDS_A_QUESTION = b"QSXp"
"""Query, Sync, Terminate, and the answer to a demand for a password."""
READY = b"Z"


@dataclass
class Cut:
    """At the `nth` question, counted from 1, of those that have `words` in them; `after` the server has acted."""

    nth: int
    after: bool = False
    words: bytes = b""
    times: int = 1
    """So many questions are cut, from that one on."""


@dataclass
class Proxy:
    """Where to connect to, what was asked, and what is to be cut."""

    url: str
    asked: list[bytes] = field(default_factory=list)
    cut: Cut | None = None
    met: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, cut: Cut | None = None) -> None:
        """Forget what was asked, and do this from now on."""
        with self.lock:
            self.asked.clear()
            self.cut, self.met, self._seen = cut, 0, 0

    _seen: int = 0

    def happens(self, question: bytes) -> Cut | None:
        """What happens to this one."""
        with self.lock:
            self.asked.append(question)
            cut = self.cut
            if cut is None or cut.words not in question:
                return None
            self._seen += 1
            if not cut.nth <= self._seen < cut.nth + cut.times:
                return None
            self.met += 1
            return cut


class _Connection:
    """One client's, with a thread for either direction."""

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
            question = self._read(self.client, typed=False)
            while question:
                cut = self.state.happens(question)
                if cut is not None and not cut.after:
                    break
                self.silent = cut is not None
                self.server.sendall(question)
                question = b""
                while message := self._read(self.client):
                    question += message
                    if message[:1] in ENDS_A_QUESTION:
                        break
                else:
                    break
        if not self.silent:  # or else it is cut when the server has acted
            self.close()

    def _answer(self) -> None:
        with suppress(OSError):
            while message := self._read(self.server):
                if not self.silent:
                    self.client.sendall(message)
                elif message[:1] == READY:
                    break
        self.close()

    def _read(self, side: socket.socket, *, typed: bool = True) -> bytes:
        """One message, whole; nothing at the end. The first of a client has no letter for its type."""
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
