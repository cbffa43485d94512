"""The null sink: an S3 endpoint that reads, verifies the CRC64NVME if there is one, answers, and stores nothing.

With it, the client is measured and not the server: a byte costs only the kernel's work and one checksum. It keeps only
what its answers need: sizes, checksums and metadata.
"""

import base64
import itertools
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from awscrt.checksums import combine_crc64nvme, crc64nvme

from tests.servers import Server, environment

BUFFER = 1 << 20
HEAD_LIMIT = 64 << 10
CPU = "/-/cpu"
"""The path that returns the CPU seconds of the sink."""

CHECKSUM = "x-amz-checksum-crc64nvme"


@contextmanager
def null_sink() -> Iterator[Server]:
    """A null sink in a process of its own, on a free port of loopback."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            yield Server("sink", url, environment(url), process.pid, Path())
        finally:
            process.terminate()


def cpu_seconds(sink: Server) -> float:
    """The CPU seconds of the sink so far."""
    with urllib.request.urlopen(sink.endpoint_url + CPU) as answer:
        return float(answer.read())


@dataclass
class _Object:
    size: int
    crc: int
    metadata: Mapping[str, str]


@dataclass
class _Upload:
    metadata: Mapping[str, str]
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(size, crc) by number."""


@dataclass
class _Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class _Answer:
    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Sink:
    """The objects and uploads. Each request changes one of them, by a single assignment."""

    def __init__(self) -> None:
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _Upload] = {}
        self._ids = itertools.count()

    def answer(self, request: _Request, size: int, crc: int | None, small: bytes) -> _Answer:
        """`size` and `crc` are of the body; `small` is the body itself, if it is small."""
        if request.path == CPU:
            return _Answer(200, str(time.process_time()))
        if request.path.strip("/").count("/") == 0:  # the bucket: every bucket exists, and is empty
            return _Answer(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        stated = request.headers.get(CHECKSUM)
        if request.method == "POST" and "uploads" in request.query:
            upload_id = f"upload-{next(self._ids)}"
            self._uploads[upload_id] = _Upload(_metadata(request))
            return _Answer(
                200,
                f"<InitiateMultipartUploadResult><Key>{escape(request.path)}</Key><UploadId>{upload_id}</UploadId>"
                "</InitiateMultipartUploadResult>",
            )
        if "uploadId" in request.query:
            upload = self._uploads.get(request.query["uploadId"])
            if upload is None:
                return _error(404, "NoSuchUpload")
            if request.method == "PUT":
                if stated is not None and stated != _encoded(crc):
                    return _error(400, "BadDigest")
                number = int(request.query["partNumber"])
                upload.parts[number] = (size, crc or 0)
                return _Answer(200, headers={"ETag": f'"part-{number}"', **({CHECKSUM: stated} if stated else {})})
            if request.method == "POST":
                return self._complete(request, upload, small)
            self._uploads.pop(request.query["uploadId"])
            return _Answer(204)
        if request.method == "PUT":
            if stated is not None and stated != _encoded(crc):
                return _error(400, "BadDigest")
            return self._store(request, _Object(size, crc or 0, _metadata(request)))
        if request.method == "DELETE":
            self._objects.pop(request.path, None)
            return _Answer(204)
        return self._look(request.path)

    def _complete(self, request: _Request, upload: _Upload, listed: bytes) -> _Answer:
        size = crc = 0
        for number in map(int, re.findall(rb"<PartNumber>(\d+)</PartNumber>", listed)):
            part_size, part_crc = upload.parts[number]
            size, crc = size + part_size, combine_crc64nvme(crc, part_crc, part_size)
        stated = request.headers.get(CHECKSUM)
        if stated is not None and stated != _encoded(crc):
            return _error(400, "BadDigest")
        return self._store(request, _Object(size, crc, upload.metadata))

    def _store(self, request: _Request, stored: _Object) -> _Answer:
        if request.headers.get("if-none-match") == "*" and request.path in self._objects:
            return _error(412, "PreconditionFailed")
        self._objects[request.path] = stored
        body = "<CompleteMultipartUploadResult><ETag>&quot;object&quot;</ETag></CompleteMultipartUploadResult>"
        return _Answer(200, body if request.method == "POST" else "", {"ETag": '"object"'})

    def _look(self, path: str) -> _Answer:
        stored = self._objects.get(path)
        if stored is None:
            return _error(404, "NoSuchKey")
        return _Answer(
            200,
            headers={
                **stored.metadata,
                "ETag": '"object"',
                "Content-Length": str(stored.size),
                "Last-Modified": formatdate(usegmt=True),
                CHECKSUM: _encoded(stored.crc),
                "x-amz-checksum-type": "FULL_OBJECT",
            },
        )


def _metadata(request: _Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}


def _encoded(crc: int | None) -> str:
    return base64.b64encode((crc or 0).to_bytes(8, "big")).decode()


def _error(status: int, code: str) -> _Answer:
    return _Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")


def _serve(connection: socket.socket, sink: _Sink) -> None:
    """Answer the requests of one connection, until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(BUFFER))
    rest = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in rest:
                received = connection.recv(HEAD_LIMIT)
                if not received:
                    return
                rest += received
            head, _, rest = rest.partition(b"\r\n\r\n")
            request = _parsed(head.decode("latin-1"))
            if request.headers.get("expect", "").lower() == "100-continue":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            size = int(request.headers.get("content-length", 0))
            checked = CHECKSUM in request.headers
            body, rest = rest[:size], rest[size:]
            crc, left = crc64nvme(body) if checked else None, size - len(body)
            small = size <= BUFFER and not checked
            while left > 0:
                count = connection.recv_into(buffer, min(left, BUFFER))
                if count == 0:
                    return
                left -= count
                if crc is not None:
                    crc = crc64nvme(buffer[:count], crc)
                if small or request.method == "POST":
                    body += buffer[:count]
            connection.sendall(_bytes(sink.answer(request, size, crc, body), request.method))


def _parsed(head: str) -> _Request:
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    fields = (line.partition(":") for line in lines)
    return _Request(
        method,
        unquote(url.path),
        {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()},
        {name.strip().lower(): value.strip() for name, _, value in fields},
    )


def _bytes(answer: _Answer, method: str) -> bytes:
    body = answer.body.encode() if method != "HEAD" else b""
    headers = {"Content-Length": str(len(body)), "Date": formatdate(usegmt=True), **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} -\r\n{lines}\r\n".encode("latin-1") + body


def main() -> None:
    """Print the address, and answer requests until terminated."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(f"http://127.0.0.1:{server.getsockname()[1]}", flush=True)
        sink = _Sink()
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, sink), daemon=True).start()


if __name__ == "__main__":
    main()
