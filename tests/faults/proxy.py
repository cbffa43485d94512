"""An HTTP proxy in front of a test server that counts requests and applies faults to chosen ones."""

import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.servers import Server

ALWAYS = 1 << 30
PAUSE = 0.2
"""Seconds that `delay` and `slow` take."""

ACTS = {
    "drop": "the connection is closed; the server never receives the request",
    "reset": "the same with a TCP reset, before the body is read",
    "stall": "nothing happens until the client gives up; the server never receives the request",
    "delay": "the request waits for PAUSE",
    "flip-request": "one bit of the request's body is flipped",
    "twice": "the server gets the request two times; the second answer is passed on",
    "lose-answer": "the server acts, and the connection is closed",
    "cut-answer": "half of the body (of the head, where there is no body), and the connection is closed",
    "hang-answer": "the same half, and nothing more until the client gives up",
    "flip-answer": "one bit of the body is flipped; in the answer to a HEAD, one character of its checksum or ETag",
    "grow-answer": "the stated size is one too large",
    "slow": "the answer dribbles for PAUSE",
}
"""What can happen to a request. Besides these: `STATUS` or `STATUS CODE`, which the proxy answers itself."""


@dataclass
class Fault:
    """A fault of the requests whose "METHOD /path?query" matches the pattern: of the first `times` of them after
    `after`, each with a seeded `chance`."""

    pattern: str
    act: str
    times: int = 1
    after: int = 0
    chance: float = 1.0
    seed: int = 0
    met: int = field(default=0, init=False)
    """How often it happened."""

    def __post_init__(self) -> None:
        if self.act not in ACTS and not self.act.split()[0].isdigit():
            raise ValueError(self.act)
        self.dice = random.Random(self.seed)

    def happens_to(self, request: str) -> bool:
        """Whether the fault hits this request; each request that matches is counted."""
        if not self.times or not re.search(self.pattern, request):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.dice.random() >= self.chance:
            return False
        self.times -= 1
        self.met += 1
        return True


@dataclass
class Proxy:
    """Its URL, the requests it received, and the faults to apply."""

    endpoint_url: str
    requests: list[str] = field(default_factory=list)
    """ "METHOD /path?query", in the order of their arrival."""
    answered: int = 0
    """Bytes of all answers' bodies."""
    faults: list[Fault] = field(default_factory=list)
    """The first that matches a request is applied."""
    hung: set[int] | None = None
    """The ports of clients that are waiting in vain, while these do not have to (`impatient`)."""
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Forget the requests and the faults."""
        self.requests.clear()
        self.faults.clear()
        self.most_at_once = 0

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def arrived(self, request: str) -> str | None:
        with self.lock:
            self.requests.append(request)
            return next((fault.act for fault in self.faults if fault.happens_to(request)), None)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Clients in this process time out as soon as their request hangs, whatever their timeout is."""
        read, self.hung = socket.SocketIO.readinto, set()

        def readinto(stream: Any, buffer: Any) -> int | None:
            port = stream._sock.getsockname()[1]
            count = read(stream, buffer)
            if count == 0 and port in (self.hung or ()):
                raise TimeoutError("timed out")
            return count

        socket.SocketIO.readinto = readinto  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            socket.SocketIO.readinto, self.hung = read, None  # type: ignore[method-assign]

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


@dataclass
class Answer:
    """A response, as it goes over the wire."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def change(self, names: str, change: Callable[[str], str]) -> None:
        """Change the value of the first of these headers that is there."""
        for wanted in names.split():
            for place, (name, value) in enumerate(self.headers):
                if name.lower() == wanted:
                    self.headers[place] = name, change(value)
                    return


def error(act: str, *, with_body: bool) -> Answer:
    """The answer to `503 SlowDown`, with S3's XML; to `503`, without a body."""
    status, _, code = act.partition(" ")
    xml = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    body = xml.encode() if code and with_body else b""
    headers = [("Content-Length", str(len(body))), ("Content-Type", "application/xml")]
    return Answer(int(status), code or "Fault", headers, body)


def flipped(data: bytes) -> bytes:
    corrupt = bytearray(data)
    if corrupt:
        corrupt[len(corrupt) // 2] ^= 1
    return bytes(corrupt)


def other_digit(value: str) -> str:
    """`value` with its middle character replaced by another that is valid in a checksum."""
    middle = len(value) // 2
    return value[:middle] + ("0" if value[middle] != "0" else "1") + value[middle + 1 :]


@contextmanager
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy on a free loopback port, in a thread of this process."""
    upstream = urlsplit(server.endpoint_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def forward(self) -> None:
            act = state.arrived(f"{self.command} {self.path}")
            if act == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if act in {"drop", "stall"}:
                self.end(hang=act == "stall")
                return
            if act is not None and act[0].isdigit():
                self.answer(error(act, with_body=self.command != "HEAD"), None)
                return
            if act == "delay":
                time.sleep(PAUSE)
            if act == "flip-request":
                body = flipped(body)
            with state.counted():
                for _ in range(2 if act == "twice" else 1):
                    answer = self.ask(body)
            if act == "lose-answer":
                self.end(hang=False)
                return
            self.answer(answer, act)

        def ask(self, body: bytes) -> Answer:
            connection = HTTPConnection(upstream, timeout=600)
            headers = {name: value for name, value in self.headers.items() if name not in {"Expect", "Connection"}}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            left_out = {"transfer-encoding", "connection", "content-length"}
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
            length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
            return Answer(answer.status, answer.reason, [*kept, ("Content-Length", length or "0")], data)

        def answer(self, answer: Answer, act: str | None) -> None:
            if act == "flip-answer" and answer.body:
                answer.body = flipped(answer.body)
            elif act == "flip-answer":
                answer.change("x-amz-checksum-crc64nvme etag", other_digit)
            elif act == "grow-answer":
                answer.change("content-length", lambda value: str(int(value) + 1))
            head, data = answer.head(), answer.body
            if act in {"cut-answer", "hang-answer"}:
                head, data = (head, data[: len(data) // 2]) if data else (head[: len(head) // 2], b"")
            with state.lock:
                state.answered += len(data)
            if act == "slow":
                whole, tenth = head + data, (len(head) + len(data)) // 10 + 1
                for begin in range(0, len(whole), tenth):
                    self.wfile.write(whole[begin : begin + tenth])
                    time.sleep(PAUSE / 10)
            else:
                self.wfile.write(head)
                self.wfile.write(data)
            if act in {"cut-answer", "hang-answer"} or (act == "grow-answer" and self.command != "HEAD"):
                self.end(hang=act == "hang-answer")

        def end(self, *, hang: bool) -> None:
            """Close the connection; with `hang`, when the client does."""
            self.close_connection = True
            if hang and state.hung is not None:
                state.hung.add(self.client_address[1])
            elif hang:
                self.rfile.read(1)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def shutdown_request(self, request: Any) -> None:
            self.close_request(request)  # no polite FIN before a reset

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Some faults make the client close its connection; anything else is an error of the proxy."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    listener = Listener(("127.0.0.1", 0), Handler)
    state = Proxy(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
