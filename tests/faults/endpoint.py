"""An endpoint that answers every request with one S3 error, with a clock of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def refusing(code: str, status: int, moment: datetime | None = None) -> Iterator[str]:
    """The URL of an endpoint that refuses with `code` and HTTP `status`; its clock shows `moment` (default: now).

    As with S3, the answer to a HEAD has no body, and therefore no code.
    """
    refusal = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, _timestamp: float | None = None) -> str:
            return format_datetime(moment or datetime.now(UTC), usegmt=True)

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(refusal)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(refusal)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()
