"""Deliver notifications: what is due, one message of a rule at a time, several rules at once."""

import logging
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mgmt.catalog import SILENCE, Catalog, OperationRecord, OutboxRecord
from mgmt.errors import MgmtError
from mgmt.services.steps.channels import limit, send
from mgmt.services.steps.notices import expected, start
from mgmt.services.steps.post import UndeliveredError
from mgmt.services.steps.rules import Rule
from mgmt.signals import STOPPING

logger = logging.getLogger(__name__)

_MARGIN = 0.2
"""How much longer than an attempt its answer is waited for: so a command that takes too long is killed, not left."""

ASIDE_SECONDS = 60.0
"""How long a worker's process that delivers takes at most."""


_Answer = tuple[OutboxRecord, UndeliveredError | None]


@dataclass(slots=True)
class _Round:
    """One delivery of what is due: one message of a rule at a time, several rules at once."""

    catalog: Catalog
    rules: dict[str, Rule]
    deadline: float
    answers: "queue.SimpleQueue[_Answer]" = field(default_factory=queue.SimpleQueue)
    in_flight: dict[str, tuple[OutboxRecord, float]] = field(default_factory=dict)
    """The message that is being sent by each rule, and until when it may take."""
    undelivered: int = 0

    def deliver(self) -> None:
        open_rules = set(self.rules)
        while True:
            while time.monotonic() + 2 * _MARGIN < self.deadline and (free := open_rules - self.in_flight.keys()):
                message = self.catalog.outbox.claim(free)
                if message is None:
                    break
                self._begin(message)
            if not self.in_flight:
                return
            for message, error in self._ended():
                del self.in_flight[message.rule]
                if error is None:
                    self.catalog.outbox.note_delivered(message.message_id)
                    continue
                self.undelivered += 1
                open_rules.discard(message.rule)  # what comes later waits, so that the order is kept
                self.catalog.outbox.note_undelivered(message, str(error), gone=error.gone)

    def _begin(self, message: OutboxRecord) -> None:
        rule = self.rules[message.rule]
        if message.event == SILENCE and (rule.silence is None or message.content.get("subject") not in rule.subjects):
            self.catalog.outbox.withdraw(message.message_id)
            return
        seconds = min(limit(rule), self.deadline - time.monotonic() - _MARGIN)
        self.in_flight[rule.name] = (message, time.monotonic() + seconds + _MARGIN)
        # A daemon: to resolve a name may take longer than anybody waits, and cannot be interrupted.
        threading.Thread(target=self._send, args=(rule, message, seconds), daemon=True).start()

    def _send(self, rule: Rule, message: OutboxRecord, seconds: float) -> None:
        error: UndeliveredError | None = None
        try:
            send(rule, message, seconds)
        except UndeliveredError as exc:
            error = exc
        except Exception as exc:  # a bug, whose text may repeat what is secret
            logger.info("unexpected error of the notification rule %s: %s", rule.name, "; ".join(_places(exc)))
            error = UndeliveredError(f"unexpected {type(exc).__name__}; please report it")
        self.answers.put((message, error))

    def _ended(self) -> list[_Answer]:
        """Wait for an answer, or until the time of a message is over."""
        first = min(until for _, until in self.in_flight.values())
        try:
            answer = self.answers.get(timeout=max(0.0, first - time.monotonic()))
            # An answer that comes after its time was counted already.
            known = self.in_flight.get(answer[0].rule)
            return [answer] if known is not None and known[0] is answer[0] else []
        except queue.Empty:
            now = time.monotonic()
            late = UndeliveredError("no answer in time")
            return [(message, late) for message, until in self.in_flight.values() if until <= now]


def deliver(catalog: Catalog, rules: Sequence[Rule], seconds: float) -> int:
    """Deliver what is due, within about `seconds`; returns how many attempts have failed, which come again later.

    Raises CatalogError. What is being sent when the time is over counts as an attempt that has failed.
    """
    catalog.outbox.expect(expected(rules, catalog.outbox))
    found = _Round(catalog, {rule.name: rule for rule in rules}, time.monotonic() + seconds)
    found.deliver()
    catalog.outbox.remove_old([rule.name for rule in rules])
    return found.undelivered


class Starts:
    """Pings that operations begin: sent beside the work, once, and lost if nobody answers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._threads: list[threading.Thread] = []

    def tell(self, operation: OperationRecord, schedule: str | None) -> None:
        """Send that `operation` begins, and do not wait."""
        for rule in self._rules:
            message = start(rule, operation, schedule)
            if message is not None:
                thread = threading.Thread(target=_send_once, args=(rule, message), daemon=True)
                thread.start()
                self._threads.append(thread)

    def wait(self, seconds: float) -> None:
        """Wait until they are sent, so that the end does not overtake the start; `seconds` at most."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _places(error: BaseException) -> Iterator[str]:
    """The type of `error` and of what has caused it, each with where it was raised; no text, and no line of code."""
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        where = " > ".join(f"{os.path.basename(each.filename)}:{each.lineno} {each.name}" for each in frames)
        yield f"{type(cause).__name__} at {where}"
        cause = cause.__cause__ or cause.__context__


def _send_once(rule: Rule, message: OutboxRecord) -> None:
    with suppress(UndeliveredError):
        send(rule, message, limit(rule))


@dataclass(slots=True)
class Deliveries:
    """What a worker does for notifications, without waiting: a process of its own delivers what is due."""

    catalog: Catalog
    rules: Sequence[Rule]
    _process: int | None = None
    _expects: bool = False

    def tend(self) -> None:
        """Begin to deliver what is due, if anything is, and nobody does."""
        if self._process is not None and os.waitpid(self._process, os.WNOHANG)[0] == 0:
            return
        self._process = None
        if not self._expects:
            self.catalog.outbox.expect(expected(self.rules, self.catalog.outbox))
            self._expects = True
        if self.catalog.outbox.has_due([rule.name for rule in self.rules]):
            self.catalog.database.close()  # no connection is used on both sides of a fork
            self._process = _fork(lambda: deliver(self.catalog, self.rules, ASIDE_SECONDS))

    def finish(self) -> None:
        """Wait until what is due was tried."""
        if self._process is not None:
            os.waitpid(self._process, 0)
            self._process = None
        deliver(self.catalog, self.rules, ASIDE_SECONDS)


def _fork(work: Callable[[], object]) -> int:
    """Run `work` in a child process, which ends quietly; returns its id."""
    if (pid := os.fork()) != 0:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (*STOPPING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        work()
        status = 0
    except MgmtError:
        pass  # what was not delivered is tried again, and listed
    finally:
        os._exit(status)
