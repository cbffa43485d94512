"""A request goes to a public address that was looked at, or nowhere."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mgmt.services.steps.addresses import is_allowed
from mgmt.services.steps.post import Request, UndeliveredError, post
from tests.receiver import Receiver, receiver

_FORBIDDEN = """
http://127.0.0.1/ http://127.1/ http://127.0.1/ http://127.255.255.254/ http://2130706433/ http://0x7f000001/
http://0x7f.1/ http://0x7f.0x0.0x0.0x1/ http://0177.0.0.1/ http://017700000001/ http://00000177.1/ http://0/
http://0.0.0.0/ http://0x0/ http://00/ http://0.1.2.3/ http://localhost/ http://LOCALHOST/ http://localhost:22/
http://10.0.0.1/ http://10.1/ http://167772161/ http://0xa000001/ http://012.0.0.1/ http://172.16.0.1/
http://172.31.255.255/ http://192.168.0.1/ http://192.168.1/ http://3232235521/ http://0xc0a80001/ http://0300.0250.0.1/
http://169.254.169.254/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/ http://169.254.43518/
http://100.64.0.1/ http://100.127.255.254/ http://192.0.0.1/ http://192.0.0.8/ http://192.0.0.9/ http://192.0.0.170/
http://192.0.2.1/ http://198.18.0.1/ http://198.51.100.1/ http://203.0.113.1/ http://192.88.99.1/ http://224.0.0.1/
http://239.255.255.250/ http://233.252.0.1/ http://240.0.0.1/ http://255.255.255.255/ http://4294967295/
http://[::1]/ http://[0:0:0:0:0:0:0:1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[::ffff:10.0.0.1]/ http://[::ffff:169.254.169.254]/ http://[::127.0.0.1]/ http://[::10.0.0.1]/
http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::10.0.0.1]/ http://[64:ff9b::a9fe:a9fe]/ http://[64:ff9b::224.0.0.1]/
http://[64:ff9b:1::10.0.0.1]/ http://[2002:7f00:1::]/ http://[2002:a00:1::1]/ http://[2002:c0a8:1::]/
http://[2001::1]/ http://[2001:0:7f00:1::]/ http://[2001:db8::1]/ http://[2001:10::1]/ http://[2001:20::1]/
http://[fc00::1]/ http://[fd12:3456::1]/ http://[fe80::1]/ http://[fec0::1]/ http://[ff02::1]/ http://[ff0e::1]/
http://[100::1]/ http://[3fff::1]/ http://[5f00::1]/ http://[4000::1]/ http://[fd00:ec2::254]/
http://public.example@127.0.0.1/ http://public.example:80@127.0.0.1/ http://1.1.1.1@10.0.0.1/
http://127.0.0.1@[::1]/ https://127.0.0.1/ https://[::1]:8443/
"""
FORBIDDEN = _FORBIDDEN.split()

MALFORMED = [
    "http://public.example\\@127.0.0.1/", "http://127.0.0.1\t/", "http://127.0.0.1 /", "http:///127.0.0.1/",
    "http:127.0.0.1", "//127.0.0.1/", "gopher://127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/", "http://",
    "http://a@b@127.0.0.1/", "http://[::1/", "http://[::1%25lo]/", "http://127.0.0.1:0/", "http://127.0.0.1:65536/",
    "http://１２７.0.0.1/", "http://127。0。0。1/", "http://ⓛocalhost/", "http://127.0.0.1\r\nHost: x/", "http://[fe80::1%25lo]/",
    "http://127.0.0.1/#@public.example/", "unix:///run/docker.sock", "HTTP\x00://127.0.0.1/",
]  # fmt: skip


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where connections were made to; each is refused."""
    made: list[Any] = []

    def connect(_self: socket.socket, place: Any) -> None:
        made.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return made


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let every name resolve to these addresses, a list for each time; returns the names that were asked for."""

    def to(*answers: list[str]) -> list[str]:
        left, asked = list(answers), []

        def resolve(host: str, port: int, **_: object) -> list[Any]:
            asked.append(host)
            found = left.pop(0) if len(left) > 1 else left[0]
            kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
            return [
                (kinds[ipaddress.ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, port)) for each in found
            ]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        return asked

    return to


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def send(url: str, *, private: bool = False, seconds: float = 5) -> None:
    post(Request(url, b"{}", {}), private=private, seconds=seconds)


def test_there_are_many() -> None:
    assert len(set(FORBIDDEN)) == len(FORBIDDEN) > 90


@pytest.mark.parametrize("url", [*FORBIDDEN, *MALFORMED])
def test_nothing_is_sent_to_what_is_not_public(url: str, connections: list[Any]) -> None:
    with pytest.raises(UndeliveredError):
        send(url)
    assert connections == []


NEVER = [
    "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8", "192.0.2.1", "::",
    "fe80::1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_allow_private_does_not_allow_everything(
    address: str, connections: list[Any], resolves: Callable[..., list[str]]
) -> None:
    assert not is_allowed(ipaddress.ip_address(address), private=True)
    resolves([address])
    with pytest.raises(UndeliveredError):
        send("http://rebound.example/", private=True)
    assert connections == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.2.3.4", "192.168.1.9", "100.100.1.1", "::1", "fd00::1"])
def test_allow_private_allows_networks_of_the_user(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), private=True)
    assert not is_allowed(ipaddress.ip_address(address), private=False)


@pytest.mark.parametrize("address", ["1.1.1.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), private=False)


def test_a_name_is_resolved_once_and_its_very_address_is_connected_to(
    connections: list[Any], resolves: Callable[..., list[str]]
) -> None:
    asked = resolves(["1.1.1.1"], ["127.0.0.1"])
    with pytest.raises(UndeliveredError):
        send("http://rebound.example:8080/")
    assert (asked, connections) == (["rebound.example"], [("1.1.1.1", 8080)])


def test_a_name_with_one_private_address_is_refused(connections: list[Any], resolves: Callable[..., list[str]]) -> None:
    resolves(["1.1.1.1", "10.0.0.1"])
    with pytest.raises(UndeliveredError, match=r"10\.0\.0\.1 is not a public address"):
        send("http://both.example/")
    assert connections == []


def test_each_address_of_a_name_is_tried(connections: list[Any], resolves: Callable[..., list[str]]) -> None:
    resolves(["1.1.1.1", "2606:4700::1111"])
    with pytest.raises(UndeliveredError):
        send("http://both.example/")
    assert [place[0] for place in connections] == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Receiver, status: int) -> None:
    with receiver() as other:
        server.answers, server.headers = [status], {"Location": f"{other.url}/elsewhere"}
        with pytest.raises(UndeliveredError, match=rf"answered {status}: redirects are not followed"):
            send(server.url, private=True)
    assert (len(server.got), other.got) == (1, [])


def test_no_proxy_of_the_environment_is_used(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        send(f"{server.url}/here", private=True)
    assert ([each.path for each in server.got], proxy.got) == (["/here"], [])


def test_what_is_sent(server: Receiver) -> None:
    url = server.url.replace("//", "//ann:p%40ss@") + "/a/b?c=d&e"
    post(Request(url, b"body", {"X-One": "1"}), private=True, seconds=5)
    (got,) = server.got
    assert (got.path, got.body) == ("/a/b?c=d&e", b"body")
    assert got.headers["host"] == server.url.removeprefix("http://")
    assert got.headers["authorization"] == "Basic YW5uOnBAc3M="
    assert got.headers["x-one"] == "1"


def test_an_error_says_the_status_and_no_secret(server: Receiver) -> None:
    server.answers, server.content = [500], b"zzsecretzz"
    with pytest.raises(UndeliveredError) as caught:
        send(server.url.replace("//", "//ann:zzsecretzz@") + "/zzsecretzz", private=True)
    assert (str(caught.value), caught.value.gone) == ("127.0.0.1 answered 500", False)
    server.answers = [410]
    with pytest.raises(UndeliveredError) as caught:
        send(server.url, private=True)
    assert caught.value.gone


def test_an_answer_without_end_is_not_read(server: Receiver) -> None:
    server.content = b"x" * (4 << 20)
    send(server.url, private=True)


def test_a_receiver_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        pytest.raises(UndeliveredError, match="did not ans"),
    ):
        send(f"http://127.0.0.1:{silent.getsockname()[1]}/", private=True, seconds=0.05)


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000]
)
def test_an_answer_that_is_not_http(answer: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def respond() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        with pytest.raises(UndeliveredError):
            send(f"http://127.0.0.1:{listening.getsockname()[1]}/", private=True)
        thread.join()


def certificate(folder: Path, name: str) -> Path:
    """A file with a certificate for `name`, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(pem) + secret)
    return path


@pytest.mark.parametrize(("host", "works"), [("hooks.example", True), ("other.example", False)])
def test_tls_is_for_the_name_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolves: Callable[..., list[str]], host: str, works: bool
) -> None:
    own = certificate(tmp_path, "hooks.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    got: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def respond() -> None:
            connection, _ = listening.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    request = b""
                    # What is not read yet would reset the connection.
                    while not request.endswith(b"{}") and (chunk := secured.recv(65536)):
                        request += chunk
                    got.append(request)
                    secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                connection.close()

        thread = threading.Thread(target=respond)
        thread.start()
        resolves(["127.0.0.1"])
        url = f"https://{host}:{listening.getsockname()[1]}/"
        if works:
            send(url, private=True)
            assert f"Host: {host}:".encode() in got[0]
        else:
            with pytest.raises(UndeliveredError, match=r"^other\.example: TLS failed"):
                send(url, private=True)
        thread.join()
    assert bool(got) == works
