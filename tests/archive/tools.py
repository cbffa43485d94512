"""Other readers of tar. Tests of one that is not installed are skipped with a message."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tar:
    """A reader: `listing` prints the names in the tar `{}`, `unpacking` extracts the tar.gz `{}`."""

    name: str
    program: str
    listing: str
    unpacking: str

    def __str__(self) -> str:
        return self.name

    def names(self, tar: Path) -> list[str]:
        listed = self._run(self.listing.format(tar), tar.parent)
        return [line.removeprefix("Path = ") for line in listed.splitlines() if "=" not in line or "Path = " in line]

    def unpack(self, archive: Path, into: Path) -> None:
        into.mkdir()
        self._run(self.unpacking.format(archive), into)

    def _run(self, command: str, folder: Path) -> str:
        if shutil.which(self.program) is None:
            pytest.skip(f"{self.program} is not installed, so it was not tried whether it reads our archives")
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, text=True, errors="surrogateescape"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


TARS = [
    Tar("GNU tar", "tar", "tar tf {}", "tar xzf {}"),
    Tar("bsdtar", "bsdtar", "bsdtar tf {}", "LC_ALL=C.UTF-8 bsdtar xf {}"),
    Tar("busybox", "busybox", "busybox tar tf {}", "busybox tar xzf {}"),
    Tar("7z", "7z", "7z l -ba -slt {} | grep ^Path", "7z x -so {} | 7z x -si -ttar"),
    Tar("gzip and tar", "gzip", "tar tf {}", "gzip -dc {} | tar xf -"),
    Tar("Python r:gz", sys.executable, f"{sys.executable} -m tarfile -l {{}} | sed 's/ *$//'", ""),
]


def gnu_tar(folder: Path, *arguments: str) -> bytes:
    """The output of GNU tar, run in `folder`."""
    for program in ("gtar", "tar"):
        if shutil.which(program) is not None:
            version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
            if "GNU tar" in version:
                return subprocess.run([program, *arguments], cwd=folder, capture_output=True, check=True).stdout
    pytest.skip("GNU tar is not installed, so it was not tried whether we read its archives")
