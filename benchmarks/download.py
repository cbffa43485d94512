"""Downloads of whole archives, against a pipeline of other tools on the same object."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import BUCKET, Bench, Row, as_fast
from benchmarks.inputs import Input
from benchmarks.measure import Cost, pipeline

AWS = "aws s3 cp - | tar xz"
MEMORY = "/dev/shm"


def rows(bench: Bench) -> Iterator[Row]:
    """Small files and a mixed tree out of SeaweedFS."""
    yield _out_of(bench, "20,000 small files ← SeaweedFS", bench.inputs.small_files(), 1.8)
    yield _out_of(bench, "mixed tree ← SeaweedFS", bench.inputs.mixed_tree(), 2.5)


def _out_of(bench: Bench, what: str, source: Input, goal: float) -> Row:
    key = f"{source.path.name}.tar.gz"
    with bench.home() as home:
        home.upload(source.path)

        def ours() -> Cost:
            with _folder(bench) as folder:
                return home.mgmt("download", key, "--to", str(folder))

        def aws() -> Cost:
            with _folder(bench) as folder:
                return pipeline(
                    f"{bench.peers.aws} s3 cp s3://{BUCKET}/archive/{key} - | tar -xz",
                    cwd=folder,
                    environment=bench.environment(bench.server),
                )

        cost, theirs = bench.pair(ours, {AWS: aws})
    return as_fast(f"download of {what}", AWS, cost, theirs[AWS], goal, size=source.size)


@contextmanager
def _folder(bench: Bench) -> Iterator[Path]:
    """An empty folder in memory, where a run does not depend on what earlier ones removed; else see `scratch`."""
    if os.path.isdir(MEMORY):
        with tempfile.TemporaryDirectory(prefix="mgmt-bench-", dir=MEMORY) as folder:
            yield Path(folder)
    else:
        with bench.scratch() as path:
            yield path
