"""Real S3 servers on loopback, each in a folder of its own, as long as a `with` lasts."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests import waiting
from tests.guard import dismiss, watch

ACCESS_KEY = "test"
SECRET_KEY = "testtest1"
START_SECONDS = 600
"""Seconds to wait for a server; a busy machine only makes it late."""

NO_USER_SETTINGS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Variables that keep boto3 from the user's own settings, and from requesting credentials on the network."""


@dataclass(frozen=True)
class Server:
    """A running S3 endpoint."""

    name: str
    endpoint_url: str
    environment: Mapping[str, str]
    """Variables by which boto3's own chain finds it and its credentials."""
    pid: int
    folder: Path
    """The folder of its files; its log is `folder / "log"`."""
    master_url: str | None = None
    """Where SeaweedFS is told to allocate volumes."""

    def create_bucket(self, name: str, **options: Any) -> None:
        """Create a bucket with room for its objects: SeaweedFS takes 0.2 s to notice that the first one has none."""
        self.client().create_bucket(Bucket=name, **options)
        if self.master_url is not None:
            grow = f"{self.master_url}/vol/grow?collection={name}&count=1&replication=000"
            urllib.request.urlopen(grow, timeout=START_SECONDS).close()

    def client(self) -> Any:
        """A plain boto3 client, to access the server without mgmt."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@contextmanager
def seaweedfs(folder: Path | None = None) -> Iterator[Server]:
    """SeaweedFS: it verifies checksums and honours If-None-Match."""
    masters: list[int] = []

    def command(home: Path) -> tuple[list[str], int]:
        master, volume, filer, s3, admin = (free_port(twin=10_000) for _ in range(5))
        masters.append(master)
        config = home / "s3.json"
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        config.write_text(
            json.dumps({"identities": [{"name": "admin", "credentials": credentials, "actions": actions}]})
        )
        data = home / "data"
        data.mkdir(exist_ok=True)
        return [
            _program("weed"),
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            "-master.telemetry=false",
            f"-volume.port={volume}",
            "-volume.max=400",
            f"-filer.port={filer}",
            f"-filer.localSocket={home / 'filer.sock'}",
            f"-s3.port={s3}",
            f"-s3.localSocket={home / 's3.sock'}",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.cacheCapacityMB=0",
            "-s3.readerCacheSizeMB=64",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
            f"-admin.port={admin}",
            "-admin.ui=false",
            "-webdav=false",
        ], s3

    with _serve("seaweedfs", command, "/healthz", folder, {"GOMEMLIMIT": "800MiB"}) as server:
        client = server.client()
        until(lambda: _put_works(client), server.folder, "a PUT")
        yield replace(server, master_url=f"http://127.0.0.1:{masters[-1]}")


@contextmanager
def rclone(folder: Path | None = None) -> Iterator[Server]:
    """`rclone serve s3`: it ignores If-None-Match and every checksum but Content-MD5."""

    def command(home: Path) -> tuple[list[str], int]:
        port = free_port()
        data = home / "data"
        data.mkdir(exist_ok=True)
        return [
            _program("rclone"),
            "serve",
            "s3",
            "--config=/dev/null",
            f"--cache-dir={home / 'cache'}",
            f"--addr=127.0.0.1:{port}",
            f"--auth-key={ACCESS_KEY},{SECRET_KEY}",
            str(data),
        ], port

    with _serve("rclone", command, "/", folder) as server:
        yield server


@contextmanager
def moto(folder: Path | None = None) -> Iterator[Server]:
    """moto: it supports frozen storage classes, but verifies nothing."""

    def command(_home: Path) -> tuple[list[str], int]:
        port = free_port()
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port

    with _serve("moto", command, "/moto-api/", folder) as server:
        yield server


@contextmanager
def _serve(
    name: str,
    command: Callable[[Path], tuple[list[str], int]],
    ready: str,
    folder: Path | None,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix=f"mgmt-{name}-", ignore_cleanup_errors=True) as temporary:
        home = folder or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        with _started(command, home, extra or {}, ready, temporary) as (process, port):
            url = f"http://127.0.0.1:{port}"
            yield Server(name, url, environment(url), process.pid, home)


def environment(endpoint_url: str) -> dict[str, str]:
    """The variables by which boto3 finds a server of this module, and none of the user's own settings."""
    return {
        **NO_USER_SETTINGS,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def _started(
    command: Callable[[Path], tuple[list[str], int]], home: Path, extra: Mapping[str, str], ready: str, temporary: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    for attempt in (1, 2, 3):  # another process may take the port before the server binds it
        arguments, port = command(home)
        with _running(arguments, home, extra, temporary) as process:
            try:
                until(lambda: _answers(f"http://127.0.0.1:{port}{ready}"), home, "an answer", process)  # noqa: B023
            except RuntimeError:
                if attempt == 3:
                    raise
                continue
            yield process, port
            return


@contextmanager
def _running(
    arguments: list[str], home: Path, extra: Mapping[str, str], temporary: str
) -> Iterator[subprocess.Popen[bytes]]:
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env={**os.environ, **extra},
            start_new_session=True,  # Ctrl-C goes to the test run, which then stops the server
        )
    guard = watch(process.pid, temporary)
    try:
        yield process
    finally:
        _stop(process)
        dismiss(guard)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(done: Callable[[], bool], home: Path, what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for a server, as long as its process runs. Raises RuntimeError with the end of its log."""

    ended = False

    def ready_or_ended() -> bool:
        nonlocal ended
        ended = process is not None and process.poll() is not None
        return ended or done()

    try:
        waiting.until(ready_or_ended, what, seconds=START_SECONDS)
    except TimeoutError:
        ended = True
    if ended:
        log = (home / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"no server: waited for {what}\n{log}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _put_works(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.create_bucket(Bucket="ready")
    except client.exceptions.BucketAlreadyExists:
        pass  # this is a retry
    except (BotoCoreError, ClientError):
        return False
    try:
        client.put_object(Bucket="ready", Key="ready", Body=b"ready")
    except (BotoCoreError, ClientError):
        return False
    return True


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def free_port(*, twin: int = 0) -> int:
    """A free port below the kernel's ephemeral range, so that no outgoing connection can take it first.

    With `twin`, the port `twin` above it is free as well (SeaweedFS puts gRPC there).
    """
    while True:
        port = random.randrange(10_000, 22_000)
        if all(_is_free(each) for each in {port, port + twin}):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
