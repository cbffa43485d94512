"""Makes worlds, and finds the shortest sequence of lines that shows a violation."""

import shlex
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.program import Program
from tests.property.state import ViolationError
from tests.property.world import World
from tests.servers import Server

WARM = (
    "upload a",
    "verify --all",
    "db export history",
    "delete a --yes",
    "upload a --keep",
    "free completed/a --yes",
    "download a --to back",
    "delete a --yes --last-copy",
    "recover",
    "db rebuild",
    "audit verify",
)


@dataclass
class Worlds:
    """Makes empty worlds for the user of `program`."""

    program: Program
    server: Server | None = None
    only_delete_removes: bool = True
    count: int = 0

    def __post_init__(self) -> None:
        rehearse(self._user("rehearsed"))
        self._template = self._user("template")
        self._template.ok("ls")

    def new(self) -> World:
        self.count += 1
        user = self._user(str(self.count))
        user.catalogs.copy(self._template.home, user.home)
        return World(user, self.server, self.only_delete_removes)

    def forget(self, world: World) -> None:
        """Remove a world that has been played to the end."""
        for home in (world.program.home, *world.catalog_homes):
            world.program.catalogs.forget(home)
        shutil.rmtree(world.program.home)

    def shortest(self, found: ViolationError, seconds: float = 120) -> ViolationError:
        """The same violation with as few lines as can be found in this time."""
        until, script = time.monotonic() + seconds, found.script
        shorter = True
        while shorter:
            shorter = False
            for each in [*_without_a_line(script), *_with_a_simpler_line(script)]:
                if time.monotonic() < until and (again := self._violation(each, found)) is not None:
                    found, script, shorter = again, each, True
                    break
        result = ViolationError(found.kind, "\n".join([found.what, *script]))
        result.script = script
        return result

    def _violation(self, script: list[str], like: ViolationError) -> ViolationError | None:
        world = self.new()
        try:
            world.play(*script)
            world.end()
        except ViolationError as error:
            return error if error.kind == like.kind else None
        finally:
            self.forget(world)
        return None

    def _user(self, name: str) -> Program:
        return beside(self.program, name)


def _without_a_line(script: list[str]) -> list[list[str]]:
    return [script[:at] + script[at + 1 :] for at in reversed(range(len(script)))]


def _with_a_simpler_line(script: list[str]) -> list[list[str]]:
    """Each part of a compound line in its place: the line without kill, stop or host, or a line played meanwhile."""
    simpler = []
    for at, line in enumerate(script):
        parts = [part.rpartition(": ")[2] for part in line.split(" | ")]
        simpler += [[*script[:at], part, *script[at + 1 :]] for part in parts if part != line]
    return simpler


def beside(program: Program, name: str) -> Program:
    """Another user, with a folder and a store below those of `program`."""
    home = program.home / name
    home.mkdir(parents=True)
    store = f"{program.store}/{name}"
    if store.startswith("file://"):
        Path(store.removeprefix("file://")).mkdir(parents=True)
    return replace(program, home=home, store=store)


_rehearsed: set[tuple[str, str, str]] = set()


def rehearse(user: Program) -> None:
    """Run each command once in this process, so that its children need not import modules and compile statements again.

    Does nothing if that was done with this kind of store and catalog.
    """
    kind = (user.store.partition(":")[0], user.environment.get("AWS_ENDPOINT_URL", ""), type(user.catalogs).__name__)
    if kind in _rehearsed:
        return
    _rehearsed.add(kind)
    for line in WARM:
        (user.work / "a").write_bytes(b"one")
        user.run(*shlex.split(line))
    user.catalogs.forget(user.home)
