"""The tour itself, run by the command of `make demo`."""

import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from PIL import ExifTags, Image

from demo.media import Shoot, make_media
from demo.snapshot import differences, snapshot
from demo.sources import make_sources

TOP = Path(__file__).parents[1]
TINY = Shoot(photos=2, photo_size=(120, 80), video_seconds=1, video_size=(160, 90), sound_seconds=1)


def tour(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tour as a user whose home is `home`."""
    return subprocess.run(
        [sys.executable, "-m", "demo.tour", *arguments],
        cwd=TOP,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
    )


def environment(home: Path) -> dict[str, str]:
    (home / "tmp").mkdir(parents=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "MGMT_STORE": "file:///must/not/be/used",
        "MGMT_CATALOG": f"sqlite:///{home}/the-user's-own.db",
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A home with a short path: SeaweedFS puts Unix sockets below it, of at most 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="tour-") as folder:
        yield Path(folder)


def everything_in(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.name != "tmp")


def test_the_tour_succeeds_without_a_server(tmp_path: Path) -> None:
    home, store = tmp_path / "home", tmp_path / "store"

    done = tour(home, "--small", "--store", f"file://{store}")

    assert done.returncode == 0, done.stdout + done.stderr
    commands = re.findall(r"^\$ (\w+ -?\w+)", done.stdout, re.MULTILINE)
    assert commands == [
        "mkdir -p",
        "mgmt config",
        "mgmt upload",
        "mgmt search",
        "mgmt download",
        "mgmt -o",
        "mgmt download",
        "mgmt download",
        "tar tzf",
        "mgmt status",
        "mgmt log",
    ]
    assert "restored/python-sources/ is identical to the original python-sources/" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("The tour succeeded: 11 commands")
    assert "Traceback" not in done.stdout + done.stderr
    assert "\033" not in done.stdout + done.stderr, "there are escape sequences, though this is no terminal"
    assert everything_in(home) == [], "the tour has changed the user's home"
    (folder,) = store.iterdir()
    archives = sorted(folder.glob("*.tar.gz"))
    assert [path.name for path in archives] == ["python-sources.tar.gz", "sunrise-hike.tar.gz"]
    with tarfile.open(archives[1]) as archive:
        assert "sunrise-hike/video/sunrise.mp4" in archive.getnames()


def test_a_failing_command_fails_the_tour(tmp_path: Path) -> None:
    store = tmp_path / "a file, not a folder"
    store.write_text("in the way")

    done = tour(tmp_path / "home", "--small", "--store", f"file://{store}")

    assert done.returncode == 1
    assert "The tour failed: mkdir -p" in done.stderr
    assert "The tour succeeded" not in done.stdout
    assert everything_in(tmp_path / "home") == []


def test_the_tour_refuses_other_stores(tmp_path: Path) -> None:
    done = tour(tmp_path / "home", "--store", "s3://bucket/prefix")

    assert done.returncode == 2
    assert "file:///" in done.stderr


@pytest.mark.parametrize(("command", "status"), [(["false"], 1), (["sleep", "600"], 128 + signal.SIGTERM)])
def test_the_server_is_stopped_after_a_failure_or_a_signal(short_home: Path, command: list[str], status: int) -> None:
    only_step = f"""
import sys
from demo import tour
tour.STEPS = (("The only step", lambda each: each.run(*{command!r})),)
sys.argv[1:] = []
sys.exit(tour.main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", only_step],
        cwd=TOP,
        env=environment(short_home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        server, last = None, ""
        for line in process.stdout:
            if found := re.search(r"SeaweedFS listens on \S+ \(process (\d+)\)", line):
                server = int(found[1])
                os.kill(server, 0)
            if line.startswith("$ sleep"):
                process.terminate()
            last = line
        assert process.stderr is not None
        assert process.wait(600) == status, process.stderr.read()
    assert server is not None
    assert last == f"SeaweedFS (process {server}) stopped.\n"
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert everything_in(short_home) == []


def test_media_are_valid_and_reproducible(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        make_media(tmp_path / name, TINY, seed)
    made = {
        name: {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "again", "other")
    }
    assert len(made["one"]) == 4
    assert made["one"] == made["again"]
    assert all(made["one"][path] != made["other"][path] for path in made["one"])
    with av.open(str(tmp_path / "one/video/sunrise.mp4")) as video:
        assert {stream.codec_context.name for stream in video.streams} == {"h264", "aac"}
        assert sum(1 for _ in video.decode(video=0)) == 25
    with av.open(str(tmp_path / "one/sound/dawn chorus.flac")) as sound:
        assert sound.duration == 1_000_000
    with Image.open(tmp_path / "one/photos/IMG_0002.jpg") as photo:
        assert photo.size == TINY.photo_size
        assert photo.getexif()[ExifTags.Base.DateTime] == "2024:06:21 04:37:00"


def test_sources_include_unusual_names_and_are_reproducible(tmp_path: Path) -> None:
    make_sources(tmp_path / "one", 100, 1)
    make_sources(tmp_path / "again", 100, 1)
    made = snapshot(tmp_path / "one")

    assert made.keys() == snapshot(tmp_path / "again").keys()
    assert sum(entry[0] == "file" for entry in made.values()) >= 100 + 9
    assert sum(entry[0] == "link" for entry in made.values()) == 2
    assert made.keys() >= {"empty folder", "odd names/two\nlines.txt", "odd names/-rf.txt"}


def _flip(path: Path) -> None:
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda top: _flip(top / "file"), "different: file"),
        (lambda top: (top / "file").chmod(0o600), "different: file"),
        (lambda top: os.utime(top / "file", ns=(0, 1)), "different: file"),
        (lambda top: os.link(top / "file", top.parent / "other"), "different: file"),
        (lambda top: (top / "empty").rmdir(), "missing: empty"),
        (lambda top: (top / "new").mkdir(), "unexpected: new"),
        (lambda top: ((top / "link").unlink(), (top / "link").symlink_to("other")), "different: link"),
    ],
)
def test_every_difference_is_reported(tmp_path: Path, change: Callable[[Path], object], expected: str) -> None:
    top = tmp_path / "top"
    (top / "empty").mkdir(parents=True)
    (top / "file").write_bytes(b"contents")
    os.utime(top / "file", ns=(0, 0))
    (top / "link").symlink_to("file")
    before = snapshot(top)
    assert differences(before, snapshot(top)) == []

    change(top)

    found = differences(before, snapshot(top))
    assert any(line.startswith(expected) for line in found), found
