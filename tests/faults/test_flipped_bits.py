"""Promise 1 where only mgmt checks: one bit flips on its way to a server that verifies no CRC."""

import itertools
import random
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from mgmt.storage import s3_store
from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.proxy import ALWAYS, Fault, Proxy, proxy
from tests.program import Program
from tests.servers import Server

NAME = "clip.mov"
PUT, PART, COMPLETE = r"^PUT [^?]*\.mov\.tar\.gz$", r"^PUT .*partNumber=", r"^POST .*\.mov\.tar\.gz\?uploadId="
HEAD, GET = r"^HEAD .*\.mov\.tar\.gz$", r"^GET .*\.mov\.tar\.gz$"
INDEX_PUT, INDEX_GET = r"^PUT .*\.index\.jsonl\.gz$", r"^GET .*\.index\.jsonl\.gz$"
SMALL, LARGE = 100_000, 11 << 20
FLIPS = {
    "an archive": (SMALL, PUT, "flip-request"),
    "a part": (LARGE, PART, "flip-request"),
    "the completion": (LARGE, COMPLETE, "flip-request"),
    "the index": (SMALL, INDEX_PUT, "flip-request"),
    "the answer to HEAD": (SMALL, HEAD, "flip-answer"),
    "the answer to HEAD of parts": (LARGE, HEAD, "flip-answer"),
    "an archive that is read back": (SMALL, GET, "flip-answer"),
    "parts that are read back": (LARGE, GET, "flip-answer"),
    "the answer to a part": (LARGE, PART, "flip-answer"),
}


@pytest.fixture(params=["rclone", "moto"])
def server(request: pytest.FixtureRequest) -> Server:
    """Neither verifies a CRC; rclone verifies an MD5, moto nothing."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def between(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(s3_store, "PAUSE", 0)
    with proxy(server) as made:
        yield made


@pytest.fixture
def program(server: Server, request: pytest.FixtureRequest, between: Proxy, catalogs: Catalogs) -> Program:
    plain: Program = request.getfixturevalue(f"on_{server.name}")
    environment = {**plain.environment, "AWS_ENDPOINT_URL": between.endpoint_url, "MGMT_PART_SIZE": "5MiB"}
    return replace(plain, environment=environment)


def is_stored(server: Server, program: Program, data: bytes) -> bool:
    bucket, _, prefix = program.store.removeprefix("s3://").partition("/")
    body = server.client().get_object(Bucket=bucket, Key=f"{prefix}/{NAME}.tar.gz")["Body"].read()
    with tarfile.open(fileobj=BytesIO(body), mode="r:gz") as tar:
        file = tar.extractfile(NAME)
        return file is not None and file.read() == data


CASES = list(itertools.product(FLIPS, [1, ALWAYS], [True, False]))
BOUNDED = {("an archive", ALWAYS, False), ("the index", ALWAYS, False), ("a part", 1, False)}


def parameters() -> Iterator[Any]:
    for what, times, trusted in CASES:
        marks = [] if (what, times, trusted) in BOUNDED else [pytest.mark.torture]
        name = f"{what}, {'once' if times == 1 else 'always'}, {'as found' if trusted else 'nothing trusted'}"
        yield pytest.param(what, times, trusted, marks=marks, id=name)


@pytest.mark.parametrize(("what", "times", "trusted"), list(parameters()))
def test_a_flipped_bit_never_costs_an_original(
    program: Program,
    server: Server,
    between: Proxy,
    what: str,
    times: int,
    trusted: bool,
    figure: Figure,
) -> None:
    """`trusted`: mgmt may probe what the endpoint verifies; otherwise it must read everything back."""
    size, pattern, act = FLIPS[what]
    if not trusted:
        between.faults.append(Fault(r"^POST .*\.mgmt-probe", "501 NotImplemented", ALWAYS))
    between.faults.append(fault := Fault(pattern, act, times))
    data = random.Random(size).randbytes(size)
    (program.work / NAME).write_bytes(data)

    done = program.run("upload", NAME)
    between.faults.clear()
    if done.returncode == 0:
        assert not (program.work / NAME).exists()
    else:
        assert fault.met
        assert done.returncode in {1, 5, 8}, done.stderr
        assert (program.work / NAME).read_bytes() == data
        program.ok("upload", NAME)
    assert is_stored(server, program, data)
    assert (program.work / "completed" / NAME).read_bytes() == data
    program.ok("verify", NAME, "--read-back")
    program.ok("download", NAME, "--to", "back")
    assert (program.work / "back" / NAME).read_bytes() == data
    figure(1, f"flipped bits on {server.name}, which does not check", tried=int(fault.met > 0), violations=0)
