"""An archiver that moves first, and stores and records later: the crash points must expose it."""

import gzip
import os
import tarfile
from pathlib import Path

from tests.program import Program


class BadArchiver(Program):
    """`upload NAME` works unless it is interrupted. It writes its records to a catalog of mgmt."""

    def main(self, arguments: list[str]) -> int:
        if arguments[0] == "upload":
            self.archive(self.work / arguments[1])
        return 0

    def archive(self, path: Path) -> None:
        completed, store = path.parent / "completed" / path.name, Path(self.store.removeprefix("file://"))
        completed.parent.mkdir(exist_ok=True)
        os.rename(path, completed)
        key = f"{path.name}.tar.gz"
        with gzip.open(store / key, "wb") as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
            tar.add(completed, path.name)
        self.records.change(
            "INSERT INTO files (name, path, location, store, is_directory, tags, status, proof, recorded_at)"
            " VALUES (?, ?, 's3', ?, FALSE, '{}', 'completed', 'hope', '2026-01-01')",
            key,
            key,
            self.store,
        )
