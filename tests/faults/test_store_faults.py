"""Every store fault in every command: nothing is lost, nothing is left over, and the exit status is right."""

import functools
import hashlib
import io
import os
import random
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from botocore.retries.standard import ExponentialBackoff

from mgmt.storage import s3_store
from tests.catalogs import Catalogs
from tests.conftest import Figure
from tests.faults.proxy import Fault, Proxy, proxy
from tests.faults.store_faults import COMMANDS, FAULTS, StoreFault
from tests.program import Done, Program
from tests.servers import Server

SMALL, LARGE = 100_000, 11 << 20
PART = "5MiB"
CASES = [(fault, command) for fault in FAULTS for command in COMMANDS]
BOUNDED = sorted(random.Random(3).sample(range(len(CASES)), 16))
ERROR = re.compile(r"mgmt: [^\n]+\n(  try: [^\n]+\n([^\n]+\n)*)?")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of retries, without the pauses between them."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    monkeypatch.setattr(s3_store, "PAUSE", 0)


@dataclass
class World:
    """SeaweedFS behind a proxy, a catalog that knows the endpoint, and one sound archive."""

    server: Server
    between: Proxy
    template: Program

    @property
    def bucket(self) -> str:
        return self.template.store.split("/")[2]

    def program(self, home: Path) -> Program:
        """A user of the same store, whose catalog starts as a copy."""
        home.mkdir(parents=True)
        self.template.catalogs.copy(self.template.home, home)
        return replace(self.template, home=home)

    def break_store(self, fault: Fault) -> None:
        """Apply the fault until `heal`."""
        self.between.reset()
        self.between.faults.append(fault)

    def heal(self) -> None:
        self.between.reset()

    def stored(self, prefix: str) -> list[str]:
        listed = self.server.client().list_objects_v2(Bucket=self.bucket, Prefix=f"archive/{prefix}.")
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def pending(self, prefix: str) -> list[int]:
        """The number of parts of each incomplete multipart upload."""
        client = self.server.client()
        listed = client.list_multipart_uploads(Bucket=self.bucket, Prefix=f"archive/{prefix}.").get("Uploads", [])
        uploads = [{"Bucket": self.bucket, "Key": each["Key"], "UploadId": each["UploadId"]} for each in listed]
        return [len(client.list_parts(**each).get("Parts", [])) for each in uploads]

    def holds(self, name: str, data: bytes) -> bool:
        """Whether the object, read without the proxy by Python's own tarfile, holds exactly the original."""
        body = self.server.client().get_object(Bucket=self.bucket, Key=f"archive/{name}.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
            [member] = tar.getmembers()
            file = tar.extractfile(member)
            return file is not None and (member.name, file.read()) == (name, data)


@pytest.fixture(scope="module")
def world(
    seaweed_server: Server,
    new_bucket: Callable[[Server], str],
    tmp_path_factory: pytest.TempPathFactory,
    catalogs: Catalogs,
) -> Iterator[World]:
    with proxy(seaweed_server) as between, between.impatient():
        environment = {**seaweed_server.environment, "AWS_ENDPOINT_URL": between.endpoint_url, "MGMT_PART_SIZE": PART}
        store = f"s3://{new_bucket(seaweed_server)}/archive"
        template = Program(tmp_path_factory.mktemp("template"), store, environment, catalogs)
        original(template, "sound.bin", LARGE)
        template.ok("upload", "sound.bin")
        yield World(seaweed_server, between, template)


def original(program: Program, name: str, size: int) -> bytes:
    data = random.Random(name).randbytes(size)
    (program.work / name).write_bytes(data)
    return data


def assert_clear_error(done: Done) -> None:
    if done.returncode == 0:
        assert done.stderr == ""
    else:
        assert ERROR.fullmatch(done.stderr), done.stderr


def assert_all_ended(program: Program) -> None:
    """Every operation has ended."""
    states = {status for (status,) in program.records.rows("SELECT status FROM operations")}
    assert states <= {"success", "failed", "partial", "cancelled"}, states


def try_upload(
    world: World, program: Program, name: str, store_fault: StoreFault, break_store: Callable[[], None], size: int
) -> Done:
    data = original(program, name, size)
    break_store()
    done = program.run("upload", name)
    world.heal()
    completed = program.work / "completed" / name
    if done.returncode != 0:
        assert (program.work / name).read_bytes() == data
        assert not completed.exists()
        program.ok("upload", name)
    assert not (program.work / name).exists()
    assert completed.read_bytes() == data
    assert world.holds(name, data)
    if len(world.stored(name)) != 2 or world.pending(name):
        program.ok("recover")
    stored = world.stored(name)
    assert stored[0].endswith(".tar.gz")
    assert [key.endswith(".index.jsonl.gz") for key in stored[1:]] == [True]
    # A request repeated by the network leaves an upload without parts, which `mgmt doctor` lists.
    assert [parts for parts in world.pending(name) if parts or store_fault.act != "twice"] == []
    return done


def try_download(world: World, program: Program, break_store: Callable[[], None]) -> Done:
    data = (world.template.work / "completed" / "sound.bin").read_bytes()
    back = program.work / "back"
    break_store()
    done = program.run("download", "sound.bin", "--to", "back")
    world.heal()
    if done.returncode != 0:
        assert not back.exists() or os.listdir(back) == []
        program.ok("download", "sound.bin", "--to", "back")
    assert os.listdir(back) == ["sound.bin"]
    assert (back / "sound.bin").read_bytes() == data
    return done


def try_delete(world: World, program: Program, name: str, break_store: Callable[[], None]) -> Done:
    data = original(program, name, SMALL)
    program.ok("upload", name)
    assert len(world.stored(name)) == 2
    break_store()
    done = program.run("delete", name, "--yes")
    world.heal()
    if done.returncode == 0:
        assert world.stored(name) == []
    else:
        program.ok("delete", name, "--yes")
    assert world.stored(name) == []
    assert (program.work / "completed" / name).read_bytes() == data
    assert [each["status"] for each in program.json("ls", "--location", "s3") if each["path"].startswith(name)] == []
    return done


def try_verify(world: World, program: Program, break_store: Callable[[], None], *options: str) -> Done:
    break_store()
    done = program.run("verify", "sound.bin", *options)
    world.heal()
    program.ok("verify", "sound.bin", *options)
    return done


def attempt(world: World, home: Path, store_fault: StoreFault, command: str) -> tuple[Done, Fault]:
    """Run a command under a fault, and again without it; returns the result of the first run, and the fault."""
    program = world.program(home)
    # The tests share the store, and some try the same case: each has keys of its own.
    name = f"{hashlib.sha256(f'{home} {store_fault.name} {command}'.encode()).hexdigest()[:12]}.bin"
    fault = store_fault.fault(command)
    break_store = functools.partial(world.break_store, fault)

    try:
        match command:
            case "upload" | "multipart":
                done = try_upload(
                    world, program, name, store_fault, break_store, SMALL if command == "upload" else LARGE
                )
            case "download":
                done = try_download(world, program, break_store)
            case "delete":
                done = try_delete(world, program, name, break_store)
            case "verify":
                done = try_verify(world, program, break_store)
            case _:
                done = try_verify(world, program, break_store, "--read-back")
    finally:
        world.heal()
    assert_clear_error(done)
    assert_all_ended(program)
    return done, fault


def check(world: World, home: Path, number: int) -> bool:
    """Try a case, by its number; returns whether the fault occurred."""
    store_fault, command = CASES[number]
    done, fault = attempt(world, home, store_fault, command)
    expected = store_fault.end(command)
    assert (done.returncode, fault.met > 0) == (expected or 0, expected is not None), done.stderr
    return fault.met > 0


def identity(number: int) -> str:
    fault, command = CASES[number]
    return f"{command}, {fault.name}"


@pytest.mark.parametrize("number", BOUNDED, ids=identity)
def test_some_store_faults_lose_nothing(world: World, tmp_path: Path, number: int) -> None:
    check(world, tmp_path / "home", number)


@pytest.mark.torture
@pytest.mark.parametrize("command", COMMANDS)
def test_every_store_fault_loses_nothing(world: World, tmp_path: Path, command: str, figure: Figure) -> None:
    tried, violations = 0, []
    for number, (store_fault, each) in enumerate(CASES):
        if each == command:
            try:
                tried += check(world, tmp_path / str(number), number)
            except AssertionError as violation:
                violations.append(f"{store_fault.name}: {violation}")
    assert not violations, "\n".join(violations)
    assert tried >= 25
    figure(1, f"store faults: {command}", tried=tried, violations=len(violations))


def try_corrupt(world: World, home: Path, faults: list[StoreFault]) -> int:
    """Verify an object with a flipped bit under each of the faults; returns how many occurred."""
    program, tried = world.program(home), 0
    name = f"corrupt-{len(faults)}.bin"
    original(program, name, SMALL)
    program.ok("upload", name)
    client, place = world.server.client(), {"Bucket": world.bucket, "Key": f"archive/{name}.tar.gz"}
    there = client.get_object(**place)
    body = bytearray(there["Body"].read())
    body[len(body) // 3] ^= 1
    client.put_object(**place, Body=bytes(body), Metadata=there["Metadata"], ChecksumAlgorithm="CRC64NVME")
    for command, options in (("verify", []), ("read-back", ["--read-back"])):
        for store_fault in faults:
            world.break_store(fault := store_fault.fault(command))
            done = program.run("verify", name, *options)
            tried += fault.met > 0
            assert done.returncode != 0, (command, store_fault.name)
            assert_clear_error(done)
        world.heal()
        assert program.run("verify", name, *options).returncode == 8
    return tried


def test_verify_rejects_a_corrupt_object_under_some_faults(world: World, tmp_path: Path) -> None:
    assert try_corrupt(world, tmp_path / "home", random.Random(5).sample(FAULTS, 4))


@pytest.mark.torture
def test_verify_rejects_a_corrupt_object_under_every_fault(world: World, tmp_path: Path, figure: Figure) -> None:
    tried = try_corrupt(world, tmp_path / "home", list(FAULTS))
    assert tried >= 50
    figure(17, "a corrupt object, verified under store faults", tried=tried, violations=0)
