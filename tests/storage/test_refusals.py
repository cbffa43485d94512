"""Errors take one line, name the next step, and contain no secret."""

import io
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mgmt.errors import ConfigurationError, MgmtError, StoreError, StoreUnavailableError
from mgmt.storage import OPERATION, Attributes, Capabilities, ObjectStore, StoreOptions, Transfer, open_store
from tests.servers import Server
from tests.storage.conftest import fresh_url

CANARY = "canary-Secret/Key+7331"


def every_call(store: ObjectStore) -> list[Callable[[], object]]:
    def upload() -> object:
        begun = store.start_upload("k", Attributes({OPERATION: "op"}), Transfer(1))
        begun.write(b"x")
        return begun.complete()

    return [
        lambda: store.head("k"),
        lambda: list(store.list()),
        lambda: list(store.pending()),
        lambda: store.read("k", 0, 1),
        lambda: list(store.stream("k")),
        lambda: store.put("k", io.BytesIO(b"x"), size=1, metadata={OPERATION: "op"}),
        upload,
    ]


def refused(call: Callable[[], object]) -> MgmtError:
    with pytest.raises(MgmtError) as raised:
        call()
    shown = f"{raised.value.message} {raised.value.next_step} {raised.value!r}"
    assert "\n" not in raised.value.message
    assert CANARY not in shown
    assert raised.value.next_step
    return raised.value


def test_a_missing_bucket_is_reported(seaweed: Server) -> None:
    for call in every_call(open_store("s3://no-such-bucket/p")):
        error = refused(call)
        assert isinstance(error, StoreError)
        assert "bucket does not exist" in error.message
        assert not error.retryable


def test_wrong_credentials_are_reported(seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fresh_url(seaweed)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    for call in every_call(open_store(url, recall=lambda _: Capabilities("crc64nvme"))):
        assert "credentials" in refused(call).message
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    for call in every_call(open_store(url)):
        assert "credentials" in refused(call).message


def test_missing_credentials_are_reported(seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    for call in every_call(open_store("s3://storage/p")):
        assert "no credentials" in refused(call).message


def test_an_unreachable_endpoint_is_reported(seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store("s3://storage/p", StoreOptions("http://127.0.0.1:1"))
    for call in every_call(store):
        error = refused(call)
        assert isinstance(error, StoreUnavailableError)
        assert error.retryable


def test_another_server_is_reported(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server that is not S3."""
    store = open_store(
        "s3://storage/p", StoreOptions(f"{moto.endpoint_url}/moto-api/"), recall=lambda _: Capabilities(None)
    )
    for call in every_call(store):
        with pytest.raises(MgmtError):
            call()


def test_unavailable_credentials_are_not_quoted(
    seaweed: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = f"{tmp_path}/config"
    with open(config, "w") as file:
        file.write(f"[profile broken]\ncredential_process = sh -c 'echo {CANARY} >&2; exit 1'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", config)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    error = refused(lambda: open_store("s3://storage/p", StoreOptions(profile="broken")).head("k"))
    assert "credentials" in error.message
    assert CANARY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (StoreOptions(profile="nobody"), "nobody"),
        (StoreOptions("127.0.0.1:9000"), "boto3 cannot use"),
        (StoreOptions("http://127.0.0.1:port"), "boto3 cannot use"),
        (StoreOptions(f"http://user:{CANARY}@127.0.0.1:9000"), "URL contains credentials"),
        (StoreOptions("http://user:pass@127.0.0.1:9000"), "URL contains credentials"),
    ],
)
def test_invalid_settings_are_rejected(options: StoreOptions, why: str) -> None:
    error = refused(lambda: open_store("s3://bucket/p", options))
    assert isinstance(error, ConfigurationError)
    assert why in error.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "/directory",
        "http://bucket/prefix",
        "S3://bucket",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://b/x",
        "s3://bucket/a/../b",
        "s3://bucket//b",
        "file:directory",
        "file://",
        "file:///",
        "file://host/directory",
        "file://./directory",
        "file:///a\0b",
    ],
)
def test_invalid_store_urls_are_rejected(url: str) -> None:
    assert isinstance(refused(lambda: open_store(url)), ConfigurationError)


@pytest.mark.parametrize(
    ("url", "same", "bucket"),
    [
        ("s3://bucket", "s3://bucket", "bucket"),
        ("s3://bucket/", "s3://bucket", "bucket"),
        ("s3://my.bucket/a b/ü/", "s3://my.bucket/a b/ü", "my.bucket"),
        ("file:///x/y/", "file:///x/y", None),
        ("file:///x//z/../y", "file:///x/y", None),
        ("file:////x/100% mine", "file:///x/100% mine", None),
    ],
)
def test_store_urls_are_normalized(url: str, same: str, bucket: str | None) -> None:
    store = open_store(url)
    assert (store.url, store.bucket) == (same, bucket)
    assert store.location("k") == f"{same}/k"
    assert open_store(store.url).url == same


def test_amazon_itself_gets_virtual_hosts_and_others_get_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgmt.storage.s3 import connect

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    def url_of(endpoint_url: str | None = None) -> str:
        bucket = connect("bucket", "p", StoreOptions(endpoint_url, region="eu-central-1"))
        return str(bucket.client.generate_presigned_url("get_object", Params=bucket.place("k"))).partition("?")[0]

    assert url_of().startswith("https://bucket.s3.")
    assert url_of("http://minio.example:9000") == "http://minio.example:9000/bucket/p/k"


def test_an_endpoint_is_probed_once(seaweed: Server) -> None:
    url = fresh_url(seaweed)
    found: list[Capabilities] = []
    store = open_store(url, on_probed=lambda _, seen: found.append(seen))
    assert store.capabilities() == store.capabilities() == Capabilities("crc64nvme")
    assert found == [Capabilities("crc64nvme")]
    assert list(store.pending()) == []
    assert list(store.list()) == []
    remembered = open_store(url, recall=lambda _: Capabilities("sha256"), on_probed=lambda _, seen: found.append(seen))
    assert remembered.capabilities() == Capabilities("sha256")
    assert len(found) == 1
