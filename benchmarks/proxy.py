"""A proxy that counts the bytes between a client and a server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.servers import Server, environment

BUFFER = 1 << 16


@dataclass
class Count:
    """Bytes of all connections so far, including headers."""

    sent: int = 0
    """By the client."""
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, sent: int = 0, received: int = 0) -> None:
        """Add to the counts; called by a thread for each direction of each connection."""
        with self._lock:
            self.sent += sent
            self.received += received


@contextmanager
def counting(server: Server) -> Iterator[tuple[Server, Count]]:
    """The same server at another port, and the bytes that pass there."""
    address = urlsplit(server.endpoint_url)
    count = Count()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, (address.hostname, address.port), count), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Server(f"{server.name}-counted", url, environment(url), server.pid, server.folder), count


def _accept(listener: socket.socket, address: tuple[str | None, int | None], count: Count) -> None:
    with suppress(OSError):  # the listener is closed at the end
        while True:
            client, _ = listener.accept()
            upstream = socket.create_connection(address)
            for source, target, to_client in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(target=_pump, args=(source, target, count, to_client), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, count: Count, to_client: bool) -> None:
    with suppress(OSError):  # either side may end the connection at any time
        while data := source.recv(BUFFER):
            target.sendall(data)
            count.add(received=len(data)) if to_client else count.add(sent=len(data))
        target.shutdown(socket.SHUT_WR)
