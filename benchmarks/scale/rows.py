"""The rows of a large catalog: uploads, one after another, as mgmt records them. The same number gives the same rows.

The members of the first GENERATED archives are generated here; those of all others are copies of them under other
roots, which a database makes ten times as fast (see fill.py).

Times are UTC text, JSON is text, as in SQLite. A batch is as many uploads as one seal lists, and needs no other batch.
"""

import json
import random
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from benchmarks.collection import archive
from mgmt.archive.member import Member
from mgmt.catalog.audit.canonical import FORMAT, dumps, plain_time

BATCH = 1_000
"""Uploads in a batch."""

GENERATED = 100_000

STORE = "file:///srv/bench/archive"
HOST = "nas"
DEPTH = 8
"""More than an archive has folders above its members: directories of a batch have ids of their own."""

BEGAN = datetime(2016, 11, 28, tzinfo=UTC)
EVERY = timedelta(days=1) / 1_000
"""The time from one upload to the next: a thousand a day."""

Values = tuple[object, ...]

FILES = (
    "id, name, path, location, host, store, size, is_directory, mime_type, modified_at, checksum, tags, status,"
    " s3_object_key, etag, object_checksum, index_key, archive_id, digest, kept, original_size, member_count, proof,"
    " proven_at, operation_id, recorded_at"
)
COLUMNS = {
    table: tuple(each.strip() for each in columns.split(","))
    for table, columns in {
        # What belongs to an operation comes before it: nothing can be added to one that has finished.
        "uploads": "operation_id, compression_type, original_size, compressed_size, s3_object_key, checksum_original,"
        " checksum_compressed, checksum_s3_etag, completed_dir_path, store, index_key, requested_key, part_size, parts,"
        " proof, digest, source_state, root_ctime_ns, file_count, folder_count, link_count, skipped_count, kept",
        "operation_files": "operation_id, file_id, role",
        "operations": "operation_id, operation_type, target_path, target_name, started_at, completed_at, status,"
        " result_path, metadata, user, command_args, seq, stage, claim, owner, host, mgmt_version, sha256, seal",
        "files": FILES,
        "directories": "id, path",
        "directory_archives": "directory_id, archive_id",
        "members": "id, archive_id, directory_id, name, type, mode, size, mtime_ns, header_offset, data_offset, sha256",
        "member_ranges": "archive_id, first_id, last_id",
        "seals": "sequence, sealed_at, operations, previous, digest",
    }.items()
}
"""The columns of the rows by table, in the order in which tables are filled. Others are NULL."""

_JSON = ("metadata", "command_args")
_TIMES = ("started_at", "completed_at")
_NO_FACT = ("sha256", "seal")


class Batch(NamedTuple):
    """The rows by table, without the seal, which contains the digest of the one before."""

    number: int
    rows: dict[str, list[Values]]
    listed: str
    """The operations as the seal lists them."""
    sealed_at: str


class Names(NamedTuple):
    """What names the archive with this number, for searches."""

    key: str
    target: str
    operation_id: str


def batch(number: int, members: int) -> Batch:
    """Batch `number`, from 0 on, of archives with `members` members each."""
    rows: dict[str, list[Values]] = defaultdict(list)
    listed = []
    first = number * BATCH
    directories = _Directories(2 + first * (members + DEPTH), {"": 1})
    if first == 0:
        rows["directories"].append((1, ""))
    for each in range(first, first + BATCH):
        upload = _Upload(each, members)
        digest = upload.add_to(rows)
        listed.append((each + 1, upload.operation_id, digest.hex()))
        _add_members(rows, upload, directories)
    rows["directories"] += ((id_, path) for path, id_ in directories.ids.items() if path)
    return Batch(number, dict(rows), dumps(listed), _time(BEGAN + EVERY * (first + BATCH)))


def names(number: int, members: int) -> Names:
    """The names of archive `number`."""
    upload = _Upload(number, members)
    return Names(upload.key, upload.target, upload.operation_id)


class _Upload:
    """Upload `number`, from 0 on: three files, and what links them to the operation."""

    def __init__(self, number: int, members: int) -> None:
        chance = random.Random(-number - 1)
        self.number, self.members = number, members
        self.facts = list(archive(number, members if members > 0 and number < GENERATED else 1))
        self.operation_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        self.user = "zoe" if number % 200_000 == 7 else chance.choice(("ann", "ben", "chiara"))
        self.name = self.facts[0].path
        self.key = f"{self.user}/{self.name}.tar.gz"
        self.target = f"/home/{self.user}/{('photos', 'phones', 'projects', 'papers')[number % 4]}/{self.name}"
        self.archive_id = 3 * number + 2
        self._chance = chance

    def add_to(self, rows: dict[str, list[Values]]) -> bytes:
        """Add all but the members; returns the hash of the operation."""
        chance, number, id_ = self._chance, self.number, self.operation_id
        began = BEGAN + EVERY * number
        at, ended = _time(began), _time(began + timedelta(seconds=40))
        size = sum(each.size for each in self.facts) or chance.randrange(10**9)
        stored = size // 2 + 300
        digest, etag = chance.randbytes(32).hex(), chance.randbytes(16)
        checksum = f"crc64nvme:{chance.randbytes(6).hex()}"
        index = f"{self.key}.{id_.replace('-', '')[:12]}.index.jsonl.gz"
        completed = f"/home/{self.user}/completed/{self.name}"
        status = "partial" if number % 97 == 5 else "success"
        freed = "deleted" if number % 10 else "completed"
        tags = json.dumps(_tags(number))
        state = f"{chance.randbytes(32).hex()} {chance.randbytes(32).hex()}"
        operation: Values = (
            id_, "upload", self.target, self.name, at, ended, status, f"{STORE}/{self.key}",
            '{"parts_sent": 1, "parts_skipped": 0}', self.user,
            '{"level": "fast", "proof": "auto", "on_conflict": "error"}', number + 1, "proven",
            f"{HOST}:{self.target}", f"{HOST}/{uuid.UUID(int=number)}+4026531836/{number % 32768}/1", HOST, "0.1.0",
        )  # fmt: skip
        upload: Values = (
            id_, "gzip", size, stored, self.key, digest, checksum, etag.hex(), completed, STORE, index, self.key,
            8 << 20, stored // (8 << 20) + 1, "server-checksum", digest, state, 1_480_000_000_000_000_000 + number,
            self.members, 1, 0, 0, "",
        )  # fmt: skip
        source = number * 3 + 1
        rows["uploads"].append(upload)
        links: list[tuple[object, ...]] = []
        for file_id, role, location, where, path in (
            (source, "source", "local", HOST, self.target),
            (source + 1, "archive", "s3", STORE, self.key),
            (source + 2, "completed", "completed", HOST, completed),
        ):
            rows["operation_files"].append((id_, file_id, role))
            links.append((role, location, where, path, None))
            is_archive = location == "s3"
            rows["files"].append((
                file_id, path.rpartition("/")[2], path, location, None if is_archive else HOST,
                STORE if is_archive else None, stored if is_archive else size, 0 if is_archive else 1,
                "application/gzip" if is_archive else None, at, checksum if is_archive else digest,
                tags if is_archive else "{}",
                "completed" if is_archive else "deleted" if location == "local" else freed,
                *((self.key, etag.hex(), checksum, index, id_) if is_archive else (None,) * 5), digest, "", size,
                *((self.members, "server-checksum", ended) if is_archive else (None,) * 3), id_, ended,
            ))  # fmt: skip
        hashed = sha256(_text(operation, upload, links)).digest()
        rows["operations"].append((*operation, hashed, number // BATCH + 1))
        return hashed


class _Directories:
    """Ids of directories. Only the root of all is in more than one archive."""

    def __init__(self, first: int, ids: dict[str, int]) -> None:
        self._next = first
        self.ids = ids

    def id_of(self, path: str) -> int:
        found = self.ids.get(path)
        if found is None:
            found = self.ids[path] = self._next
            self._next += 1
        return found


def _add_members(rows: dict[str, list[Values]], upload: _Upload, directories: _Directories) -> None:
    if not upload.members or upload.number >= GENERATED:
        return
    first = upload.number * upload.members + 1
    inside: dict[int, None] = {}
    for id_, fact in enumerate(upload.facts, first):
        folder, _, name = fact.path.rpartition("/")
        directory = directories.id_of(folder)
        inside[directory] = None
        rows["members"].append((id_, upload.archive_id, directory, name, *_numbers(fact)))
    rows["directory_archives"] += ((directory, upload.archive_id) for directory in sorted(inside))
    rows["member_ranges"].append((upload.archive_id, first, first + upload.members - 1))


def _numbers(fact: Member) -> Values:
    return fact.type, fact.mode, fact.size, fact.mtime_ns, fact.header_offset, fact.data_offset, fact.sha256


def _tags(number: int) -> dict[str, str]:
    tags = {"year": str((BEGAN + EVERY * number).year)} if number % 10 == 0 else {}
    return {**tags, "case": "42"} if number % 20_000 == 11 else tags


def _text(operation: Values, upload: Values, links: list[Values]) -> bytes:
    """The canonical text that is hashed (mgmt/catalog/audit/canonical.py)."""
    facts = dict(_facts("operations", operation))
    more = dict(_facts("uploads", upload))
    del more["operation_id"]
    return dumps({"format": FORMAT, "operations": facts, "uploads": more, "files": sorted(links, key=dumps)}).encode()


def _facts(table: str, values: Values) -> Iterator[tuple[str, object]]:
    for name, value in zip((each for each in COLUMNS[table] if each not in _NO_FACT), values, strict=True):
        if name in _TIMES:
            yield name, plain_time(value)
        elif name in _JSON:
            yield name, json.loads(str(value))
        elif value is not None:
            yield name, value


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
