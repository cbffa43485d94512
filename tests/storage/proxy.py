"""An HTTP proxy in front of a test server that counts requests and spoils chosen ones."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.servers import Server


@dataclass
class Fault:
    """What happens to the first `times` requests whose "METHOD /path?query" the pattern finds."""

    pattern: str
    act: str
    """`lose-answer` (the server acts, the client hears nothing), `flip-request` (a bit of its body), `cut-answer`
    (half of its body), or an HTTP status with which the proxy answers itself."""
    times: int = 1


@dataclass
class Proxy:
    """Where to connect to, what it saw, and what it is to spoil."""

    endpoint_url: str
    requests: list[str] = field(default_factory=list)
    """ "METHOD /path?query", in the order of their arrival."""
    answered: int = 0
    """Bytes of all answers' bodies."""
    faults: list[Fault] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Forget what was seen, and spoil nothing."""
        self.requests.clear()
        self.faults.clear()
        self.most_at_once = 0

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def arrived(self, request: str) -> str | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault.act
            return None

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy on a free loopback port, in a thread of this process."""
    upstream = urlsplit(server.endpoint_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            act = state.arrived(f"{self.command} {self.path}")
            body = bytearray(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if act is not None and act.isdigit():
                self.send_response(int(act))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if act == "flip-request":
                body[len(body) // 2] ^= 1
            with state.counted():
                connection = HTTPConnection(upstream, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name not in {"Expect", "Connection"}}
                connection.request(self.command, self.path, bytes(body), headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
            if act == "lose-answer":
                self.close_connection = True
                return
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if act == "cut-answer":
                data = data[: len(data) // 2]
                self.close_connection = True
            with state.lock:
                state.answered += len(data) if self.command != "HEAD" else 0
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    state = Proxy(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
