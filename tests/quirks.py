"""A small S3 server whose answers differ from Amazon's as a test tells it: what other S3-compatible services do.

It runs in a thread of the test's process. Checksums, parts, paging and conditions are real, unless a quirk says
otherwise. tests/test_quirks.py shows that it convicts a careless client.
"""

import base64
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from awscrt.checksums import crc64nvme

from tests import servers

BUCKET = "quirks"
ALWAYS = 1 << 30
ALGORITHMS = ("crc64nvme", "sha256", "md5")
_META = "x-amz-meta-"


@dataclass
class Quirks:
    """How the endpoint differs from Amazon's; the defaults are Amazon's."""

    compares: frozenset[str] = frozenset(ALGORITHMS)
    """The checksums that it compares with what arrived."""
    flips: str | None = None
    """Objects whose keys match are stored with a flipped bit; their checksums are those that the client stated."""
    metadata: str = "kept"
    """Or `dropped`; or `underscored`, with `_` for each `-` of a name."""
    condition: str = "honoured"
    """If-None-Match: or `ignored`, or the refusal, as in `400 InvalidArgument`."""
    page: int = 1000
    """Entries of a page of a listing."""
    tokens: bool = True
    """Whether a truncated listing says how to continue it."""
    only_v1: bool = False
    """It answers every listing as version 1: `marker` continues it, and version 2's parameters are ignored."""
    stuck: bool = False
    """It answers every listing with its first page."""
    max_parts: int = 10_000
    omits: frozenset[str] = frozenset()
    """Elements and headers that its answers never have: `ETag`, `LastModified`, `Size`."""
    lacks: str | None = None
    """An element that no answer has although every client needs it."""
    equal_parts: bool = False
    """A completion is refused unless all parts but the last have one size."""
    exact_uploads: bool = False
    """Unfinished uploads are listed only if the prefix is the whole key of one."""
    weak: bool = False
    """A proxy has made the ETags weak, and wants them back like that."""
    settles_after: int | None = None
    """A completion has no answer, its repeat is a 409, and the object appears at this many HEADs of it."""


@dataclass
class Told:
    """The answer to the next `times` requests whose "METHOD /path?query" matches: `STATUS CODE`, with a message."""

    pattern: str
    answer: str
    message: str = "as told"
    times: int = ALWAYS
    acts: bool = False
    """Whether the request is carried out before."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    silent: bool = False
    """The connection is closed instead."""


class RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        super().__init__(code)
        self.answer = refusal(status, code, message)


@dataclass
class Stored:
    """An object, or a part of one."""

    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    unseen: int = 0
    """HEADs after which it appears."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))


@dataclass
class Begun:
    """A multipart upload."""

    key: str
    headers: dict[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    key: str
    query: dict[str, str]
    headers: Message
    body: bytes


def refusal(status: int, code: str, message: str, *, for_credentials: bool = False) -> Answer:
    xml = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    if for_credentials:  # the form of the service that gives out credentials
        xml = f"<ErrorResponse>{xml}</ErrorResponse>"
    return Answer(status, {"Content-Type": "application/xml"}, xml.encode() if code else b"")


def checksum_of(algorithm: str, data: bytes) -> str:
    raw = crc64nvme(data).to_bytes(8, "big") if algorithm == "crc64nvme" else hashlib.new(algorithm, data).digest()
    return base64.b64encode(raw).decode()


class Endpoint:
    """The server's URL and contents, its quirks, and the requests that it received."""

    def __init__(self, url: str, quirks: Quirks) -> None:
        self.endpoint_url = url
        self.quirks = quirks
        self.told: list[Told] = []
        """The first that matches a request is its answer."""
        self.requests: list[str] = []
        """ "METHOD /path?query", in the order of their arrival."""
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Begun] = {}
        self._lock = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds it."""
        return {**servers.environment(self.endpoint_url), "AWS_MAX_ATTEMPTS": "1"}

    def tell(self, pattern: str, answer: str, message: str = "as told", **more: Any) -> None:
        """Answer like this from now on, before what it was told earlier."""
        self.told.insert(0, Told(pattern, answer, message, **more))

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def put(self, key: str, body: bytes = b"") -> None:
        """An object of somebody else."""
        self.objects[key] = Stored(body, hashlib.md5(body).hexdigest())

    def answer(self, request: Request, line: str) -> Answer:
        with self._lock:
            self.requests.append(line)
            told = next((each for each in self.told if each.times > 0 and re.search(each.pattern, line)), None)
            if told is None or told.acts:
                try:
                    answer = self._act(request)
                except RefusedError as error:
                    answer = error.answer
            if told is not None:
                told.times -= 1
                status, _, code = told.answer.partition(" ")
                answer = refusal(int(status), code, told.message, for_credentials=line == "POST /")
                answer.headers.update(told.headers)
            if self.quirks.lacks:
                answer.body = re.sub(rf"<{self.quirks.lacks}>.*?</{self.quirks.lacks}>".encode(), b"", answer.body)
            return answer

    def _act(self, request: Request) -> Answer:
        method, query = request.method, request.query
        if not request.key:
            if method == "GET":
                return self._list_uploads(query) if "uploads" in query else self._list(query)
            return Answer()
        if "uploadId" in query:
            if query["uploadId"] not in self.uploads:
                raise RefusedError(404, "NoSuchUpload")
            act = {"PUT": self._put_part, "POST": self._complete, "GET": self._list_parts, "DELETE": self._abort}
            return act[method](request)
        if method == "POST":
            return self._begin(request)
        if method == "PUT":
            return self._put(request)
        if method == "DELETE":
            self.objects.pop(request.key, None)
            return Answer(204)
        return self._get(request)

    def _get(self, request: Request) -> Answer:
        stored, sent = self._visible(request.key, seen=request.method == "HEAD"), request.headers
        if stored is None:
            raise RefusedError(404, "NoSuchKey")
        etag = self._tag(stored.etag)
        if sent.get("If-Match") not in (None, etag):
            raise RefusedError(412, "PreconditionFailed")
        headers = {"ETag": etag, "Last-Modified": format_datetime(stored.at, usegmt=True), **self._kept(stored.headers)}
        if sent.get("x-amz-checksum-mode") == "ENABLED":
            headers |= {f"x-amz-checksum-{name}": value for name, value in stored.checksums.items() if name != "md5"}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", sent.get("Range", "")):
            start, end, size = int(wanted[1]), int(wanted[2]) + 1, len(stored.body)
            if start >= size:
                raise RefusedError(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {start}-{min(end, size) - 1}/{size}"
            return Answer(206, self._without(headers), stored.body[start:end])
        return Answer(200, self._without(headers), stored.body)

    def _put(self, request: Request) -> Answer:
        self._refuse_taken(request)
        checksums = self._checked(request)
        stored = Stored(request.body, hashlib.md5(request.body).hexdigest(), self._noted(request), checksums)
        self.objects[request.key] = self._flipped(request.key, stored)
        return Answer(200, self._without({"ETag": self._tag(stored.etag)}))

    def _begin(self, request: Request) -> Answer:
        upload_id = f"upload-{len(self.requests)}"
        self.uploads[upload_id] = Begun(request.key, self._noted(request))
        return xml("InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>")

    def _put_part(self, request: Request) -> Answer:
        number, most = int(request.query["partNumber"]), self.quirks.max_parts
        if number > most:
            raise RefusedError(
                400, "InvalidArgument", f"Part number must be an integer between 1 and {most}, inclusive"
            )
        part = Stored(request.body, hashlib.md5(request.body).hexdigest(), {}, self._checked(request))
        self.uploads[request.query["uploadId"]].parts[number] = part
        return Answer(200, {"ETag": self._tag(part.etag)})

    def _complete(self, request: Request) -> Answer:
        begun = self.uploads[request.query["uploadId"]]
        if begun.key in self.objects and self.objects[begun.key].unseen:
            raise RefusedError(409, "OperationAborted", "A conflicting operation is in progress")
        self._refuse_taken(request)
        root = ElementTree.fromstring(request.body)
        named = [(int(text(part, "PartNumber")), text(part, "ETag")) for part in root.findall("{*}Part")]
        if any(self._tag(begun.parts[number].etag) != etag for number, etag in named if number in begun.parts):
            raise RefusedError(400, "InvalidPart", "an ETag does not match")
        if not named or any(number not in begun.parts for number, _ in named):
            raise RefusedError(400, "InvalidPart", "a part is missing")
        if self.quirks.equal_parts and len({len(begun.parts[number].body) for number, _ in named[:-1]}) > 1:
            raise RefusedError(400, "InvalidPart", "All non-trailing parts must have the same length.")
        stored = self._joined([begun.parts[number] for number, _ in named], begun.headers)
        stated = request.headers.get("x-amz-checksum-crc64nvme")
        if "crc64nvme" in self.quirks.compares and stated not in (None, stored.checksums.get("crc64nvme")):
            raise RefusedError(400, "BadDigest")
        self.objects[begun.key] = self._flipped(begun.key, stored)
        if self.quirks.settles_after:
            stored.unseen = self.quirks.settles_after
            return Answer(silent=True)
        del self.uploads[request.query["uploadId"]]
        return xml("CompleteMultipartUploadResult", f"<ETag>{escape(self._tag(stored.etag))}</ETag>")

    def _joined(self, parts: list[Stored], headers: dict[str, str]) -> Stored:
        body, checksums = b"".join(part.body for part in parts), {}
        if all("crc64nvme" in part.checksums for part in parts):
            checksums["crc64nvme"] = checksum_of("crc64nvme", body)
        if all("sha256" in part.checksums for part in parts):
            digests = b"".join(base64.b64decode(part.checksums["sha256"]) for part in parts)
            checksums["sha256"] = f"{checksum_of('sha256', digests)}-{len(parts)}"
        md5s = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest()
        return Stored(body, f"{md5s}-{len(parts)}", headers, checksums)

    def _abort(self, request: Request) -> Answer:
        del self.uploads[request.query["uploadId"]]
        return Answer(204)

    def _list(self, query: Mapping[str, str]) -> Answer:
        v2 = query.get("list-type") == "2" and not self.quirks.only_v1
        after = query.get("continuation-token") or query.get("start-after") if v2 else query.get("marker")
        after = None if self.quirks.stuck else after
        keys = sorted((key for key in self.objects if self._visible(key)), key=str.encode)
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > (after or "")]
        page, more = self._cut(keys, query.get("max-keys"))
        entries = ""
        for key in page:
            stored = self.objects[key]
            name = quote(key) if query.get("encoding-type") == "url" else escape(key)
            values = {"ETag": escape(self._tag(stored.etag)), "LastModified": moment(stored.at)}
            values |= {"Size": str(len(stored.body)), "StorageClass": "STANDARD"}
            entries += f"<Contents><Key>{name}</Key>{elements(self._without(values))}</Contents>"
        if more and v2 and self.quirks.tokens:
            entries += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"
        encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        return xml("ListBucketResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{encoding}{entries}")

    def _list_uploads(self, query: Mapping[str, str]) -> Answer:
        after = query.get("key-marker", ""), query.get("upload-id-marker", "")
        begun = sorted((each.key, upload_id) for upload_id, each in self.uploads.items())
        if self.quirks.exact_uploads:
            begun = [each for each in begun if each[0] == query.get("prefix")]
        begun = [each for each in begun if each[0].startswith(query.get("prefix", "")) and each > after]
        page, more = self._cut(begun, query.get("max-uploads"))
        entries = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId></Upload>" for key, upload_id in page
        )
        if more and self.quirks.tokens:
            key, upload_id = page[-1]
            entries += f"<NextKeyMarker>{escape(key)}</NextKeyMarker>"
            entries += f"<NextUploadIdMarker>{upload_id}</NextUploadIdMarker>"
        return xml("ListMultipartUploadsResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{entries}")

    def _list_parts(self, request: Request) -> Answer:
        begun, after = self.uploads[request.query["uploadId"]], int(request.query.get("part-number-marker", 0))
        page, more = self._cut([n for n in sorted(begun.parts) if n > after], request.query.get("max-parts"))
        entries = ""
        for number in page:
            part = begun.parts[number]
            values = {"ETag": escape(self._tag(part.etag)), "Size": str(len(part.body))}
            values |= {f"Checksum{name.upper()}": value for name, value in part.checksums.items() if name != "md5"}
            entries += f"<Part><PartNumber>{number}</PartNumber>{elements(self._without(values))}</Part>"
        if more and self.quirks.tokens:
            entries += f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>"
        return xml("ListPartsResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{entries}")

    def _cut(self, entries: list[Any], most: str | None) -> tuple[list[Any], bool]:
        size = min(self.quirks.page, int(most or ALWAYS))
        return entries[:size], len(entries) > size

    def _visible(self, key: str, *, seen: bool = False) -> Stored | None:
        stored = self.objects.get(key)
        if stored is None or not stored.unseen:
            return stored
        stored.unseen -= seen
        return None

    def _refuse_taken(self, request: Request) -> None:
        if "If-None-Match" not in request.headers or self.quirks.condition == "ignored":
            return
        if self.quirks.condition != "honoured":
            status, _, code = self.quirks.condition.partition(" ")
            raise RefusedError(int(status), code, "If-None-Match")
        if request.key in self.objects:
            raise RefusedError(412, "PreconditionFailed")

    def _checked(self, request: Request) -> dict[str, str]:
        """The checksums that the client stated, compared with what arrived."""
        sent = {name: request.headers.get(f"x-amz-checksum-{name}") for name in ("crc64nvme", "sha256")}
        stated = {name: value for name, value in {**sent, "md5": request.headers.get("Content-MD5")}.items() if value}
        for name, value in stated.items():
            if name in self.quirks.compares and value != checksum_of(name, request.body):
                raise RefusedError(400, "BadDigest")
        return stated

    def _flipped(self, key: str, stored: Stored) -> Stored:
        if self.quirks.flips is not None and stored.body and re.search(self.quirks.flips, key):
            corrupt = bytearray(stored.body)
            corrupt[len(corrupt) // 2] ^= 1
            stored.body = bytes(corrupt)
        return stored

    def _noted(self, request: Request) -> dict[str, str]:
        kept = {name.lower(): value for name, value in request.headers.items()}
        return {name: value for name, value in kept.items() if name.startswith(_META) or name == "x-amz-storage-class"}

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        kept = {}
        for name, value in headers.items():
            if name.startswith(_META) and self.quirks.metadata == "dropped":
                continue
            if name.startswith(_META) and self.quirks.metadata == "underscored":
                name = _META + name.removeprefix(_META).replace("-", "_")
            kept[name] = value
        return kept

    def _tag(self, etag: str) -> str:
        return f'W/"{etag}"' if self.quirks.weak else f'"{etag}"'

    def _without(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in values.items() if name.replace("-", "") not in self.quirks.omits}


Served = TypeVar("Served", bound=Endpoint)


def xml(root: str, inner: str) -> Answer:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return Answer(200, {"Content-Type": "application/xml"}, f'<{root} xmlns="{space}">{inner}</{root}>'.encode())


def elements(values: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


def text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextmanager
def quirky(kind: type[Served] = Endpoint, **quirks: Any) -> Iterator[Served]:  # type: ignore[assignment]
    """An endpoint with these quirks on a free loopback port. It has one bucket, which is empty."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            _, _, key = unquote(parts.path).lstrip("/").partition("/")
            request = Request(self.command, key, query, self.headers, body)
            answer = endpoint.answer(request, f"{self.command} {self.path}")
            if answer.silent:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        endpoint = kind(f"http://127.0.0.1:{listener.server_address[1]}", Quirks(**quirks))
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield endpoint
        finally:
            listener.shutdown()
            thread.join()
