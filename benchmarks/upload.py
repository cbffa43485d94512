"""Uploads, against pipelines of other tools with the same input and server."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.bench import BUCKET, GIB, Bench, Contestant, Failure, Row, as_fast, at_most
from benchmarks.inputs import Input
from benchmarks.measure import Cost, pipeline, run
from benchmarks.peers import PeerError
from benchmarks.sink import cpu_seconds
from tests.servers import Server

OLDER = "the older mgmt"
AWS = "tar | pigz | aws s3 cp -"
S5CMD = "tar | igzip -1 | s5cmd pipe"
RAW = "s5cmd cp of the raw file"


def rows(bench: Bench) -> Iterator[Row]:
    """Small files and a mixed tree to SeaweedFS; incompressible files to the null sink."""
    yield from _into(bench, bench.server, "20,000 small files → SeaweedFS", bench.inputs.small_files(), {
        OLDER: 8, AWS: 2.6, S5CMD: 1.0,
    })  # fmt: skip
    yield from _into(bench, bench.server, "mixed tree → SeaweedFS", bench.inputs.mixed_tree(), {AWS: 3.3, S5CMD: 1.2})
    before = cpu_seconds(bench.sink)
    media = "1 GiB that does not compress → null sink"
    yield from _into(bench, bench.sink, media, bench.inputs.media(), {OLDER: 12, AWS: 7, RAW: 1.0})
    used = cpu_seconds(bench.sink) - before
    sent = bench.runs * 4 * bench.inputs.media().size
    yield Row(
        "the null sink's own CPU", "", used / sent * GIB, None, "s/GiB", "", "", None, "of all uploads into it together"
    )


def _into(bench: Bench, server: Server, what: str, source: Input, goals: Mapping[str, float]) -> Iterator[Row]:
    """A row for each peer in `goals`."""
    peers: dict[str, Contestant] = {
        OLDER: lambda: _older(bench, server, source.path),
        AWS: lambda: _piped(
            bench, server, source.path, bench.peers.debian("pigz"), f"{bench.peers.aws} s3 cp - s3://{BUCKET}/{{}}"
        ),
        S5CMD: lambda: _piped(
            bench,
            server,
            source.path,
            bench.peers.debian("igzip") + " -1",
            f"{bench.peers.s5cmd} pipe s3://{BUCKET}/{{}}",
        ),
        RAW: lambda: bench.measure(
            [str(bench.peers.s5cmd), "cp", str(source.path), f"s3://{BUCKET}/{bench.name()}"], server=server
        ),
    }

    def ours() -> Cost:
        with bench.home(server) as home:
            return home.upload(source.path, "--key", f"{bench.name()}.tar.gz")

    cost, theirs = bench.pair(ours, {name: peers[name] for name in goals})
    for name, goal in goals.items():
        yield as_fast(f"upload of {what}", name, cost, theirs[name], goal, size=source.size)
    raw = theirs.get(RAW)
    if raw is not None:
        cpu = raw if isinstance(raw, Failure) else raw.cpu_seconds
        yield at_most(f"CPU for the upload of {what}", RAW, cost.cpu_seconds, cpu, "CPU s", 0.75)


def _piped(bench: Bench, server: Server, source: Path, compress: str, send: str) -> Cost:
    """`tar | compress | send`, where `send` has a place for the key."""
    return pipeline(
        f"tar -c -C {source.parent} {source.name} | {compress} -c | {send.format(bench.name())}",
        cwd=bench.folder,
        environment=bench.environment(server),
    )


def _older(bench: Bench, server: Server, source: Path) -> Cost:
    """The older tool writes NAME.tar.gz beside the original, uploads it and moves the original; exits with 0."""
    with bench.scratch() as home:
        config = home / ".config" / "mgmt" / "config"
        config.parent.mkdir(parents=True)
        prefix = bench.name()
        settings = {"BUCKET": BUCKET, "OBJECT_PREFIX": prefix, "LOCAL_DIR": home, "COMPLETED_DIR": home / "completed"}
        config.write_text("".join(f"MGMT_{name}={value}\n" for name, value in settings.items()))
        cost = run(
            [str(bench.peers.script("mgmt")), "upload", source.name],
            cwd=source.parent,
            environment={**bench.environment(server), "HOME": str(home)},
        )
        moved = home / "completed" / source.name
        if not moved.exists():
            source.with_name(f"{source.name}.tar.gz").unlink(missing_ok=True)
            raise PeerError(f"it uploaded nothing: {cost.output.strip().splitlines()[-1]}")
        os.rename(moved, source)
        server.client().head_object(Bucket=BUCKET, Key=f"{prefix}/{source.name}.tar.gz")
        return cost
