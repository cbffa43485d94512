"""An S3 server that freezes as Amazon does, where moto does not: 409, refused tiers, expiry. A test thaws."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from xml.etree import ElementTree

from tests.quirks import Answer, Endpoint, RefusedError, Request, text

FROZEN = ("GLACIER", "DEEP_ARCHIVE")


@dataclass
class Thaw:
    """A restore that the server is at, or the copy that it has made."""

    days: int
    tier: str
    until: datetime | None = None
    """None while it is at it."""


class Glacier(Endpoint):
    """Objects of the classes `FROZEN` cannot be read until they are restored."""

    thaws: dict[str, Thaw]
    """By key."""

    def thaw(self) -> None:
        """Complete every restore that the server is at."""
        for each in self._all().values():
            each.until = each.until or datetime.now(UTC) + timedelta(days=each.days)

    def expire(self) -> None:
        """Remove the copies that it has made."""
        for key in [key for key, each in self._all().items() if each.until is not None]:
            del self._all()[key]

    def freeze(self, storage_class: str = "DEEP_ARCHIVE") -> None:
        """Move every archive to this class, as a lifecycle rule does."""
        for key, stored in self.objects.items():
            if key.endswith(".tar.gz"):
                stored.headers["x-amz-storage-class"] = storage_class

    def _all(self) -> dict[str, Thaw]:
        if not hasattr(self, "thaws"):
            self.thaws = {}
        return self.thaws

    def _act(self, request: Request) -> Answer:
        if request.method == "POST" and "restore" in request.query:
            return self._restore(request)
        return super()._act(request)

    def _class(self, key: str) -> str:
        stored = self.objects.get(key)
        return "" if stored is None else stored.headers.get("x-amz-storage-class", "")

    def _restore(self, request: Request) -> Answer:
        if request.key not in self.objects:
            raise RefusedError(404, "NoSuchKey")
        storage_class, asked = self._class(request.key), ElementTree.fromstring(request.body)
        if storage_class not in FROZEN:
            raise RefusedError(403, "InvalidObjectState", "Restore is not allowed for the object's current class")
        job = asked.find("{*}GlacierJobParameters")
        tier = "Standard" if job is None else text(job, "Tier")
        if tier not in ("Standard", "Bulk", *(("Expedited",) if storage_class == "GLACIER" else ())):
            raise RefusedError(400, "InvalidArgument", "the tier is not supported for this class")
        present = self._all().get(request.key)
        if present is not None and present.until is None:
            raise RefusedError(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
        days = int(text(asked, "Days"))
        if present is not None:
            present.until = datetime.now(UTC) + timedelta(days=days)
            return Answer(200)
        self._all()[request.key] = Thaw(days, tier)
        return Answer(202)

    def _get(self, request: Request) -> Answer:
        thaw = self._all().get(request.key)
        if self._class(request.key) in FROZEN and request.method == "GET" and (thaw is None or thaw.until is None):
            raise RefusedError(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        answer = super()._get(request)
        if thaw is not None and thaw.until is None:
            answer.headers["x-amz-restore"] = 'ongoing-request="true"'
        elif thaw is not None and thaw.until is not None:
            until = format_datetime(thaw.until, usegmt=True)
            answer.headers["x-amz-restore"] = f'ongoing-request="false", expiry-date="{until}"'
        return answer
