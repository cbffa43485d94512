"""Uploads to S3: split into parts of one size, sent in parallel, and resumed after an interruption."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mgmt.choices import DEFAULT_PART_SIZE, MAX_PART_SIZE, MIN_PART_SIZE
from mgmt.errors import IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from mgmt.storage.checksums import Crc64Nvme, checksum, encoded, of_parts, of_whole
from mgmt.storage.etags import same_etag
from mgmt.storage.part_data import PartData, new_part
from mgmt.storage.publish import is_same, publish_once
from mgmt.storage.refusals import UnsupportedError
from mgmt.storage.store import Capabilities, Sent, StoredObject, Transfer

MIB = 1 << 20
BYTES_IN_FLIGHT = 128 * MIB
"""With large parts, fewer threads send at a time, but at least two, to stay below this in memory or on the disk."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is in the store."""

    number: int
    size: int
    etag: str
    checksum: bytes
    """Raw; empty where the endpoint's checksums are not trusted."""
    skipped: bool


@dataclass(frozen=True, slots=True)
class ListedPart:
    """A part of an interrupted upload, as the store lists it."""

    number: int
    size: int
    etag: str
    checksum: str | None
    """Base64, of the upload's algorithm, on endpoints that list it."""


class Requests(Protocol):
    """The requests that an upload makes. Every method raises errors of `mgmt.errors` only."""

    where: str
    """The full URL of the object."""

    def begin(self) -> str:
        """Create a multipart upload and return its id."""
        ...

    def stored_parts(self, upload_id: str) -> Iterable[ListedPart]:
        """List the parts in the store. Raises NotFoundError when the upload is gone."""
        ...

    def send(self, upload_id: str, number: int, data: PartData, checksum: bytes) -> str:
        """Store one part and return its ETag. Raises IntegrityError when the server received something else."""
        ...

    def complete(self, upload_id: str, parts: Sequence[Part], sent: Sent) -> None:
        """Complete the upload, if the key is free."""
        ...

    def put(self, data: PartData, checksum: bytes) -> None:
        """Store the object in one request, if its key is free."""
        ...

    def head(self) -> StoredObject | None:
        """The object under the key, or None."""
        ...

    def abort(self, upload_id: str) -> None:
        """Remove the upload and its parts, if it exists."""
        ...


def plan_part_size(planned_size: int, max_parts: int, wanted: int | None = None) -> int:
    """The part size in bytes, a multiple of 1 MiB unless `wanted` is large enough, for an object of `planned_size`.

    A stream may be slightly longer than planned, so one part in 32 is kept in reserve. Raises StoreError when no part
    size is large enough.
    """
    usable = max(1, max_parts - max_parts // 32)
    needed = -(-planned_size // usable)
    size = max(wanted or DEFAULT_PART_SIZE, MIN_PART_SIZE)
    if needed > size:
        size = -(-needed // MIB) * MIB
    if size > MAX_PART_SIZE:
        raise StoreError(f"{planned_size} bytes are too many for one object of {max_parts} parts")
    return size


_ABOUT_PARTS = re.compile(r"part ?number|number of parts|too many parts", re.IGNORECASE)


def part_limit(refusal: str, number: int) -> int | None:
    """The maximum number of parts that a `refusal` of part `number` tells; None when it is about something else."""
    if number < 2 or not _ABOUT_PARTS.search(refusal):
        return None
    stated = [each for each in map(int, re.findall(r"\d{1,6}", refusal)) if 1 < each < number]
    return max(stated, default=number - 1)


class MultipartUpload:
    """An `Upload` (see store.py). An object of a single part is kept, and sent by `complete` in one request."""

    def __init__(
        self,
        requests: Requests,
        metadata: Mapping[str, str],
        transfer: Transfer,
        endpoint: Capabilities,
        threads: int,
    ) -> None:
        self.part_size = part_size = transfer.part_size or DEFAULT_PART_SIZE
        self.parts_sent = 0
        self.parts_skipped = 0
        self._requests = requests
        self._metadata = metadata
        self._algorithm = endpoint.checksum
        self._max_parts = endpoint.max_parts
        self._in_flight = max(min(threads, BYTES_IN_FLIGHT // part_size), min(threads, 2))
        self._threads = ThreadPoolExecutor(self._in_flight, "part")
        self._resume = transfer.resume
        self._on_started = transfer.on_started
        self._on_sent = transfer.on_sent or (lambda _: None)
        self._on_limit = transfer.on_limit

        self._folder = transfer.folder
        self._part = new_part(part_size, self._folder)
        self._size = 0
        self._whole_md5 = hashlib.md5(usedforsecurity=False)
        self._whole_crc = Crc64Nvme()
        self._upload_id: str | None = None
        self._stored: dict[int, list[ListedPart]] = {}
        self._count = 0
        self._sending: dict[Future[Part], int] = {}
        self._parts: dict[int, Part] = {}
        self._small: PartData | None = None
        self._sent: Sent | None = None
        self._joined = False
        self._completed: StoredObject | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; blocks while the maximum number of parts is in flight."""
        if isinstance(data, memoryview):
            data = bytes(data)
        self._size += len(data)
        if self._algorithm != "crc64nvme":  # which is combined from the parts' checksums
            self._whole_crc.update(data)
        view = memoryview(data)
        while self._part.size + len(view) > self.part_size:  # the last part is cut by `finish`
            room = self.part_size - self._part.size
            self._append(view[:room])
            self._dispatch(self._cut())
            view = view[room:]
        self._append(view)

    def finish(self) -> Sent:
        """Wait until every part is stored; an object of one part is kept until `complete`."""
        if self._sent is None:
            if self._upload_id is None and self._resume is None:
                self._small = small = self._cut()
                self._sent = Sent(self._size, self._stated(self._checksum_of_small(small)), 1, self.part_size)
            else:
                self._dispatch(self._cut())
                self._collect(0)
                self._sent = Sent(self._size, self._stated(self._checksum_of_parts()), self._count, self.part_size)
            self.close()
        return self._sent

    def complete(self) -> StoredObject:
        """Publish the object; see `publish_once` for lost answers."""
        if self._completed is None:
            sent = self.finish()
            self._completed = publish_once(
                self._requests.where,
                head=self._requests.head,
                publish=self._publish,
                is_ours=lambda there: is_same(there, sent.size, self._metadata),
            )
            if not self._joined:  # an earlier run completed an upload of its own
                with suppress(StoreError):
                    self.abort()
            self._small = None
        return self._completed

    def abort(self) -> None:
        """Stop, and remove the parts that were sent."""
        self.close()
        upload_id = self._upload_id or self._resume
        if upload_id is not None and not self._joined:
            self._requests.abort(upload_id)

    def close(self) -> None:
        """Stop the threads after the parts in flight have arrived."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _publish(self) -> None:
        sent = self.finish()
        if self._upload_id is not None:
            try:
                self._requests.complete(self._upload_id, [self._parts[n] for n in sorted(self._parts)], sent)
            except UnsupportedError as error:
                self._learn_limit(error, self._count)
                raise
            self._joined = True
        elif self._small is not None:
            self._requests.put(self._small, self._checksum(self._small))
            self.parts_sent = 1
            self._on_sent(sent.size)

    def _append(self, data: memoryview) -> None:
        if data:
            self._part.append(data)

    def _cut(self) -> PartData:
        """Take the part that has been filled, and start the next one."""
        part, self._part = self._part, new_part(self.part_size, self._folder)
        part.complete()
        return part

    def _dispatch(self, data: PartData) -> None:
        """Send `data` as the next part, in another thread."""
        upload_id = self._upload_id or self._begin()
        self._count += 1
        if self._count > self._max_parts:
            raise StoreError(
                f"{self._requests.where} needs more than {self._max_parts} parts of {self.part_size} bytes",
                next_step="run the same command again: the size is known now",
            )
        if self._algorithm == "md5":
            for piece in data:
                self._whole_md5.update(piece)
        self._collect(self._in_flight - 1)
        self._sending[self._threads.submit(self._send, upload_id, self._count, data)] = self._count

    def _begin(self) -> str:
        """Resume the interrupted upload if it still exists; otherwise start a new one."""
        if self._resume is not None:
            try:
                for part in self._requests.stored_parts(self._resume):
                    self._stored.setdefault(part.number, []).append(part)
                self._upload_id = self._resume
                return self._resume
            except NotFoundError:
                self._stored.clear()
        self._upload_id = upload_id = self._requests.begin()
        if self._on_started is not None:
            self._on_started(upload_id, self.part_size)
        return upload_id

    def _collect(self, allowed: int) -> None:
        """Wait until at most `allowed` parts are in flight. Raises the error of a part that failed."""
        while len(self._sending) > allowed:
            for future in wait(self._sending, return_when=FIRST_COMPLETED).done:
                number = self._sending.pop(future)
                try:
                    part = future.result()
                except UnsupportedError as error:
                    self._learn_limit(error, number)
                    raise
                self._parts[part.number] = part
                self.parts_sent += not part.skipped
                self.parts_skipped += part.skipped

    def _learn_limit(self, error: UnsupportedError, number: int) -> None:
        """If part `number` was refused because there are too many, raise a StoreError that says what to do."""
        limit = part_limit(error.message.replace(self._requests.where, ""), number)
        if limit is None:
            return
        if self._on_limit is not None:
            self._on_limit(limit)
        raise StoreError(
            f"{self._requests.where} has more than {limit} parts, and its endpoint takes no more: {error.message}",
            next_step="run the same command again: it sends larger parts",
        ) from error

    def _send(self, upload_id: str, number: int, data: PartData) -> Part:
        raw = self._checksum(data)
        listed = self._find_stored(number, data, raw)
        etag = listed.etag if listed is not None else self._deliver(upload_id, number, data, raw)
        self._on_sent(data.size)
        return Part(number, data.size, etag, raw, skipped=listed is not None)

    def _deliver(self, upload_id: str, number: int, data: PartData, raw: bytes) -> str:
        try:
            return self._requests.send(upload_id, number, data, raw)
        except IntegrityError:  # corrupted in transit; retry once
            return self._requests.send(upload_id, number, data, raw)
        except NotFoundError as error:
            raise StoreUnavailableError(
                f"the upload of {self._requests.where} was removed from the store while it was in progress",
                next_step="run the same command again",
            ) from error
        except UnsupportedError as error:
            if number not in self._stored:
                raise
            self._requests.abort(upload_id)  # otherwise every later run would fail in the same way
            raise StoreUnavailableError(
                f"the source of {self._requests.where} has changed, and the store cannot replace sent parts",
                next_step="run the same command again to start over",
            ) from error

    def _find_stored(self, number: int, data: PartData, raw: bytes) -> ListedPart | None:
        """The stored part with the same content: by its listed checksum, or by an ETag that is its md5."""
        md5 = None
        for part in self._stored.get(number, ()):
            if part.size != data.size or not part.etag:  # without its ETag, the upload could not be completed
                continue
            if part.checksum is not None and raw:
                if part.checksum == encoded(raw):
                    return part
            else:
                md5 = md5 or checksum("md5", data).hex()
                if same_etag(part.etag, md5):
                    return part
        return None

    def _checksum(self, data: PartData) -> bytes:
        return checksum(self._algorithm, data) if self._algorithm else b""

    def _stated(self, checksum: str | None) -> str:
        if checksum is None:
            return str(self._whole_crc)
        return checksum if self._algorithm == "crc64nvme" else f"{checksum} {self._whole_crc}"

    def _checksum_of_small(self, small: PartData) -> str | None:
        return of_whole(self._algorithm, self._checksum(small)) if self._algorithm else None

    def _checksum_of_parts(self) -> str | None:
        if self._algorithm is None:
            return None
        parts = [(self._parts[number].checksum, self._parts[number].size) for number in sorted(self._parts)]
        return of_parts(self._algorithm, parts, self._whole_md5.hexdigest())
