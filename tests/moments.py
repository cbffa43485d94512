"""Events in the middle of a command: at one of its calls, other code runs, or the command is killed."""

import os
import pkgutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from tests.program import Program

When = Callable[..., bool]


def always(*_: object, **__: object) -> bool:
    return True


def of_file(name: str) -> When:
    """True if the first argument is a descriptor of a file with this name."""
    return lambda descriptor, *_: os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")) == name


@dataclass
class Event:
    """Whether it has happened."""

    happened: bool = False


@contextmanager
def meanwhile(where: str, do: Callable[[], object], *, when: When = always, after: bool = False) -> Iterator[Event]:
    """Call `do` once, just before (or `after`) the first call of the function `where` for which `when` is true."""
    module, name = pkgutil.resolve_name(where.rpartition(".")[0]), where.rpartition(".")[2]
    call, event = getattr(module, name), Event()

    def called(*arguments: Any, **options: Any) -> Any:
        now = not event.happened and when(*arguments, **options)
        event.happened = event.happened or now
        if now and not after:
            do()
        result = call(*arguments, **options)
        if now and after:
            do()
        return result

    setattr(module, name, called)
    try:
        yield event
    finally:
        setattr(module, name, call)


@contextmanager
def amid_upload(size: int, do: Callable[[], object]) -> Iterator[None]:
    """Call `do` once in each upload, when `size` bytes of its archive have been written to the store or to threads."""

    def is_large(upload: Any, _: object) -> bool:
        return bool(upload._size >= size)

    directory, multipart = "directory_upload.DirectoryUpload", "multipart.MultipartUpload"
    with (
        meanwhile(f"mgmt.storage.{directory}.write", do, when=is_large),
        meanwhile(f"mgmt.storage.{multipart}.write", do, when=is_large),
    ):
        yield


def stay() -> NoReturn:
    """Go no further; other threads do, and signals are handled."""
    threading.Event().wait()
    raise AssertionError


def killed(program: Program, *words: str | os.PathLike[str], at: str, when: When = always, after: bool = False) -> None:
    """Run a command that is killed just before (or `after`) it calls `at`."""
    pid = os.fork()
    if pid == 0:
        try:
            with meanwhile(at, lambda: os.kill(os.getpid(), signal.SIGKILL), when=when, after=after):
                print(program.run(*words), flush=True)
        finally:
            os._exit(70)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"{words} ended, but {at} was never called"
    assert os.WTERMSIG(status) == signal.SIGKILL
    program.records.wait()
