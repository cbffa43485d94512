"""One member of a large archive, against reading the whole archive."""

from collections.abc import Iterator

from benchmarks.bench import BUCKET, MIB, Bench, Home, Row, as_fast
from benchmarks.measure import Cost, pipeline
from benchmarks.proxy import counting

TAR = "s5cmd cat | tar xz MEMBER"
COPY = "s5cmd cp of the whole object"
BYTES = 2 * MIB


def rows(bench: Bench) -> Iterator[Row]:
    """The time for a file of 32 MiB from the middle of 2.9 GiB, and the bytes moved for one of 10 KB."""
    album = bench.inputs.album()
    clips = sorted(path.name for path in album.path.glob("*.mov"))
    key, member = "album.tar.gz", clips[len(clips) // 2]
    url = f"s3://{BUCKET}/archive/{key}"
    with bench.home() as home:
        home.upload(album.path)

        def ours() -> Cost:
            with bench.scratch() as folder:
                return home.mgmt("download", key, "--member", member, "--to", str(folder))

        def tar() -> Cost:
            with bench.scratch() as folder:
                return pipeline(
                    f"{bench.peers.s5cmd} cat {url} | tar -xz {album.path.name}/{member}",
                    cwd=folder,
                    environment=bench.environment(bench.server),
                )

        def copy() -> Cost:
            with bench.scratch() as folder:
                return bench.measure([str(bench.peers.s5cmd), "cp", url, str(folder / key)])

        cost, theirs = bench.pair(ours, {TAR: tar, COPY: copy})
        what = "32 MiB out of an archive of 2.9 GiB"
        yield as_fast(what, TAR, cost, theirs[TAR], 40, size=album.size)
        yield as_fast(what, COPY, cost, theirs[COPY], 7, size=album.size)
        yield from _moved(bench, home, key)


def _moved(bench: Bench, home: Home, key: str) -> Iterator[Row]:
    """Bytes moved for a member of 10 KB, with the archive in the catalog and without."""
    listed = bench.server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"archive/{key}.")["Contents"]
    index = sum(entry["Size"] for entry in listed)
    goal = f"≤ {BYTES // MIB} MiB and the index"
    known = home.environment["MGMT_CATALOG"]
    for where, catalog in (("known to the catalog", known), ("unknown to it", f"sqlite:///{home.path}/empty.db")):
        with bench.scratch() as folder, counting(bench.server) as (server, count):
            environment = {**home.environment, **server.environment, "MGMT_CATALOG": catalog}
            home.mgmt("download", key, "--member", "note-5.txt", "--to", str(folder), environment=environment)
            moved = count.sent + count.received
        note = f"the index has {index / MIB:.3g} MiB"
        what = f"bytes moved for 10 KB out of it, {where}"
        yield Row(what, "", moved / MIB, None, "MiB", "", goal, moved <= BYTES + index, note)
