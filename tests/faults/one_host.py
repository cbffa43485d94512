"""One host of test_many_hosts.py: several processes that start a piece of work together and report its result.

It reads a line of JSON for each piece of work, writes "ready" when its processes wait for the start, starts them at the
next line, whatever that is, and writes a JSON list of their reports at the end.
"""

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from sqlalchemy.orm import Session

from mgmt import cli
from mgmt.catalog import Database, FileRecord, FileStatus, Location, Role, Status, UploadRecord, open_catalog
from mgmt.catalog.records.process import this_host
from mgmt.errors import BusyError

Report = dict[str, Any]


class Waits:
    """How long each transaction waits, for others and for the disk, from its request to its end.

    Time that it computes, or waits for a processor, is not counted; nor is the first one, which opens the catalog.
    """

    def __init__(self) -> None:
        self.longest, self.count = 0.0, 0
        transaction = Database.transaction

        @contextmanager
        def timed(database: Database) -> Iterator[Session]:
            began = idle()
            with transaction(database) as session:
                yield session
            self.longest = max(self.longest, idle() - began) if self.count else 0.0
            self.count += 1

        Database.transaction = timed  # type: ignore[method-assign, assignment]


def idle() -> float:
    """The seconds since some moment in which this thread wanted no processor."""
    worked = 0
    with suppress(FileNotFoundError), open("/proc/thread-self/schedstat") as file:  # only Linux has it
        worked = sum(map(int, file.read().split()[:2]))
    return time.monotonic() - worked / 1e9


def share(number: int, *, url: str, targets: int) -> Report:
    """Do the targets, the same for all, that no process of any host has done."""
    catalog = open_catalog(url)
    mine = random.Random(f"{this_host()} {number}").sample(range(targets), targets)
    done = busy = 0
    for target in mine:
        path = f"/shared/{target}"
        try:
            with catalog.journal.record(UploadRecord(target_path=path), claim=path) as upload:
                if any(each.status is Status.SUCCESS for each in catalog.metadata.get_upload_history(path)):
                    upload.status = Status.CANCELLED
                    continue
                upload.stage = "sending"
                catalog.journal.checkpoint()
                archive = FileRecord(path=path, location=Location.S3, store="file:///x", status=FileStatus.COMPLETED)
                with catalog.transaction():
                    catalog.journal.link(upload, catalog.metadata.save_file_record(archive), Role.ARCHIVE)
                    catalog.journal.close(upload)
                done += 1
        except BusyError:
            busy += 1
    catalog.close()
    return {"done": done, "busy": busy, "tried": targets}


def upload(number: int, *, options: list[str], paths: list[str]) -> Report:
    """Upload all of `paths`, starting at another one than the other processes."""
    at = number * len(paths) // 4
    listing = f"{os.environ['HOME']}/{this_host()}-{number}"
    with open(listing, "wb") as file:
        file.write(b"".join(os.fsencode(path) + b"\0" for path in paths[at:] + paths[:at]))
    with open(f"{listing}.log", "w") as log:
        sys.stdout = sys.stderr = log
        status = cli.run(["-q", *options, "upload", "-0", "--files-from", listing])
    with open(f"{listing}.log") as log:
        return {"status": status, "log": log.read()}


WORK: dict[str, Callable[..., Report]] = {"share": share, "upload": upload}


def run(number: int, work: str, arguments: dict[str, Any], start: int, answer: int) -> None:
    """A process: wait until `start` is closed, work, and write a report to `answer`."""
    try:
        waits = Waits()
        os.read(start, 1)
        began = time.monotonic()
        report = WORK[work](number, **arguments)
        report |= {"seconds": time.monotonic() - began, "longest": waits.longest, "transactions": waits.count}
    except BaseException:
        report = {"error": traceback.format_exc()}
    os.write(answer, json.dumps(report).encode())
    os._exit(0)


def serve(orders: TextIO, reports_to: TextIO) -> None:
    """Do all the work that is asked for."""
    for line in orders:
        order = json.loads(line)
        start, held = os.pipe()
        answers = []
        for number in range(order["processes"]):
            answer, report_to = os.pipe()
            if os.fork() == 0:
                os.close(held)
                run(number, order["work"], order["arguments"], start, report_to)
            os.close(report_to)
            answers.append(answer)
        print("ready", file=reports_to, flush=True)
        orders.readline()
        os.close(held)
        reports = []
        for answer in answers:
            with open(answer, "rb") as file:
                reports.append(json.loads(file.read()))
            os.wait()
        os.close(start)
        print(json.dumps(reports), file=reports_to, flush=True)
