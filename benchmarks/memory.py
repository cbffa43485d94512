"""Memory while one large file goes up and comes back: it must not grow with the file."""

import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Cost, run
from tests.servers import Server

SIZES = (1 << 30, 4 << 30)
GOAL = 300 * 10**6


def rows(folder: Path, server: Server) -> Iterator[tuple[str, Cost, Cost | None, str]]:
    """(what, cost of mgmt, cost of the peer, goal); the peer streams a plain copy, without archive or hashes."""
    server.client().create_bucket(Bucket="memory")
    environment = {
        **os.environ,
        **server.environment,
        "HOME": str(folder),
        "MGMT_STORE": "s3://memory/archive",
        "MGMT_CATALOG": f"sqlite:///{folder}/catalog/catalog.db",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_PEER_TYPE": "s3",
        "RCLONE_CONFIG_PEER_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_PEER_ENV_AUTH": "true",
        "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint_url,
    }
    mgmt = [sys.executable, "-m", "mgmt", "-q"]
    rclone = [str(Path(sys.executable).parent / "rclone"), "copyto"]
    for size in SIZES:
        name = f"media-{size >> 30}GiB.mov"
        incompressible(folder / name, size)
        peer = run([*rclone, name, f"peer:memory/{name}"], cwd=folder, environment=environment)
        cost = run([*mgmt, "upload", name], cwd=folder, environment=environment)
        yield f"upload of {size >> 30} GiB", cost, peer, verdict(cost)
        peer = run([*rclone, f"peer:memory/{name}", f"peer-{name}"], cwd=folder, environment=environment)
        (folder / f"peer-{name}").unlink()
        cost = run([*mgmt, "download", name, "--to", "back"], cwd=folder, environment=environment)
        yield f"download of {size >> 30} GiB", cost, peer, verdict(cost)
        shutil.rmtree(folder / "back")
        shutil.rmtree(folder / "completed")


def verdict(cost: Cost) -> str:
    """Whether the goal is met."""
    return f"at most {GOAL // 10**6} MB: {'met' if cost.peak_rss <= GOAL else 'NOT MET'}"


def incompressible(path: Path, size: int) -> None:
    """A seeded file; each MiB of it differs."""
    chance = random.Random(size)
    block = chance.randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "little") + block[8:])
