"""A world in which commands are played line by line, each checked by the oracle."""

import shlex
import signal
from traceback import walk_stack

from tests.program import Done
from tests.property.actions import ACTIONS, Actions
from tests.property.children import NEVER, Child, Moment
from tests.property.oracle import Before, Oracle
from tests.property.repeats import REMOVING, named
from tests.property.state import ViolationError
from tests.property.stores import Object, StoreReader


class World(Oracle, Actions):
    """A user's files, two stores, a catalog and its backups; see `play`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._is_child = False

    def play(self, *lines: str) -> Done:
        """Play lines, check each, and return the result of the last command of mgmt.

        `mgmt WORDS` runs a command ("OTHER" is the other store), `on HOST: LINE` runs it on another host, `kill N:
        LINE` kills it at its step N, and `stop N: LINE | LINE | ...` stops it there while the other lines are played.
        Instead of N: `look N`, when it opens a file of the user for the Nth time; `past N`, at the next step after
        that; `open NAME`, when it opens that file; `indexed` and `stored`, as soon as there is another index or archive
        in a store; `moved`, as soon as there is another copy in completed/; `in NAME`, in the function of that name.
        All other lines are actions of the user or the administrator; see `ACTIONS`.
        """
        done = Done(0, "", "")
        for line in lines:
            self.script.append(line)
            first, *others = line.split(" | ")
            played = self._play(first, others)
            done = played or done
        return done

    def _play(self, line: str, others: list[str]) -> Done | None:
        how, _, rest = line.rpartition(": ")
        words = shlex.split(rest)
        if words[0] != "mgmt":
            self._act(words)
            return None
        words = named([self.other_store if word == "OTHER" else word for word in words[1:]], self.asked)
        host, moment, number = None, NEVER, 0
        for part in filter(None, how.split(": ")):
            kind, *values = part.split()
            if kind == "on":
                host = values[0]
            else:
                number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
                moment = self._moment(*values)
        return self._run(words, host, moment, number, others)

    def _moment(self, kind: str, value: str = "") -> Moment:
        if kind == "indexed":
            known = [each.indexes() for each in self.stores]
            return Moment(when=lambda: [each.indexes() for each in self._stores_in_child()] != known)
        if kind == "stored":
            before = self.objects()
            return Moment(when=lambda: self._objects_in_child() != before)
        if kind == "moved":
            moved = self.copies(each_version=True)
            return Moment(when=lambda: self.copies(each_version=True) != moved)
        match kind:
            case "look":
                return Moment(look=int(value))
            case "past":
                return Moment(past=int(value))
            case "open":
                return Moment(opens=value)
            case "in":
                return Moment(when=lambda: any(frame.f_code.co_name == value for frame, _ in walk_stack(None)))
        return Moment(step=int(kind))

    def _stores_in_child(self) -> list[StoreReader]:
        """The stores, in a child, with connections of its own."""
        if not self._is_child:
            self._is_child = True
            self.stores = [StoreReader(each.url, self.server) for each in self.stores]
        return self.stores

    def _objects_in_child(self) -> dict[Object, bytes]:
        self._stores_in_child()
        return self.objects()

    def _run(self, words: list[str], host: str | None, moment: Moment, number: int, others: list[str]) -> Done:
        self.hosts.add(host)
        self.commands += 1
        before = Before(self, words)
        self.was_cut = self.was_cut or number != 0
        self.runner.catalog = self.catalog
        if number == 0 and host is None:
            done = self.runner.run(words)
        else:
            child = self.runner.start(words, host=host, moment=moment, number=number)
            if others:
                self._meanwhile(before, child, others)
            done = child.wait()
        self.statuses.append(done.returncode)
        if done.returncode == -signal.SIGKILL:
            self.cut_off += 1
            self.half_deleted = self.half_deleted or before.command in REMOVING
        self._check(before, done)
        if before.command == "recover" and done.returncode == 0:
            self.half_deleted = False
        return done

    def _meanwhile(self, before: Before, child: Child, others: list[str]) -> None:
        half_deleted = self.half_deleted
        try:
            child.stopped()
            self.under_way.append(before)
            self.half_deleted = half_deleted or before.command in REMOVING
            self.required |= self.all_required(self.held())
            for other in others:
                self._play(other, [])
            self.disturbed = True
        except BaseException:
            child.kill()
            raise
        self.under_way.pop()
        if not before.last_copy:
            before.objects = self.objects()  # what other lines removed was not removed by this command
        self.half_deleted = half_deleted
        before.is_gone = before.target is not None and not before.target.exists()
        child.resume()

    def _act(self, words: list[str]) -> None:
        """Play an action of the user; what it removes is no longer required."""
        before = self.held()
        action, *arguments = words
        ACTIONS[action](self, *arguments)
        now = self.held()
        self.required = (self.required - (before - now)) | self.all_required(now)

    def end(self) -> None:
        """Recover and verify; after that, no operation runs, and every archive is proven."""
        if any("mgmt worker" in line or "--later" in line or "--then" in line for line in self.script):
            self._play("mgmt worker --until-empty", [])
        for host in sorted(self.hosts, key=str) if self.was_cut else ():
            self._finally("recover", f"on {host}: mgmt recover" if host else "mgmt recover")
        if self.was_replaced:
            for line in ("mgmt db rebuild", "mgmt --store OTHER db rebuild"):
                self._play(line, [])
            for host in sorted(self.hosts, key=str) if self.was_cut else ():  # uploads that the rebuild has found
                self._finally("recover", f"on {host}: mgmt recover" if host else "mgmt recover")
        if self.was_cut:
            running = self._finally("log", "mgmt -o jsonl log --status running --limit 500").stdout
            if '"running"' in running:
                raise ViolationError("still running", running)
        if not self.is_older:
            self._finally("verify", "mgmt verify --all")
        self._finally("audit", "mgmt audit verify")

    def _finally(self, kind: str, line: str) -> Done:
        done = self._play(line, [])
        assert done is not None
        if done.returncode != 0:
            raise ViolationError(
                f"{kind} at the end", f"{line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done
