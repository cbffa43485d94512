"""Buckets that keep versions, with or without object lock."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.catalogs import SQLITE, Catalogs
from tests.program import Program
from tests.servers import Server


@dataclass(frozen=True)
class Versioned:
    """A program whose store is a versioned bucket, and the bucket as S3 shows it."""

    program: Program
    bucket: str
    client: Any

    def key(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"archive/{key}"}

    def versions(self, ending: str = "") -> list[tuple[str, str]]:
        """The keys and ids of all versions that hold an object."""
        return self._listed("Versions", ending)

    def markers(self, ending: str = "") -> list[tuple[str, str]]:
        return self._listed("DeleteMarkers", ending)

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return sorted(str(each["Key"]).removeprefix("archive/") for each in listed)

    def _listed(self, kind: str, ending: str) -> list[tuple[str, str]]:
        listed = self.client.list_object_versions(Bucket=self.bucket).get(kind, [])
        found = [(str(each["Key"]).removeprefix("archive/"), str(each["VersionId"])) for each in listed]
        return [each for each in found if each[0].endswith(ending)]

    def upload(self, name: str = "notes", *options: str, content: str = "one") -> dict[str, Any]:
        (self.program.work / name).write_text(content)
        [record] = self.program.json("upload", name, *options)
        return dict(record)

    def archive(self, name: str = "notes.tar.gz") -> dict[str, Any]:
        return dict(self.program.json("status", name)["file"])


def versioned(home: Path, server: Server, *, locks: bool = False, catalogs: Catalogs = SQLITE) -> Versioned:
    """A program with a bucket of its own on `server`, perhaps with object lock."""
    client, bucket = server.client(), f"versioned-{uuid4().hex}"
    server.create_bucket(bucket, ObjectLockEnabledForBucket=locks)
    if not locks:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Versioned(Program(home, f"s3://{bucket}/archive", server.environment, catalogs), bucket, client)
