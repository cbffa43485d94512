"""One object on its way into S3: cut into parts of one size, sent in parallel, taken up again after an interruption."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from mgmt.choices import DEFAULT_PART_SIZE, MAX_PART_SIZE, MIN_PART_SIZE
from mgmt.errors import IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from mgmt.storage.checksums import Crc64Nvme, Data, checksum, encoded, of_parts, of_whole
from mgmt.storage.publish import is_same, publish_once
from mgmt.storage.refusals import UnsupportedError
from mgmt.storage.store import Capabilities, Sent, StoredObject, Transfer

MIB = 1 << 20
SMALL_PIECE = MIB // 4
"""Pieces that are smaller on average are joined: each is a system call of its own, and a copy is cheaper."""

BYTES_IN_FLIGHT = 128 * MIB
"""Where parts are so large that the threads would hold more than this, fewer are sent at a time (but never one)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the store holds."""

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
    """What an upload asks of its endpoint. Every method raises errors of `mgmt.errors` only."""

    where: str
    """The full URL of the object."""

    def begin(self) -> str:
        """Create a multipart upload and return its id."""
        ...

    def stored_parts(self, upload_id: str) -> Iterable[ListedPart]:
        """List what is there. NotFoundError when the upload is gone."""
        ...

    def send(self, upload_id: str, number: int, data: Sequence[Data], checksum: bytes) -> str:
        """Store one part and return its ETag. IntegrityError when the server got something else."""
        ...

    def complete(self, upload_id: str, parts: Sequence[Part], sent: Sent) -> None:
        """Join the parts under the key, if it is free."""
        ...

    def put(self, data: Sequence[Data], checksum: bytes) -> None:
        """Store the object in one request, if its key is free."""
        ...

    def head(self) -> StoredObject | None:
        """What is under the key; None if nothing is."""
        ...

    def abort(self, upload_id: str) -> None:
        """Remove the upload and its parts, if it is there."""
        ...


def plan_part_size(planned_size: int, max_parts: int, wanted: int | None = None) -> int:
    """The part size in bytes, a multiple of 1 MiB unless `wanted` is large enough, for an object of `planned_size`.

    A stream may become a little longer than planned: one part in 32 is kept in reserve. Raises StoreError when no
    part size is large enough.
    """
    usable = max(1, max_parts - max_parts // 32)
    needed = -(-planned_size // usable)
    size = max(wanted or DEFAULT_PART_SIZE, MIN_PART_SIZE)
    if needed > size:
        size = -(-needed // MIB) * MIB
    if size > MAX_PART_SIZE:
        raise StoreError(f"{planned_size} bytes are more than one object can have in {max_parts} parts")
    return size


class MultipartUpload:
    """An `Upload` (see store.py). What fits one part is kept, and sent by `complete` in one request."""

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

        self._buffer: list[Data] = []
        self._buffered = 0
        self._size = 0
        self._whole_md5 = hashlib.md5(usedforsecurity=False)
        self._whole_crc = Crc64Nvme()
        self._upload_id: str | None = None
        self._stored: dict[int, list[ListedPart]] = {}
        self._count = 0
        self._sending: set[Future[Part]] = set()
        self._parts: dict[int, Part] = {}
        self._small: list[Data] = []
        self._sent: Sent | None = None
        self._joined = False
        self._completed: StoredObject | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; waits while as many parts as may be are in flight."""
        if isinstance(data, memoryview):
            data = bytes(data)
        self._size += len(data)
        if self._algorithm != "crc64nvme":  # else it is combined from that of the parts
            self._whole_crc.update(data)
        view = memoryview(data)
        while self._buffered + len(view) > self.part_size:  # only a part that has a successor is cut off here
            room = self.part_size - self._buffered
            self._append(view[:room])
            self._dispatch(self._cut())
            view = view[room:]
        self._append(view)

    def finish(self) -> Sent:
        """Wait until every part is stored; an object of one part is held in memory until `complete`."""
        if self._sent is None:
            if self._upload_id is None and self._resume is None:
                self._small = self._cut()
                self._sent = Sent(self._size, self._stated(self._checksum_of_small()), 1, self.part_size)
            else:
                self._dispatch(self._cut())
                self._collect(0)
                self._sent = Sent(self._size, self._stated(self._checksum_of_parts()), self._count, self.part_size)
            self.close()
        return self._sent

    def complete(self) -> StoredObject:
        """Make the object appear; see `publish_once` for what happens to lost answers."""
        if self._completed is None:
            sent = self.finish()
            self._completed = publish_once(
                self._requests.where,
                head=self._requests.head,
                publish=self._publish,
                is_ours=lambda there: is_same(there, sent.size, self._metadata),
            )
            if not self._joined:  # an earlier run had completed an upload of its own
                self.abort()
            self._small = []
        return self._completed

    def abort(self) -> None:
        """Stop, and remove what was sent."""
        self.close()
        upload_id = self._upload_id or self._resume
        if upload_id is not None and not self._joined:
            self._requests.abort(upload_id)

    def close(self) -> None:
        """Stop the threads; parts that are on their way arrive first."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _publish(self) -> None:
        sent = self.finish()
        if self._upload_id is not None:
            self._requests.complete(self._upload_id, [self._parts[n] for n in sorted(self._parts)], sent)
            self._joined = True
        else:
            self._requests.put(self._small, self._checksum(self._small))
            self.parts_sent = 1
            self._on_sent(sent.size)

    def _append(self, data: Data) -> None:
        if data:
            self._buffer.append(data)
            self._buffered += len(data)

    def _cut(self) -> list[Data]:
        """The pieces of the part that is buffered, which starts empty again."""
        pieces, size = self._buffer, self._buffered
        self._buffer, self._buffered = [], 0
        return [b"".join(pieces)] if size < len(pieces) * SMALL_PIECE else pieces

    def _dispatch(self, data: list[Data]) -> None:
        """Send `data` as the next part, from a thread of its own."""
        upload_id = self._upload_id or self._begin()
        self._count += 1
        if self._count > self._max_parts:
            raise StoreError(
                f"{self._requests.where} needs more than {self._max_parts} parts of {self.part_size} bytes",
                next_step="run the same command again, now that the size is known",
            )
        if self._algorithm == "md5":
            for piece in data:
                self._whole_md5.update(piece)
        self._collect(self._in_flight - 1)
        self._sending.add(self._threads.submit(self._send, upload_id, self._count, data))

    def _begin(self) -> str:
        """The interrupted upload, if it is still there, or else a new one."""
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
        """Wait until at most `allowed` parts are in flight. Raises what a part raised."""
        while len(self._sending) > allowed:
            done, self._sending = wait(self._sending, return_when=FIRST_COMPLETED)
            for future in done:
                part = future.result()
                self._parts[part.number] = part
                self.parts_sent += not part.skipped
                self.parts_skipped += part.skipped

    def _send(self, upload_id: str, number: int, data: list[Data]) -> Part:
        size = sum(map(len, data))
        raw = self._checksum(data)
        listed = self._find_stored(number, size, data, raw)
        etag = listed.etag if listed is not None else self._deliver(upload_id, number, data, raw)
        self._on_sent(size)
        return Part(number, size, etag, raw, skipped=listed is not None)

    def _deliver(self, upload_id: str, number: int, data: list[Data], raw: bytes) -> str:
        try:
            return self._requests.send(upload_id, number, data, raw)
        except IntegrityError:  # damaged on its way: once is bad luck
            return self._requests.send(upload_id, number, data, raw)
        except NotFoundError as error:
            raise StoreUnavailableError(
                f"the upload of {self._requests.where} was removed from the store while it was under way",
                next_step="run the same command again",
            ) from error
        except UnsupportedError as error:
            if number not in self._stored:
                raise
            self._requests.abort(upload_id)  # or every later run would come to the same end
            raise StoreUnavailableError(
                f"the source of {self._requests.where} has changed, and the store cannot replace what was sent of it",
                next_step="run the same command again, to begin anew",
            ) from error

    def _find_stored(self, number: int, size: int, data: list[Data], raw: bytes) -> ListedPart | None:
        """The stored part that is this one: by its listed checksum, else by an ETag that is its md5."""
        md5 = None
        for part in self._stored.get(number, ()):
            if part.size == size and part.checksum is not None and raw:
                if part.checksum == encoded(raw):
                    return part
            elif part.size == size:
                md5 = md5 or checksum("md5", data).hex()
                if part.etag == md5:
                    return part
        return None

    def _checksum(self, data: list[Data]) -> bytes:
        return checksum(self._algorithm, data) if self._algorithm else b""

    def _stated(self, checksum: str | None) -> str:
        if checksum is None:
            return str(self._whole_crc)
        return checksum if self._algorithm == "crc64nvme" else f"{checksum} {self._whole_crc}"

    def _checksum_of_small(self) -> str | None:
        return of_whole(self._algorithm, self._checksum(self._small)) if self._algorithm else None

    def _checksum_of_parts(self) -> str | None:
        if self._algorithm is None:
            return None
        parts = [(self._parts[number].checksum, self._parts[number].size) for number in sorted(self._parts)]
        return of_parts(self._algorithm, parts, self._whole_md5.hexdigest())
