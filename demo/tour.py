"""The tour: archive and restore real media and source files, printing each command and checking each result.

    python -m demo.tour [--store file:///directory] [--small] [--keep]

Without --store it starts an S3 server on loopback, and stops it at the end. Everything happens in a temporary folder,
including the catalog and the configuration. The exit status is 0 only if every step succeeded.
"""

import argparse
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from demo.media import Shoot, make_media
from demo.snapshot import Snapshot, differences, snapshot
from demo.sources import make_sources

SEED = 2024
BLOCK = 2**20  # archives are compressed in blocks of 1 MiB; the first and the last of a member are read completely
SERVER_BUCKET = "footage"

MEDIA = "sunrise-hike"
SOURCES = "python-sources"
PHOTO = "IMG_0002.jpg"
SMALL = Shoot(photos=2, photo_size=(1200, 800), video_seconds=1, video_size=(640, 360), sound_seconds=5)


class TourError(Exception):
    """A command failed, or had another result than expected."""


class Tour:
    """The folder of the tour, its original contents, and its output."""

    def __init__(self, home: Path, store: str, environment: Mapping[str, str], *, small: bool) -> None:
        self.home = home
        self.store = store
        self.small = small
        self.endpoint_url = environment.get("AWS_ENDPOINT_URL")
        self.originals: dict[str, Snapshot] = {}
        self._environment = _own_environment(home, environment)
        self.commands = 0

    def say(self, text: str) -> None:
        """Print a paragraph."""
        print(text)

    def heading(self, text: str) -> None:
        """Print the title of a step: bold at a terminal."""
        bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.say(f"\n\033[1m{text}\033[0m" if bold else f"\n{text}")

    def run(self, *command: str, lines_shown: int = 12) -> str:
        """Print a command, run it in the folder of the tour, print its first lines; return its whole output."""
        self.commands += 1
        self.say(f"\n$ {shlex.join(command)}")
        lines = []
        with _running(command, self.home, self._environment) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                lines.append(line)
                if len(lines) <= lines_shown:
                    print(line, end="")
        if len(lines) > lines_shown:
            self.say(f"... and {len(lines) - lines_shown:,} more lines")
        if process.returncode != 0:
            raise TourError(f"{shlex.join(command)} failed with exit status {process.returncode}")
        return "".join(lines)

    def expect(self, met: bool, what: str) -> None:
        """Print what was checked. Raises TourError when it does not hold."""
        if not met:
            raise TourError(f"check failed: {what}")
        self.say(f"  checked: {what}")

    def expect_same(self, name: str, path: Path) -> None:
        """Check that `path` is identical to the original `name` before the tour."""
        expected = self.originals[name]
        found = differences(expected, snapshot(path))
        if found:
            raise TourError(f"{path} differs from {name}: {len(found)} differences, {'; '.join(found[:5])}")
        where = path.relative_to(self.home)
        self.say(f"  checked: {where}/ is identical to the original {name}/, all {len(expected):,} entries")


def make_originals(tour: Tour) -> None:
    """Make the folders to archive, and remember what they hold."""
    tour.say(f"In {tour.home}: photos, video and sound of a hike, made by real encoders, and a tree of source files.")
    make_media(tour.home / MEDIA, SMALL if tour.small else Shoot(), SEED)
    make_sources(tour.home / SOURCES, 200 if tour.small else 3000, SEED)
    for name in (MEDIA, SOURCES):
        tour.originals[name] = snapshot(tour.home / name)
        files = [path for path in (tour.home / name).rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        tour.say(f"  {name + '/':<16} {len(files):>5,} files  {size / 2**20:>5.1f} MiB")


def configure(tour: Tour) -> None:
    """Configure the store."""
    if tour.store.startswith("file://"):
        tour.run("mkdir", "-p", tour.store.removeprefix("file://"))
    tour.run("mgmt", "config", "set", "store", tour.store)
    if tour.endpoint_url:
        tour.run("mgmt", "config", "set", "endpoint_url", tour.endpoint_url)
        tour.say("Credentials come from the environment, as for every S3 tool.")


def upload(tour: Tour) -> None:
    """Archive both folders; once they are proven, they move to completed/."""
    tour.run("mgmt", "upload", MEDIA, SOURCES)
    for name in (MEDIA, SOURCES):
        tour.expect(not (tour.home / name).exists(), f"{name}/ has moved to completed/")
        tour.expect_same(name, tour.home / "completed" / name)


def search(tour: Tour) -> None:
    """Find one photo inside an archive."""
    found = tour.run("mgmt", "search", Path(PHOTO).stem)
    tour.expect(f"{MEDIA}/photos/{PHOTO}" in found, f"the search names {MEDIA}/photos/{PHOTO}")


def restore_member(tour: Tour) -> None:
    """Restore only that photo, reading only its blocks of the archive."""
    tour.run("mgmt", "download", MEDIA, "--member", f"{MEDIA}/photos/{PHOTO}", "--to", "one-photo")
    original = tour.home / "completed" / MEDIA / "photos" / PHOTO
    found = list((tour.home / "one-photo").rglob(PHOTO))
    tour.expect(
        len(found) == 1 and found[0].read_bytes() == original.read_bytes(), f"{PHOTO} is identical to the original"
    )
    (record,) = json.loads(tour.run("mgmt", "-o", "json", "log", "--type", "download"))
    read, size = record["downloaded_size"], original.stat().st_size
    tour.expect(read <= size + 2 * BLOCK, f"{read:,} bytes of the archive were read for a photo of {size:,} bytes")


def restore_folder(tour: Tour) -> None:
    """Restore a whole folder, and compare it."""
    tour.run("mgmt", "download", SOURCES, "--to", "restored")
    tour.expect_same(SOURCES, tour.home / "restored" / SOURCES)


def without_mgmt(tour: Tour) -> None:
    """Show that the archive is a plain tar.gz."""
    tour.run("mgmt", "download", MEDIA, "--archive", "--to", "archives")
    listed = tour.run("tar", "tzf", f"archives/{MEDIA}.tar.gz")
    tour.expect(
        len(listed.splitlines()) == len(tour.originals[MEDIA]), f"tar lists all {len(tour.originals[MEDIA])} entries"
    )


def look_back(tour: Tour) -> None:
    """Show the record of an archive, and the log."""
    status = tour.run("mgmt", "status", MEDIA, lines_shown=60)
    tour.expect(f"{MEDIA}.tar.gz" in status, f"the record of {MEDIA}.tar.gz")
    log = tour.run("mgmt", "log")
    tour.expect(
        all(each in log for each in ("upload", "search", "download")),
        "the log lists the uploads, searches and downloads",
    )


STEPS: tuple[tuple[str, Callable[[Tour], None]], ...] = (
    ("Create the originals", make_originals),
    ("Configure the store", configure),
    ("Archive, prove and move the originals", upload),
    ("Find a file inside an archive", search),
    ("Restore only that file", restore_member),
    ("Restore a whole folder", restore_folder),
    ("Read the archive without mgmt", without_mgmt),
    ("Show the record and the log", look_back),
)


def main() -> int:
    """Run the tour; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.tour", description="A guided tour of mgmt on real input.")
    parser.add_argument("--store", metavar="file:///DIRECTORY", help="store the archives in a folder, without a server")
    parser.add_argument("--small", action="store_true", help="a handful of small files, for a quick look")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the tour for inspection")
    options = parser.parse_args()
    if options.store and not options.store.startswith("file:///"):
        parser.error(f"--store: expected a file:/// URL, not {options.store}")
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _leave)
    if isinstance(sys.stdout, io.TextIOWrapper):  # keep the order of stdout and the stderr of mgmt, also in a log
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            home = stack.enter_context(_folder(keep=options.keep))
            store, environment = _directory(options.store) if options.store else stack.enter_context(_server())
            tour = Tour(home, store, environment, small=options.small)
            for number, (title, step) in enumerate(STEPS, 1):
                tour.heading(f"{number}. {title}")
                step(tour)
        tour.heading(f"The tour succeeded: {tour.commands} commands, {time.monotonic() - began:.0f} s.")
    except TourError as error:
        print(f"\nThe tour failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe tour was interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="mgmt-tour-")).resolve()
    try:
        yield home
    finally:
        if keep:
            print(f"\nKept for inspection: {home}")
        else:
            shutil.rmtree(home)


@contextmanager
def _server() -> Iterator[tuple[str, Mapping[str, str]]]:
    from tests.servers import seaweedfs

    with ExitStack() as afterwards, seaweedfs() as server:
        afterwards.callback(print, f"SeaweedFS (process {server.pid}) stopped.")
        print(f"SeaweedFS listens on {server.endpoint_url} (process {server.pid}).")
        server.client().create_bucket(Bucket=SERVER_BUCKET)
        yield f"s3://{SERVER_BUCKET}/tour", server.environment


def _directory(url: str) -> tuple[str, Mapping[str, str]]:
    """A new folder in the store for each tour, without the archives of earlier ones."""
    return f"{url.rstrip('/')}/tour-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}", {}


def _own_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without their settings of mgmt and AWS, and with all files of mgmt inside `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MGMT_", "AWS_"))}
    given = {name: value for name, value in extra.items() if name != "AWS_ENDPOINT_URL"}  # the tour configures it
    return {
        **kept,
        **given,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "MGMT_CONFIG": str(home / ".config" / "mgmt" / "config.toml"),
        "MGMT_CATALOG": f"sqlite:///{home / 'catalog.db'}",
    }


@contextmanager
def _running(command: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            raise


def _leave(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
