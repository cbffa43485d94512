"""`mgmt browse` as a command: how it begins and ends. tests/web has its pages."""

import http.client
import json
import os
import signal
import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.forked import Forked
from tests.program import Program
from tests.waiting import until


def printed(running: Forked) -> str:
    """What it has printed, as soon as that is a line."""

    def read() -> str:
        return os.pread(running._output.fileno(), 4096, 0).decode()

    until(lambda: "\n" in read() or running.poll() is not None, "the address")
    return read()


def status_of(url: str) -> int:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        return connection.getresponse().status


@pytest.fixture
def used(mgmt: Program) -> Program:
    mgmt.ok("config", "set", "level", "fast")
    return mgmt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_prints_an_address_and_serves_it_until_a_signal(used: Program, number: signal.Signals) -> None:
    before = used.records.rows("SELECT count(*) FROM operations")
    with used.fork("browse") as running:
        url = printed(running).strip()
        assert url.startswith("http://127.0.0.1:")
        assert status_of(url) == 303
        assert status_of(url.partition("?")[0]) == 403
        running.send_signal(number)
        output, errors = running.communicate()
    assert (running.returncode, output.strip()) == (0, url)
    assert errors.splitlines() == [
        "open this address in a web browser; Ctrl-C ends mgmt browse", "mgmt browse has ended",
    ]  # fmt: skip
    assert used.records.rows("SELECT count(*) FROM operations") == before


@pytest.mark.sqlite
def test_a_program_gets_the_address_as_json_and_the_port_it_has_chosen(used: Program) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with used.fork("-q", "-o", "jsonl", "browse", "--port", str(port)) as running:
        found = json.loads(printed(running))
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate()
    assert (found["type"], found["port"], errors) == ("browse", port, "")
    assert found["url"].startswith(f"http://127.0.0.1:{port}/?token=")


@pytest.mark.sqlite
def test_a_port_that_is_taken_is_refused(used: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = used.run("browse", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stdout) == (11, "")
    assert "cannot be used: Address already in use" in done.stderr
    assert "try: mgmt browse\n" in done.stderr


@pytest.mark.sqlite
def test_a_catalog_that_there_is_not_is_not_created(mgmt: Program) -> None:
    done = mgmt.run("browse")
    assert (done.returncode, done.stdout) == (12, "")
    assert "there is no catalog at" in done.stderr
    assert not mgmt.catalog.exists()
