"""Each fault of the proxy, as a plain HTTP client sees it."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import ACTS, ALWAYS, PAUSE, Fault, Proxy, proxy
from tests.servers import Server
from tests.waiting import until

BODY = b"the requested data " * 10
CHECKSUM = "rosUhgp5mIg="


@contextmanager
def recording() -> Iterator[tuple[Server, list[tuple[str, bytes]]]]:
    """A server that gives every request the same answer, and the requests received."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            received.append((self.command, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("x-amz-checksum-crc64nvme", CHECKSUM)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(BODY)

        do_GET = do_HEAD = do_PUT = handle_request  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.server_address[1]}"
            yield Server("recording", url, {}, os.getpid(), Path()), received
        finally:
            listener.shutdown()
            thread.join()


@pytest.fixture
def between() -> Iterator[tuple[Proxy, list[tuple[str, bytes]]]]:
    with recording() as (server, received), proxy(server) as made:
        yield made, received


Between = tuple[Proxy, list[tuple[str, bytes]]]


def ask(made: Proxy, method: str = "GET", path: str = "/b/k", body: bytes = b"") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(made.endpoint_url).netloc, timeout=600)
    try:
        connection.request(method, path, body)
        if hangs(made):
            wait_until_it_hangs(made)
            connection.sock.settimeout(PAUSE / 2)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def wait_until_it_hangs(made: Proxy) -> None:
    """Wait until the proxy has started to hang."""
    [fault] = made.faults
    until(lambda: fault.met and (fault.act != "hang-answer" or made.answered), "the fault")


def hangs(made: Proxy) -> bool:
    return any(fault.act in {"stall", "hang-answer"} for fault in made.faults)


def test_requests_without_a_fault_pass_unchanged(between: Between) -> None:
    made, received = between
    made.faults.append(Fault("^PUT /other", "drop"))
    response, body = ask(made, "PUT", body=b"sent")
    assert (response.status, body, received) == (200, BODY, [("PUT", b"sent")])
    assert made.requests == ["PUT /b/k"]
    assert made.answered == len(BODY)


def test_an_error_status_has_the_xml_of_s3(between: Between) -> None:
    made, received = between
    made.faults.append(Fault("", "503 SlowDown", ALWAYS))
    response, body = ask(made)
    assert response.status == 503
    assert b"<Code>SlowDown</Code>" in body
    response, body = ask(made, "HEAD")
    assert (response.status, body, received) == (503, b"", [])


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("drop", RemoteDisconnected),
        ("reset", ConnectionResetError),
        ("stall", TimeoutError),
        ("lose-answer", RemoteDisconnected),
        ("cut-answer", IncompleteRead),
        ("hang-answer", TimeoutError),
        ("grow-answer", IncompleteRead),
    ],
)
def test_a_lost_answer_raises_a_connection_error(between: Between, act: str, error: type[Exception]) -> None:
    made, received = between
    made.faults.append(Fault("^GET", act))
    with pytest.raises(error) as raised:
        ask(made)
    assert type(raised.value) is error
    assert len(received) == (act not in {"drop", "reset", "stall"})
    if act == "cut-answer":
        assert isinstance(raised.value, IncompleteRead)
        assert raised.value.partial == BODY[: len(BODY) // 2]
    made.faults.clear()
    assert ask(made)[1] == BODY


@pytest.mark.parametrize("act", ["stall", "hang-answer"])
def test_an_impatient_client_does_not_wait_for_its_timeout(between: Between, act: str) -> None:
    made, _ = between
    made.faults.append(Fault("^GET", act))
    connection = HTTPConnection(urlsplit(made.endpoint_url).netloc, timeout=600)
    with made.impatient():
        connection.request("GET", "/b/k")
        with pytest.raises(TimeoutError):
            connection.getresponse().read()
        connection.close()
        assert ask(made, "HEAD")[0].status == 200


def test_a_cut_answer_to_head_loses_half_of_its_headers(between: Between) -> None:
    made, _ = between
    made.faults.append(Fault("^HEAD", "cut-answer"))
    try:
        response, _ = ask(made, "HEAD")
    except (HTTPException, ConnectionError):
        return
    assert response.headers["x-amz-checksum-crc64nvme"] != CHECKSUM


def test_flip_request_changes_one_bit_of_the_request(between: Between) -> None:
    made, received = between
    made.faults.append(Fault("", "flip-request"))
    ask(made, "PUT", body=b"abc")
    assert received == [("PUT", b"acc")]


def test_flip_answer_changes_one_bit_of_the_answer(between: Between) -> None:
    made, _ = between
    made.faults.append(Fault("", "flip-answer", 2))
    _, body = ask(made)
    assert [a ^ b for a, b in zip(body, BODY, strict=True) if a != b] == [1]
    response, _ = ask(made, "HEAD")
    assert response.headers["x-amz-checksum-crc64nvme"] != CHECKSUM
    assert len(response.headers["x-amz-checksum-crc64nvme"]) == len(CHECKSUM)


def test_grow_answer_states_another_size_in_head(between: Between) -> None:
    made, _ = between
    made.faults.append(Fault("", "grow-answer"))
    response, _ = ask(made, "HEAD")
    assert response.headers["Content-Length"] == str(len(BODY) + 1)


@pytest.mark.parametrize("act", ["delay", "slow"])
def test_a_delayed_answer_is_accepted(between: Between, act: str) -> None:
    made, _ = between
    made.faults.append(Fault("", act))
    before = time.monotonic()
    assert ask(made)[1] == BODY
    assert time.monotonic() - before >= PAUSE * 0.9


def test_twice_sends_the_request_two_times(between: Between) -> None:
    made, received = between
    made.faults.append(Fault("", "twice"))
    assert ask(made, "PUT", body=b"sent")[1] == BODY
    assert received == [("PUT", b"sent")] * 2


def test_a_large_body_arrives_whole(between: Between) -> None:
    made, received = between
    body = os.urandom(3 << 20)
    ask(made, "PUT", body=body)
    assert hashlib.sha256(received[0][1]).digest() == hashlib.sha256(body).digest()


def met(made: Proxy, requests: int = 20) -> list[int]:
    return [number for number in range(requests) if ask(made)[0].status == 500]


def test_faults_hit_the_kth_the_first_all_or_random_requests(between: Between) -> None:
    made, _ = between
    made.faults[:] = [Fault("", "500", after=3)]
    assert met(made) == [3]
    made.faults[:] = [Fault("", "500", times=2)]
    assert met(made) == [0, 1]
    made.faults[:] = [Fault("", "500", ALWAYS)]
    assert met(made) == list(range(20))
    by_chance = []
    for seed in (1, 1, 2):
        made.faults[:] = [fault := Fault("", "500", ALWAYS, chance=0.5, seed=seed)]
        by_chance.append(met(made))
        assert fault.met == len(by_chance[-1])
    assert by_chance[0] == by_chance[1] != by_chance[2]
    assert 3 < len(by_chance[0]) < 17


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="eat"):
        Fault("", "eat")
    assert all(Fault("", act) for act in ACTS)
