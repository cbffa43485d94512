"""The sizes of archives, against gzip -6 of the same tar."""

from collections.abc import Iterator

from benchmarks.bench import BUCKET, MIB, Bench, Row, at_most
from benchmarks.inputs import Input
from benchmarks.measure import pipeline

GOALS = {"fast": 1.10, "balanced": 1.01}


def rows(bench: Bench) -> Iterator[Row]:
    """Both levels, with compressible files and with the mixed tree."""
    yield from _of(bench, "20,000 small files", bench.inputs.small_files())
    yield from _of(bench, "mixed tree", bench.inputs.mixed_tree())


def _of(bench: Bench, what: str, source: Input) -> Iterator[Row]:
    folder, name = source.path.parent, source.path.name
    counted = pipeline(
        f"tar -c -C {folder} {name} | gzip -6 | wc -c", cwd=folder, environment=bench.environment(bench.server)
    )
    theirs = int(counted.output)
    for level, goal in GOALS.items():
        key = f"{bench.name()}.tar.gz"
        with bench.home() as home:
            home.upload(source.path, "--level", level, "--key", key)
        ours = bench.server.client().head_object(Bucket=BUCKET, Key=f"archive/{key}")["ContentLength"]
        note = f"{theirs / source.size:.2f} of the input with gzip -6"
        yield at_most(f"size of {what}, `{level}`", "gzip -6", ours / MIB, theirs / MIB, "MiB", goal, note)
