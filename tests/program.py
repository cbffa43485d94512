"""Runs the `mgmt` command as a user does, with folders of its own."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.catalogs import SQLITE, Catalog, Catalogs
from tests.forked import Forked


@dataclass(frozen=True)
class Done:
    """The result of a run."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Program:
    """`mgmt` with a store, and with its configuration, catalog and work folder below `home`."""

    home: Path
    store: str
    environment: Mapping[str, str] = field(default_factory=dict)
    catalogs: Catalogs = SQLITE

    @property
    def records(self) -> Catalog:
        """Its catalog, of either kind."""
        return self.catalogs.at(self.home)

    @property
    def catalog(self) -> Path:
        """The file of an SQLite catalog, for tests of that alone."""
        return SQLITE.at(self.home).path

    @property
    def work(self) -> Path:
        path = self.home / "work"
        path.mkdir(exist_ok=True, parents=True)
        return path

    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        own = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "MGMT_STORE": self.store,
            "MGMT_CATALOG": self.records.url,
            "PYTHONDEVMODE": "0",
        }
        return {**kept, **own, **self.environment}

    def command(self, *arguments: str | os.PathLike[str]) -> list[str]:
        return [sys.executable, "-m", "mgmt", *(os.fspath(each) for each in arguments)]

    def main(self, arguments: list[str]) -> int:
        """Run the command in this process; returns its exit status."""
        from mgmt import cli

        return cli.run(arguments)

    def run(self, *arguments: str | os.PathLike[str], cwd: Path | None = None) -> Done:
        """Run to the end in this process, which saves a second; the caller checks the exit status."""
        # Text and bytes, as a real stdout: what is printed that is not UTF-8 is a surrogate in the result.
        printed, stderr = io.BytesIO(), io.StringIO()
        stdout = io.TextIOWrapper(printed, "utf-8", "surrogateescape", newline="", write_through=True)
        environment, folder, umask = dict(os.environ), os.getcwd(), os.umask(0o022)
        level = logging.getLogger("mgmt").level
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        os.environ.clear()
        os.environ.update(self.env())
        os.chdir(cwd or self.work)
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr), open(os.devnull) as stdin:
                sys.stdin, before = stdin, sys.stdin
                try:
                    status = self.main([os.fspath(each) for each in arguments])
                finally:
                    sys.stdin = before
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            os.umask(umask)
            logging.getLogger("mgmt").setLevel(level)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Done(status, printed.getvalue().decode("utf-8", "surrogateescape"), stderr.getvalue())

    def run_process(self, *arguments: str | os.PathLike[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run to the end in a process of its own."""
        options.setdefault("cwd", self.work)
        options.setdefault("stdin", subprocess.DEVNULL)
        environment = {**self.env(), **options.pop("environment", {})}
        return subprocess.run(
            self.command(*arguments),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            **options,
        )

    def ok(self, *arguments: str | os.PathLike[str], cwd: Path | None = None) -> str:
        """Run, assert success, and return stdout."""
        done = self.run(*arguments, cwd=cwd)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | os.PathLike[str], cwd: Path | None = None) -> Any:
        """Run with `-o json`, assert success, and return the parsed output."""
        return json.loads(self.ok("-o", "json", *arguments, cwd=cwd))

    def fork(
        self, *arguments: str | os.PathLike[str], arm: Callable[[], None] | None = None, **environment: str
    ) -> Forked:
        """Start in a forked child, which first calls `arm`; for tests that are not about the start itself."""

        def main() -> int:
            if arm is not None:
                arm()
            try:
                return self.main([os.fspath(each) for each in arguments])
            finally:
                sys.setprofile(None)

        return Forked(main, environment={**self.env(), **environment}, cwd=self.work)

    def start(self, *arguments: str | os.PathLike[str], **options: Any) -> "subprocess.Popen[str]":
        """Start in a process of its own."""
        options.setdefault("cwd", self.work)
        return subprocess.Popen(
            self.command(*arguments),
            env={**self.env(), **options.pop("environment", {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in the background ignores SIGINT, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            **options,
        )
