"""Scaling: time must grow no faster than bytes and files, and memory must not grow."""

import os
from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.bench import BUCKET, MIB, Bench, Row, as_fast, attempt
from benchmarks.inputs import Input
from benchmarks.measure import Cost, middle

BYTES = (256 * MIB, 1024 * MIB, 10**10)
FILES = (10_000, 100_000, 1_000_000)
MEMORY = 200 * MIB
LINEAR = 1.25
"""The permitted cost of a file or a byte in the largest input, relative to the second largest."""

RCLONE = "rclone copyto of the raw file"

Trip = Mapping[str, Cost]
"""The cost of uploading an input, downloading it, and rebuilding the catalog from its index."""


def rows(bench: Bench) -> Iterator[Row]:
    """One file of up to 10 GB, and up to a million files; the largest inputs run once."""
    files = [bench.inputs.many_files(count) for count in FILES]
    trips = [_trips(bench, each, once=each is files[-1]) for each in files]
    yield from _growth(bench, "files", "a million files", files, [each.files for each in files], trips)
    media = [bench.inputs.media(size) for size in BYTES]
    trips = [_trips(bench, each, once=each is media[-1]) for each in media]
    yield from _growth(bench, "bytes", "a file of 10 GB", media, [each.size for each in media], trips)
    yield from _plain_copy(bench, media[-1], trips[-1])


def _growth(
    bench: Bench, plot: str, largest: str, inputs: list[Input], counts: list[int], trips: list[Trip]
) -> Iterator[Row]:
    for step in trips[0] if plot == "files" else ("upload", "download"):
        costs = [trip[step] for trip in trips]
        for count, cost in zip(counts, costs, strict=True):
            bench.point(plot, step, count, cost.seconds)
        each = [cost.seconds / count for cost, count in zip(costs, counts, strict=True)]
        scale, unit = (1e6, "µs/file") if plot == "files" else (1e9, "s/GB")
        ratio = each[-1] / each[-2]
        against = f"of {counts[-2]:,} files" if plot == "files" else f"of {inputs[-2].size / MIB:,.0f} MiB"
        note = "seconds in all: " + ", ".join(f"{cost.seconds:.1f}" for cost in costs)
        yield Row(
            f"{step} of {largest}", against, each[-1] * scale, each[-2] * scale, unit, f"{ratio:.2f}×",
            f"≤ {LINEAR}×", ratio <= LINEAR, note,
        )  # fmt: skip
    for step in ("upload", "download"):
        peaks = [trip[step].peak_rss for trip in trips]
        note = "of the smaller ones: " + ", ".join(f"{peak / MIB:.0f}" for peak in peaks[:-1])
        yield Row(
            f"memory for the {step} of {largest}", "", peaks[-1] / MIB, None, "MiB", "",
            f"≤ {MEMORY // MIB} MiB", peaks[-1] <= MEMORY, note,
        )  # fmt: skip


def _trips(bench: Bench, source: Input, *, once: bool) -> Trip:
    made = [_trip(bench, source) for _ in range(1 if once else bench.runs)]
    return {step: middle([each[step] for each in made]) for step in made[0]}


def _trip(bench: Bench, source: Input) -> Trip:
    """Upload and download; the archive is deleted at the end, for the next rebuild and for the space."""
    key = f"{bench.name()}.tar.gz"
    with bench.home() as home:
        upload = home.upload(source.path, "--key", key)
        with bench.scratch() as folder:
            download = home.mgmt("download", key, "--to", str(folder))
        other = {**home.environment, "MGMT_CATALOG": f"sqlite:///{home.path}/rebuilt.db"}
        home.mgmt("log", environment=other)  # makes the catalog
        rebuild = home.mgmt("db", "rebuild", environment=other)
        home.mgmt("delete", key, "--yes", "--last-copy")
    return {"upload": upload, "download": download, "db rebuild": rebuild}


def _plain_copy(bench: Bench, source: Input, trip: Trip) -> Iterator[Row]:
    """The time of the same transfer without archiving, hashing or proof."""
    there = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{bench.server.endpoint_url}':{BUCKET}/{bench.name()}"
    with bench.scratch() as folder:
        for step, source_and_target in (
            ("upload", [str(source.path), there]),
            ("download", [there, str(folder / "copy")]),
        ):
            theirs = attempt(partial(_rclone, bench, source_and_target))
            yield as_fast(f"{step} of a file of 10 GB", RCLONE, trip[step], theirs, None, size=source.size)


def _rclone(bench: Bench, source_and_target: list[str]) -> Cost:
    return bench.measure([str(bench.peers.script("rclone")), "--config", os.devnull, "copyto", *source_and_target])
