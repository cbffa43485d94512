"""An HTTP server on loopback that records what is sent to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes


@dataclass
class Receiver:
    """What was received, and how to answer: a status for each request, the last one from then on."""

    url: str
    answers: list[int] = field(default_factory=lambda: [204])
    got: list[Received] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of each answer."""
    content: bytes = b""
    before_answer: Callable[[], object] = lambda: None
    """Called when a request is recorded and not yet answered."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A server that runs as long as the `with` lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.got.append(Received(self.path, {name.lower(): text for name, text in self.headers.items()}, body))
            found.before_answer()
            self.send_response(found.answers.pop(0) if len(found.answers) > 1 else found.answers[0])
            for name, text in found.headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(found.content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """The other side may hang up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        found = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
