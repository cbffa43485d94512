"""What a person waits for in `mgmt browse` of a large catalog: `python -m benchmarks.scale.browse URL`.

The catalog at URL is filled by `benchmarks.scale catalog`. A client asks for the pages of a server in a process of its
own: for each word, as it is typed, character by character. Prints a row of a table for each figure: the median and the
greatest CPU time of the server, and the median of the times from the request to the whole answer; each page is asked
for several times, and the least of its times counts. In the end, the peak memory of the server.
"""

import http.client
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote, urlsplit

WORDS = ("Lisbon", "IMG_2017", "PXL_20170812_1", "DSC0", "notes.txt", "Makefile", "2019-04", "zzzz", "beach", "thesis")
"""Words that many names have, few, and none."""

TIMES = 5


class Client:
    """A browser that has come in."""

    def __init__(self, url: str, pid: int) -> None:
        self.pid = pid
        """The process of the server."""
        self._host = urlsplit(url).netloc
        _, cookie = self._get(f"/?{urlsplit(url).query}", {})
        self._headers = {"Cookie": (cookie or "").partition(";")[0]}

    def get(self, target: str) -> str:
        """The page at `target`."""
        return self._get(target, self._headers)[0]

    def _get(self, target: str, headers: dict[str, str]) -> tuple[str, str | None]:
        with closing(http.client.HTTPConnection(self._host, timeout=600)) as connection:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            assert answer.status in (200, 303), (target, answer.status)
            return answer.read().decode(), answer.getheader("Set-Cookie")


Times = tuple[float, float]
"""CPU seconds of the server, and seconds until the answer."""


def main(url: str) -> None:
    """Ask for each page."""
    command = [sys.executable, "-m", "mgmt", "--catalog", url, "-q", "browse"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            client = Client(process.stdout.readline().strip(), process.pid)
            for what, found in _figures(client):
                cpu, seconds = zip(*found, strict=True)
                figures = (statistics.median(cpu), max(cpu), statistics.median(seconds))
                print(f"| {what} | {' | '.join(f'{each * 1000:,.0f} ms' for each in figures)} |", flush=True)
            print(f"| peak memory | {_peak(process.pid):,.0f} MiB |")
        finally:
            process.terminate()


def _figures(client: Client) -> Iterator[tuple[str, list[Times]]]:
    client.get("/parts/search?q=x")  # templates are compiled, and SQL
    everything: list[Times] = []
    for word in WORDS:
        typed = [word[:end] for end in range(1, len(word) + 1)]
        found = [_least(client, f"/parts/search?q={quote(each)}") for each in typed]
        everything += found
        yield f"a keystroke of `{word}`", found
    yield "a keystroke", everything
    archive = re.findall('href="(/archives/[0-9]+)"', client.get("/archives"))[0]
    operation = re.findall('href="(/operations/[^"?]+)"', client.get("/operations"))[0]
    for what, target in (
        ("archives", "/archives"),
        ("an archive", archive),
        ("operations", "/operations"),
        ("failed operations", "/operations?status=failed"),
        ("operations of a month", "/operations?month=2017-03"),
        ("an operation", operation),
        ("a whole search, of many", "/search?q=Lisbon"),
        ("a whole search, of nothing", "/search?q=no+such+name"),
    ):
        yield what, [_least(client, target)]
    yield "the overview, first", [_times(client, "/")]
    yield "the overview, again", [_least(client, "/")]


def _least(client: Client, target: str) -> Times:
    return min(_times(client, target) for _ in range(TIMES))


def _times(client: Client, target: str) -> Times:
    began, cpu = time.perf_counter(), _cpu_seconds(client.pid)
    client.get(target)
    return _cpu_seconds(client.pid) - cpu, time.perf_counter() - began


def _cpu_seconds(pid: int) -> float:
    """Of all threads of the process, those that have ended as well: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def _peak(pid: int) -> float:
    """MiB."""
    with open(f"/proc/{pid}/status") as status:
        (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read())
    return int(kibibytes) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
