"""A store on endpoints that differ from Amazon's: what is refused and why, and the settings of boto3."""

import io
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import SSLError

from mgmt.errors import ConfigurationError, ConflictError, IntegrityError, MgmtError, StoreError, StoreUnavailableError
from mgmt.storage import OPERATION, Capabilities, ObjectStore, StoredObject, StoreOptions, open_store, publish
from mgmt.storage.etags import given_etag, has_etag, require_etag, same_etag, stored_etag
from mgmt.storage.multipart import part_limit
from mgmt.storage.s3 import connect
from mgmt.storage.s3_errors import translated
from tests.quirks import Endpoint, quirky
from tests.storage.conftest import PART
from tests.storage.test_contract import KEY, content, interrupted, started, uploaded

URL = "s3://quirks/t"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(publish, "PAUSES", (0,) * len(publish.PAUSES))
    with quirky(Endpoint) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def store(endpoint: Endpoint) -> ObjectStore:
    return open_store(URL, recall=lambda _: Capabilities("crc64nvme"))


def put(store: ObjectStore) -> StoredObject:
    return store.put("i", io.BytesIO(b"index"), size=5, metadata={OPERATION: "op"})


def refused(call: Callable[[], object], kind: type[MgmtError] = StoreError) -> MgmtError:
    with pytest.raises(kind) as raised:
        call()
    assert type(raised.value) is kind
    assert "\n" not in raised.value.message
    return raised.value


PERMISSIONS, KEY_OF_STORE, SPACE, REGION = "s3:PutObject", "kms:Decrypt", "quota", "mgmt config set region"
CAP = "Cannot upload files, storage cap exceeded. See the Caps & Alerts page to increase your cap."
NO_KEY = "User: arn:aws:iam::1:user/x is not authorized to perform: kms:GenerateDataKey on resource: y"


@pytest.mark.parametrize(
    ("answer", "words", "next_step"),
    [
        ("403 AccessDenied", CAP, SPACE),
        ("403 AccessDenied", "Transaction cap exceeded", SPACE),
        ("403 AccessDenied", NO_KEY, KEY_OF_STORE),
        ("403 AccessDenied", "explicit deny in a resource-based policy", PERMISSIONS),
        ("400 KMS.DisabledException", "arn:aws:kms:eu-west-1:1:key/x is disabled.", KEY_OF_STORE),
        ("507 XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.", SPACE),
        ("507 ", "", SPACE),
        ("403 QuotaExceeded", "The quota of the bucket is exceeded", SPACE),
        ("301 PermanentRedirect", "send requests to the endpoint b.s3.example.com", REGION),
        ("308 PermanentRedirect", "it is elsewhere", REGION),
        ("400 AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-1'", REGION),
        ("400 InvalidStorageClass", "The storage class is not supported", ""),
    ],
)
def test_a_refusal_for_good_has_the_words_of_the_store(
    endpoint: Endpoint, store: ObjectStore, answer: str, words: str, next_step: str
) -> None:
    endpoint.tell("^PUT ", answer, words)
    error = refused(lambda: put(store))
    assert words in error.message
    assert next_step in (error.next_step or "")
    assert not error.retryable
    assert error.exit_status == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("503 SlowDown", "Please reduce your request rate."),
        ("500 InternalError", "the disk of a node is being replaced"),
        ("307 TemporaryRedirect", "until the name server is updated"),
        ("429 TooManyRequests", "1000 a minute"),
        ("503 ", ""),
    ],
)
def test_a_refusal_for_now_has_the_words_of_the_store(
    endpoint: Endpoint, store: ObjectStore, answer: str, words: str
) -> None:
    endpoint.tell("^PUT ", answer, words)
    error = refused(lambda: put(store), StoreUnavailableError)
    assert words in error.message
    assert error.retryable
    assert error.exit_status == 5


def test_a_redirect_names_the_region(endpoint: Endpoint, store: ObjectStore) -> None:
    endpoint.tell("^PUT ", "301 PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-1"})
    assert "it is in eu-west-1" in refused(lambda: put(store)).message


@pytest.mark.parametrize("words", ["Access Denied", "Access Denied.", "Forbidden", ""])
def test_words_that_say_nothing_are_left_out(endpoint: Endpoint, store: ObjectStore, words: str) -> None:
    endpoint.tell("^PUT ", "403 AccessDenied", words)
    assert refused(lambda: put(store)).message == "access denied: s3://quirks/t/i"


def test_a_refused_head_has_the_reason_of_a_get(endpoint: Endpoint, store: ObjectStore) -> None:
    sent, _ = uploaded(store, content(100))
    endpoint.tell("^HEAD .*archive", "403 AccessDenied")
    endpoint.tell("^GET .*archive", "403 AccessDenied", NO_KEY.replace("GenerateDataKey", "Decrypt"))
    for call in (lambda: store.prove(KEY, sent), lambda: store.head(KEY)):
        error = refused(call)
        assert "not authorized to perform: kms:Decrypt" in error.message
        assert error.next_step is not None
        assert "kms:Decrypt" in error.next_step
    endpoint.tell("^GET .*archive", "403 InvalidObjectState", "it is frozen")
    assert "access denied" in refused(lambda: store.prove(KEY, sent)).message


def test_a_role_that_may_not_be_assumed_is_reported(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
    role = "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = user\n"
    (tmp_path / "config").write_text(f"{role}[profile user]\n{keys}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    endpoint.tell("^POST /$", "403 AccessDenied", "User: x is not authorized to perform: sts:AssumeRole on y")
    store = open_store(URL, StoreOptions(profile="role"))
    error = refused(lambda: store.head("k"))
    assert "not authorized to perform: sts:AssumeRole" in error.message
    assert "role_arn" in (error.next_step or "")


def test_an_endpoint_without_encryption_is_reported(endpoint: Endpoint) -> None:
    store = open_store(URL, StoreOptions(endpoint.endpoint_url.replace("http:", "https:")))
    error = refused(lambda: store.head("k"))
    assert "is not trusted" in error.message
    assert not error.retryable


@pytest.mark.parametrize(
    ("reason", "retryable"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", False),
        ("hostname 'a' doesn't match 'b'", False),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol", True),
    ],
)
def test_a_certificate_that_is_not_trusted_is_no_network_failure(reason: str, retryable: bool) -> None:
    with pytest.raises(StoreError) as raised, translated("s3://b/k"):
        raise SSLError(endpoint_url="https://s3.example.com", error=ssl.SSLError(1, reason))
    assert raised.value.retryable is retryable
    assert reason in raised.value.message


@pytest.mark.parametrize(
    ("config", "variables", "expected"),
    [
        ("", {}, "http://s3.example.com/bucket/p/k"),
        ("s3 =\n  addressing_style = virtual\n", {}, "http://bucket.s3.example.com/p/k"),
        ("s3 =\n  addressing_style = path\n", {}, "http://s3.example.com/bucket/p/k"),
        ("", {"AWS_REGION": "eu-north-1"}, "%2Feu-north-1%2Fs3%2F"),
        ("region = eu-west-3\n", {}, "%2Feu-west-3%2Fs3%2F"),
        ("region = eu-west-3\n", {"AWS_REGION": "eu-north-1"}, "%2Feu-north-1%2Fs3%2F"),
        ("", {"AWS_DEFAULT_REGION": "eu-west-3", "AWS_REGION": "eu-north-1"}, "%2Feu-north-1%2Fs3%2F"),
        ("", {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "https://bucket.s3.amazonaws.com/p/k"),
    ],
    ids=str,
)
def test_the_settings_of_boto3_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, variables: dict[str, str], expected: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = http://s3.example.com\n{config}")
    own = {"AWS_CONFIG_FILE": f"{tmp_path}/config", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**own, **variables}.items():
        monkeypatch.setenv(name, value)
    bucket = connect("bucket", "p", StoreOptions())
    url = bucket.client.generate_presigned_url("get_object", Params=bucket.place("k"))
    assert expected in url


def test_the_other_settings_of_boto3_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\ns3 =\n  payload_signing_enabled = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    for name, value in {"AWS_MAX_ATTEMPTS": "7", "AWS_RETRY_MODE": "adaptive", "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    settings: Any = connect("bucket", "p", StoreOptions()).client.meta.config
    assert settings.retries["total_max_attempts"] == 7
    assert settings.retries["mode"] == "adaptive"
    assert settings.s3["payload_signing_enabled"]
    assert settings.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_RETRY_MODE", "legacy")
    settings = connect("bucket", "p", StoreOptions()).client.meta.config
    assert settings.retries["mode"] == "legacy"
    monkeypatch.delenv("AWS_RETRY_MODE")
    settings = connect("bucket", "p", StoreOptions()).client.meta.config
    assert settings.retries["mode"] == "standard"
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    assert connect("bucket", "p", StoreOptions()).endpoint == "https://s3.dualstack.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("answer", ["400 InvalidArgument", "400 InvalidHeader", "501 NotImplemented", "403 Forbidden"])
@pytest.mark.parametrize("request_line", [r"^POST .*probe.*uploads", r"^PUT .*probe.*partNumber"])
def test_a_checksum_that_an_endpoint_does_not_know_is_not_trusted(
    endpoint: Endpoint, answer: str, request_line: str
) -> None:
    """It may refuse the header in any way: the next checksum is probed, and Content-MD5 last."""
    endpoint.tell(request_line, answer, times=2)
    assert open_store(URL).capabilities() == Capabilities("md5")
    assert endpoint.uploads == {}


@pytest.mark.parametrize("answer", ["403 AccessDenied", "400 ExpiredToken", "503 SlowDown"])
def test_a_store_that_refuses_everything_is_not_probed(endpoint: Endpoint, answer: str) -> None:
    endpoint.tell("", answer)
    with pytest.raises(StoreError):
        open_store(URL).capabilities()


def test_a_probe_that_may_not_be_removed_is_no_failure(endpoint: Endpoint) -> None:
    endpoint.tell("^DELETE ", "403 AccessDenied")
    assert open_store(URL).capabilities() == Capabilities("crc64nvme")
    assert open_store(URL).capabilities() == Capabilities("crc64nvme")
    assert list(endpoint.objects) == ["t/.mgmt/probe"]
    assert [list(each.parts) for each in endpoint.uploads.values()] == [[1], [1]]


def test_an_access_point_stands_for_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    store = open_store(f"s3://{arn}/movies/2024/", StoreOptions(region="eu-west-1"))
    assert (store.url, store.bucket) == (f"s3://{arn}/movies/2024", arn)
    assert store.location("k") == f"s3://{arn}/movies/2024/k"
    bucket = connect(arn, "movies", StoreOptions(region="us-east-1"))
    url = bucket.client.generate_presigned_url("get_object", Params=bucket.place("k"))
    assert url.startswith("https://mine-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/movies/k?")


@pytest.mark.parametrize(
    ("url", "proper"),
    [
        ("s3://bucket//x", "s3://bucket/x"),
        ("s3://bucket/x//y///", "s3://bucket/x/y"),
        ("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/a//x", None),
    ],
)
def test_a_prefix_with_an_empty_part_is_refused_with_the_proper_one(url: str, proper: str | None) -> None:
    error = refused(lambda: open_store(url), ConfigurationError)
    assert (proper or url.replace("//x", "/x")) in (error.next_step or "")


@pytest.mark.parametrize("arn", ["arn:aws:s3:::bucket", "arn:aws:s3:eu-west-1:1:accesspoint/a", "arn:aws:sns:a:b:c/d"])
def test_other_resource_names_are_refused(arn: str) -> None:
    assert "not a bucket name" in refused(lambda: open_store(f"s3://{arn}/p"), ConfigurationError).message


def test_pending_uploads_and_parts_are_listed_without_markers(endpoint: Endpoint, store: ObjectStore) -> None:
    endpoint.quirks.page, endpoint.quirks.tokens = 2, False
    upload_id = interrupted(store, content(4 * PART + 1))
    for number in range(4):
        started(store, f"other-{number}", resume=None).write(content(PART + 1))
    found = list(store.pending())
    assert len(found) == 5
    assert [each.size for each in found if each.upload_id == upload_id] == [4 * PART]
    again = started(store, resume=upload_id)
    again.write(content(4 * PART + 1))
    again.finish()
    assert again.parts_skipped == 4


def test_parts_that_may_not_be_listed_have_no_size(endpoint: Endpoint, store: ObjectStore) -> None:
    interrupted(store, content(PART + 1))
    endpoint.tell("^GET .*uploadId", "403 AccessDenied")
    assert [each.size for each in store.pending()] == [None]
    endpoint.told.clear()
    endpoint.quirks.omits = frozenset({"Size"})
    assert [each.size for each in store.pending()] == [None]


@pytest.mark.parametrize("field", ["Key", "UploadId", "PartNumber"])
def test_an_answer_without_what_is_required_is_no_traceback(endpoint: Endpoint, store: ObjectStore, field: str) -> None:
    put(store)
    interrupted(store, content(PART + 1))
    endpoint.quirks.lacks = field
    with pytest.raises(StoreUnavailableError, match="invalid answer"):
        [*store.list(), *store.pending()]


def test_a_listing_in_empty_pages_is_an_error(endpoint: Endpoint, store: ObjectStore) -> None:
    put(store)
    endpoint.quirks.page = 0
    endpoint.quirks.tokens = False
    assert "cannot list all" in refused(lambda: list(store.list())).message


def test_an_object_without_size_in_a_listing_is_looked_up(endpoint: Endpoint, store: ObjectStore) -> None:
    put(store)
    endpoint.quirks.omits = frozenset({"Size"})
    [listed] = store.list()
    assert listed.size == 5


def test_etags() -> None:
    assert [stored_etag(each) for each in ('"a"', "a", 'W/"a"', None)] == ["a", "a", 'W/"a"', ""]
    assert [given_etag(each) for each in ("a", 'W/"a"')] == ['"a"', 'W/"a"']
    assert same_etag("a", 'W/"a"')
    assert not same_etag("a", "b")
    assert not same_etag("a", None)
    assert has_etag(StoredObject("k", 1, 'W/"a"'), "a")
    assert not has_etag(StoredObject("k", 1, ""), "")
    with pytest.raises(ConflictError):
        require_etag("s3://b/k", "a", "b")
    with pytest.raises(StoreError, match="no ETag"):
        require_etag("s3://b/k", "", "")


@pytest.mark.parametrize(
    ("message", "number", "limit"),
    [
        ("InvalidArgument Part number must be an integer between 1 and 1000, inclusive", 1001, 1000),
        ("InvalidArgument Part number must be an integer between 1 and 10000, inclusive", 10_001, 10_000),
        ("InvalidArgument partNumber is out of range", 1001, 1000),
        ("InvalidRequest too many parts", 7, 6),
        ("InvalidArgument Invalid header", 7, None),
        ("InvalidArgument Part number must be an integer between 1 and 10000, inclusive", 1, None),
    ],
)
def test_a_limit_of_parts_is_read_from_a_refusal(message: str, number: int, limit: int | None) -> None:
    assert part_limit(message, number) == limit


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ([ConflictError("taken")], StoreUnavailableError),
        ([StoreUnavailableError("no answer"), ConflictError("taken")], StoreUnavailableError),
        ([StoreUnavailableError("no answer"), IntegrityError("a part is gone")], StoreUnavailableError),
        ([IntegrityError("damaged")], IntegrityError),
        ([StoreUnavailableError("no answer")], StoreUnavailableError),
    ],
)
def test_only_an_object_under_the_key_is_a_conflict(
    monkeypatch: pytest.MonkeyPatch, failures: list[MgmtError], kind: type[MgmtError]
) -> None:
    monkeypatch.setattr(publish, "PAUSES", (0,) * 8)
    left = iter(failures)

    def fail() -> None:
        raise next(left, failures[-1])

    with pytest.raises(kind) as raised:
        publish.publish_once("s3://b/k", head=lambda: None, publish=fail, is_ours=lambda _: True)
    assert type(raised.value) is kind


def test_an_index_is_stored_also_where_there_is_no_standard_class(endpoint: Endpoint, store: ObjectStore) -> None:
    endpoint.tell("^PUT ", "400 InvalidStorageClass", times=1)
    assert put(store).size == 5
