"""An S3 server that copies objects onto themselves, keeps their tags and locks, and has lifecycle rules."""

import hashlib
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

from mgmt.storage.s3_probe import PROBED_OBJECT
from tests.glacier import FROZEN, Glacier
from tests.quirks import Answer, RefusedError, Request, Stored, checksum_of, elements, text, xml

_LOCK = "x-amz-object-lock-"


class Mover(Glacier):
    """What it copies has checksums of its own, computed from what it holds then."""

    at_copy: Callable[[], None] | None = None
    """Called once, between the reading of a source and the moment at which its copy gets the key, in either way."""
    target_condition: str = "honoured"
    """If-Match on what a copy replaces: or `ignored`, or the refusal, as in `501 NotImplemented`."""
    object_lock: bool = False
    """Whether the bucket has it: a HEAD does not show locks then, as to credentials that may not see them."""
    shows_locks: bool = True
    """Whether the requests about locks tell them."""
    rules: str | None = None
    """Its lifecycle rules, in XML; or the refusal to tell them, as in `403 AccessDenied`."""

    def tags(self, key: str) -> dict[str, str]:
        return dict(parse_qsl(self.objects[key].headers.get("x-amz-tagging", ""), keep_blank_values=True))

    def _act(self, request: Request) -> Answer:
        if not request.key and "lifecycle" in request.query:
            return self._lifecycle()
        if self.object_lock and {"object-lock", "retention", "legal-hold"} & set(request.query):
            return self._locks(request)
        if "tagging" in request.query:
            return self._tagging(request)
        if request.method == "PUT" and "x-amz-copy-source" in request.headers:
            return self._copy_part(request) if "uploadId" in request.query else self._copy(request)
        if "uploadId" in request.query and request.method == "POST" and request.headers.get("If-Match"):
            self._refuse_replaced(request)
        answer = super()._act(request)
        if request.method == "POST" and "uploadId" in request.query:
            self._all().pop(request.key, None)
        return answer

    def _noted(self, request: Request) -> dict[str, str]:
        kept = {name.lower(): value for name, value in request.headers.items()}
        return super()._noted(request) | {
            name: value for name, value in kept.items() if name == "x-amz-tagging" or name.startswith(_LOCK)
        }

    def _get(self, request: Request) -> Answer:
        answer = super()._get(request)
        if self.object_lock:
            answer.headers = {name: value for name, value in answer.headers.items() if not name.startswith(_LOCK)}
        return answer

    def _locks(self, request: Request) -> Answer:
        if not request.key:
            return xml("ObjectLockConfiguration", "<ObjectLockEnabled>Enabled</ObjectLockEnabled>")
        if not self.shows_locks:
            raise RefusedError(403, "AccessDenied")
        locks = self.objects[request.key].headers
        if "legal-hold" in request.query and f"{_LOCK}legal-hold" in locks:
            return xml("LegalHold", elements({"Status": locks[f"{_LOCK}legal-hold"]}))
        if "retention" in request.query and f"{_LOCK}mode" in locks:
            until = locks[f"{_LOCK}retain-until-date"]
            return xml("Retention", elements({"Mode": locks[f"{_LOCK}mode"], "RetainUntilDate": until}))
        raise RefusedError(404, "NoSuchObjectLockConfiguration")

    def _source(self, request: Request) -> Stored:
        _, _, key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        if key not in self.objects:
            raise RefusedError(404, "NoSuchKey")
        there = self.objects[key]
        if request.headers.get("x-amz-copy-source-if-match") not in (None, self._tag(there.etag)):
            raise RefusedError(412, "PreconditionFailed")
        thaw = self._all().get(key)
        if self._class(key) in FROZEN and (thaw is None or thaw.until is None):
            raise RefusedError(403, "ObjectNotInActiveTierError", "The source object is not in the active tier")
        return there

    def _refuse_replaced(self, request: Request) -> None:
        if self.at_copy is not None and not request.key.endswith(PROBED_OBJECT):
            meanwhile, self.at_copy = self.at_copy, None
            self._lock.release()
            try:
                meanwhile()
            finally:
                self._lock.acquire()
        if "If-Match" not in request.headers or self.target_condition == "ignored":
            return
        if self.target_condition != "honoured":
            status, _, code = self.target_condition.partition(" ")
            raise RefusedError(int(status), code, "If-Match")
        there = self.objects.get(request.key)
        if there is None or request.headers["If-Match"] != self._tag(there.etag):
            raise RefusedError(412, "PreconditionFailed")

    def _copy(self, request: Request) -> Answer:
        there, new = self._source(request), request.headers.get("x-amz-storage-class", "STANDARD")
        self._refuse_replaced(request)
        keeps_metadata = request.headers.get("x-amz-metadata-directive") != "REPLACE"
        if keeps_metadata and new == there.headers.get("x-amz-storage-class", "STANDARD"):
            raise RefusedError(400, "InvalidRequest", "This copy request is illegal")
        # Locks are kept only if the request has them.
        headers = {name: value for name, value in there.headers.items() if not name.startswith(_LOCK)}
        headers |= {name: value for name, value in self._noted(request).items() if name != "x-amz-tagging"}
        copy = self._flipped(request.key, Stored(there.body, "", headers))
        copy.etag = hashlib.md5(copy.body).hexdigest()
        copy.checksums = {"crc64nvme": checksum_of("crc64nvme", copy.body)}
        self.objects[request.key] = copy
        self._all().pop(request.key, None)
        return xml("CopyObjectResult", f"<ETag>&quot;{copy.etag}&quot;</ETag>")

    def _copy_part(self, request: Request) -> Answer:
        there = self._source(request)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["x-amz-copy-source-range"])
        assert wanted is not None
        body = there.body[int(wanted[1]) : int(wanted[2]) + 1]
        part = Stored(body, hashlib.md5(body).hexdigest(), {}, {"crc64nvme": checksum_of("crc64nvme", body)})
        self.uploads[request.query["uploadId"]].parts[int(request.query["partNumber"])] = part
        values = {"ETag": f"&quot;{part.etag}&quot;", "ChecksumCRC64NVME": part.checksums["crc64nvme"]}
        return xml("CopyPartResult", elements(values))

    def _tagging(self, request: Request) -> Answer:
        if request.key not in self.objects:
            raise RefusedError(404, "NoSuchKey")
        if request.method == "GET":
            found = self.tags(request.key).items()
            tags = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in found)
            return xml("Tagging", f"<TagSet>{tags}</TagSet>")
        sent = {
            text(each, "Key"): text(each, "Value")
            for each in ElementTree.fromstring(request.body).iter()
            if each.tag.endswith("}Tag")
        }
        self.objects[request.key].headers["x-amz-tagging"] = "&".join(f"{key}={value}" for key, value in sent.items())
        return Answer(200)

    def _lifecycle(self) -> Answer:
        if self.rules is None:
            raise RefusedError(404, "NoSuchLifecycleConfiguration")
        if not self.rules.startswith("<"):
            status, _, code = self.rules.partition(" ")
            raise RefusedError(int(status), code)
        return xml("LifecycleConfiguration", self.rules)
