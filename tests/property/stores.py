"""Reads stores without mgmt."""

from pathlib import Path
from typing import Any

from tests.property.views import in_archive
from tests.servers import Server

Object = tuple[str, str]
"""A store and a key."""


class StoreReader:
    """Reads a store without mgmt."""

    def __init__(self, url: str, server: Server | None) -> None:
        self.url = url
        self._client: Any = server.client() if server is not None else None
        self._read: dict[tuple[str, str, str], bytes] = {}

    def archives(self) -> dict[str, bytes]:
        """Every whole archive, by its key."""
        objects = self._in_folder() if self._client is None else self._on_server()
        return {key: data for key, data in objects.items() if in_archive(data) is not None}

    def indexes(self) -> set[str]:
        """The key of every index, with or without an archive."""
        if self._client is None:
            keys = {str(path) for path in Path(self.url.removeprefix("file://")).rglob("*")}
        else:
            keys = {str(each["Key"]) for each in self._listed()}
        return {key for key in keys if key.endswith(".index.jsonl.gz")}

    def _in_folder(self) -> dict[str, bytes]:
        root = Path(self.url.removeprefix("file://"))
        names = [path.relative_to(root) for path in root.rglob("*.tar.gz") if path.is_file()]
        return {str(name): (root / name).read_bytes() for name in names if name.parts[0] != ".mgmt"}

    def _listed(self) -> list[Any]:
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        listed: list[Any] = self._client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
        return listed

    def _on_server(self) -> dict[str, bytes]:
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        found = {}
        for each in self._listed():
            if each["Key"].endswith(".tar.gz"):
                version = (each["Key"], each["ETag"], str(each["LastModified"]))
                if version not in self._read:
                    self._read[version] = self._client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
                found[each["Key"][len(prefix) + 1 :]] = self._read[version]
        return found
