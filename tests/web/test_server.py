"""The server of the pages: what it says to whom, whoever the clients are."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus

import pytest

from mgmt.errors import BusyError
from mgmt.web import server as web_server
from mgmt.web.answer import HEADERS, Answer
from mgmt.web.guard import Refusal
from mgmt.web.server import CONNECTIONS, LARGEST_HEAD, MOST_HEADERS, Server
from tests.program import Program
from tests.waiting import until
from tests.web.visitor import Visitor, serving

pytestmark = pytest.mark.sqlite


@pytest.fixture
def visitor(on_directory: Program) -> Iterator[Visitor]:
    on_directory.ok("log")  # it creates the catalog
    with serving(on_directory.records.url) as visitor:
        yield visitor


def raw(visitor: Visitor, *pieces: bytes) -> bytes:
    """What the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", visitor.server.port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while more := connection.recv(65536):
            found += more
    return found


def test_each_answer_forbids_what_a_page_does_not_need(visitor: Visitor) -> None:
    for target in ("/", "/archives", "/nowhere", "/parts/search?q=x"):
        seen = visitor.ask(target)
        for name, value in HEADERS.items():
            if name != "Content-Security-Policy":
                assert seen.headers[name.lower()] == value
        policy = seen.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert seen.headers["server"] == "mgmt"
        assert seen.headers["connection"] == "close"


def test_head_is_get_without_a_body(visitor: Visitor) -> None:
    whole, head = visitor.ask("/archives"), visitor.ask("/archives", "HEAD")
    assert (head.status, head.html) == (200, "")
    assert int(head.headers["content-length"]) == len(whole.html.encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_another_method_is_refused(visitor: Visitor, method: str) -> None:
    seen = visitor.ask("/", method)
    assert (seen.status, seen.headers["allow"]) == (405, "GET, HEAD")
    assert Refusal.METHOD.sentence in seen.text


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"Host": "evil.example"}, Refusal.HOST),
        ({"Origin": "https://evil.example"}, Refusal.ORIGIN),
        ({"Sec_Fetch_Site": "cross-site"}, Refusal.ORIGIN),
        ({"Cookie": "mgmt=x"}, Refusal.TOKEN),
    ],
)
def test_what_another_site_can_send_is_refused(visitor: Visitor, headers: dict[str, str], refusal: Refusal) -> None:
    for target in ("/", "/archives", "/parts/search?q=x", "/nowhere", f"/?token={visitor.guard.token}"):
        if refusal is Refusal.TOKEN and "token" in target:
            continue
        seen = visitor.ask(target, **headers)
        assert seen.status == 403
        assert refusal.sentence in seen.text
        assert "set-cookie" not in seen.headers
        assert 'href="/archives' not in seen.html


@pytest.mark.parametrize("target", ["/?token=", "/?token=x", "/?token=x&token={}", "/archives?token={}", "/?tokenx={}"])
def test_a_wrong_token_is_refused_and_never_shown(visitor: Visitor, target: str) -> None:
    stranger = Visitor(visitor.server, visitor.guard)
    seen = stranger.ask(target.format(visitor.guard.token))
    assert seen.status == 403
    assert "set-cookie" not in seen.headers
    assert visitor.guard.token not in seen.html


def test_two_browsers_come_in_by_the_same_address(visitor: Visitor) -> None:
    stranger = Visitor(visitor.server, visitor.guard)
    assert stranger.ask("/archives").status == 403
    other = stranger.enter()
    assert other.see("/archives").html == visitor.see("/archives").html


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: %s\r\n\r\n" % (b"x" * LARGEST_HEAD), 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b" \xa0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", 403),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 403),
    ],
)
def test_a_request_that_is_no_request_is_refused(visitor: Visitor, sent: bytes, status: int) -> None:
    answer = raw(visitor, sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:80]
    assert b"Traceback" not in answer
    assert b"no-store" in answer
    assert visitor.ask("/archives").status == 200


def test_a_request_in_pieces_is_answered(visitor: Visitor) -> None:
    whole = f"GET /archives HTTP/1.1\r\nHost: localhost:{visitor.server.port}\r\n".encode()
    cookie = f"Cookie: {visitor.headers['Cookie']}\r\n\r\n".encode()
    assert raw(visitor, *(whole[at : at + 7] for at in range(0, len(whole), 7)), cookie).startswith(b"HTTP/1.1 200 ")


def test_clients_that_send_nothing_do_not_stop_others(visitor: Visitor) -> None:
    """More of them than there are connections: the oldest gives way."""
    address = ("127.0.0.1", visitor.server.port)
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(socket.create_connection(address))) for _ in range(CONNECTIONS + 20)]
        for each in slow[::2]:
            each.sendall(b"GET / HT")
        assert visitor.ask("/archives").status == 200
        assert slow[0].recv(1) == b""
        assert len(visitor.server._open) <= CONNECTIONS
    until(lambda: not visitor.server._open, "the end of all connections")


def test_a_client_that_takes_too_long_is_cut_off(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "REQUEST_SECONDS", 0.05)
    assert raw(visitor, b"GET / HTTP/1.1\r\n") == b""
    monkeypatch.setattr(web_server, "REQUEST_SECONDS", 60.0)
    assert visitor.ask("/archives").status == 200


def test_while_all_connections_are_served_another_one_is_closed(visitor: Visitor) -> None:
    server = visitor.server
    with ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        for _ in range(CONNECTIONS):
            stack.enter_context(closing(socket.create_connection(address)))
        until(lambda: len(server._open) == CONNECTIONS, "the connections")
        for each in list(server._open):
            server.begin(each)
        with suppress(ConnectionResetError):
            assert raw(visitor) == b""


class Broken:
    def __init__(self, visitor: Visitor) -> None:
        self.guard = visitor.guard

    def answer(self, _request: object) -> Answer:
        raise ValueError("a secret")


def test_an_error_of_a_page_is_logged_and_tells_the_client_nothing(
    visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    site, visitor.server.site = visitor.server.site, Broken(visitor)
    with caplog.at_level(logging.ERROR, "mgmt.web"):
        seen = visitor.ask("/")
    assert seen.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert seen.html == "This page could not be made. The terminal of `mgmt browse` says why.\n"
    assert seen.headers["cache-control"] == "no-store"
    assert "a secret" in caplog.text
    visitor.server.site = site
    assert visitor.ask("/archives").status == 200


def test_a_client_that_leaves_is_no_error(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", visitor.server.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
    until(lambda: not visitor.server._open, "the end of the connection")
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_the_log_has_no_token_and_no_searched_word(visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mgmt.web"):
        visitor.enter().see("/search?q=private")
    assert "/search: 200" in caplog.text
    assert visitor.guard.token not in caplog.text
    assert "private" not in caplog.text


def test_it_listens_on_this_machine_only(visitor: Visitor) -> None:
    assert visitor.server.server_address[0] == "127.0.0.1"
    assert visitor.guard.url.startswith(f"http://127.0.0.1:{visitor.server.port}/?token=")


def test_a_port_that_is_taken_is_an_error(visitor: Visitor) -> None:
    with pytest.raises(BusyError, match=rf"port {visitor.server.port} cannot be used: Address already in use"):
        Server(visitor.server.port)
