"""A small catalog of the studio that does not exist, for screenshots of `mgmt browse`."""

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256

from demo.studio import NOW, PARTS, PRODUCTIONS
from mgmt.archive.member import Member
from mgmt.catalog import Catalog, FileRecord, FileStatus, Location, Role, UploadRecord, open_catalog

STORE = "s3://studio-archive/film"
GiB = 1 << 30


def fill(url: str) -> None:
    """Create the catalog at `url`."""
    chance = random.Random(1895)  # noqa: S311 - made up, on purpose
    with closing(open_catalog(url)) as catalog:
        for number, production in enumerate(PRODUCTIONS):
            for part in chance.sample(PARTS, 3):
                _archive(catalog, chance, f"{production}-{part}", NOW - timedelta(days=40 * (10 - number)))


def _archive(catalog: Catalog, chance: random.Random, name: str, when: datetime) -> None:
    key, size = f"{name}.tar.gz", chance.randrange(3, 90) * GiB
    with catalog.journal.record(UploadRecord(target_path=f"/ingest/{name}", store=STORE, s3_object_key=key)) as upload:
        archive = catalog.metadata.save_file_record(
            FileRecord(
                path=key, s3_object_key=key, location=Location.S3, store=STORE, status=FileStatus.COMPLETED, size=size,
                original_size=round(size * 1.07), storage_class="DEEP_ARCHIVE", digest=sha256(key.encode()).hexdigest(),
                proof="server-checksum", proven_at=when, modified_at=when, operation_id=upload.operation_id,
                tags={"production": name.rpartition("-")[0]},
            )
        )  # fmt: skip
        catalog.journal.link(upload, archive, Role.ARCHIVE)
        archive.member_count = catalog.members.record(archive.id, _members(chance, name, when))


def _members(chance: random.Random, name: str, when: datetime) -> Iterator[Member]:
    modified = int(when.timestamp()) * 10**9

    def member(path: str, kind: str, size: int = 0) -> Member:
        return Member(path, kind, 0o644, modified, size, 0, 512, None, None)  # type: ignore[arg-type]

    yield member(name, "d")
    for day in ("day-01", "day-02", "day-03"):
        yield member(f"{name}/{day}", "d")
        for clip in range(1, 9):
            yield member(f"{name}/{day}/{name[0].upper()}{day[-2:]}_C{clip:03}.mov", "f", chance.randrange(1, 4 * GiB))
        yield member(f"{name}/{day}/report.pdf", "f", 180_000)
