"""`mgmt worker`."""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command
from mgmt.errors import ConfigurationError, PartialError

if TYPE_CHECKING:
    from mgmt.catalog import Catalog, Wanted
    from mgmt.services.steps.delivery import Deliveries
    from mgmt.services.worker import WorkEvent


@click.command("worker", cls=Command)
@click.argument("install", required=False, type=click.Choice(["install"]), metavar="[ACTION]")
@click.option("--slots", type=click.IntRange(1, 64), metavar="N", help="Operations at a time.  [default: processors]")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Serve only this queue; may be repeated.")
@click.option(
    "--per-store", type=click.IntRange(1), metavar="N", help="Operations at a time on one store, of all workers."
)
@click.option("--until-empty", is_flag=True, help="End when nothing is left to run.")
@click.option("--systemd", is_flag=True, help="With install: write a service of systemd for this user.")
@click.pass_context
def command(
    ctx: click.Context,
    install: str | None,
    slots: int | None,
    queues: tuple[str, ...],
    per_store: int | None,
    until_empty: bool,
    systemd: bool,
) -> None:
    """Run requested operations and schedules of this machine.

    SIGTERM stops it: what runs goes on with the next worker. With -o jsonl each event is a line. The only ACTION is
    `install`, which lets the system start it.

    \b
    Example:
      mgmt worker --slots 2
      mgmt worker --until-empty
      mgmt worker install --systemd
    """
    from mgmt.catalog import ANY, Wanted, host_queue, this_host
    from mgmt.cli.scheduled import requests_on
    from mgmt.services.steps.timetable import Timetable

    app: App = ctx.obj
    if bool(install) != systemd or (install and until_empty):
        next_step = "mgmt worker install --systemd\n# or: mgmt worker"
        raise ConfigurationError("`install` and --systemd go together, without --until-empty", next_step=next_step)
    if install:
        _install(app, slots, queues, per_store)
        return
    wanted = Wanted(queues or (host_queue(this_host()), ANY), per_store)
    timetable = Timetable(app.catalog, requests_on(ctx.find_root()), lambda text: app.progress.note(f"note: {text}"))
    work(app, wanted, slots, until_empty=until_empty, tend=timetable)


def _install(app: App, slots: int | None, queues: Sequence[str], per_store: int | None) -> None:
    from mgmt.cli.installing import invocation, show_installed
    from mgmt.services.units import install_worker

    given = [f"--slots={slots}"] if slots is not None else []
    given += [f"--queue={each}" for each in queues]
    given += [f"--per-store={per_store}"] if per_store is not None else []
    show_installed(app, install_worker(invocation(app), given))


def work(app: App, wanted: "Wanted", slots: int | None, *, until_empty: bool, tend: Callable[[], None]) -> None:
    """Run a worker of this `mgmt`, and show what it does. Raises PartialError if it ends with anything undone."""
    from mgmt.services.worker import Worker, has_been_done_since

    app.catalog.database.revision()  # what cannot be opened ends the command
    _import_commands()
    words = app.words()

    def run(operation_ids: Sequence[str]) -> int:
        from mgmt.cli import run as run_mgmt

        return run_mgmt([*words, "--quiet", "run", *operation_ids])

    deliveries = _deliveries(app)

    def tend_all() -> None:
        tend()
        if deliveries is not None:
            deliveries.tend()

    worker = Worker(app.catalog, wanted, slots or os.cpu_count() or 1, run, tend_all)
    undone: list[str] = []
    fanned_out: list[str] = []

    def events() -> "Iterator[WorkEvent]":
        for event in worker.work(until_empty=until_empty):
            if event.type == "ended" and event.status == "pending":
                fanned_out.append(event.operation_id)
            elif event.type == "ended" and event.status != "success":
                undone.append(event.operation_id)
            if app.render.for_people:
                app.render.line(_sentence(event))
            else:
                yield event

    if app.render.for_people:
        for _ in events():
            pass
    else:
        app.render.many(events(), ())
    if until_empty and deliveries is not None:
        deliveries.finish()
    if not until_empty:
        return
    left = [each for each in undone if not has_been_done_since(each, app.catalog)]
    left += _undone_besides(left, fanned_out, app.catalog)
    if left:
        raise PartialError(_undone(len(left)), next_step="mgmt log --status failed")


def _undone(count: int) -> str:
    return "1 operation was not done" if count == 1 else f"{count} operations were not done"


def _import_commands() -> None:
    """Import what operations need: otherwise each process that runs some would, for a tenth of a second."""
    from mgmt.services.steps.requests import KINDS

    # A module cannot be called `class`.
    names = ["run_requested", "change_class", *(each for each in KINDS if each != "class")]
    for name in names:
        import_module(f"mgmt.cli.{name}")
        import_module(f"mgmt.services.{name.removesuffix('_requested')}")


def _deliveries(app: App) -> "Deliveries | None":
    """What delivers notifications, if there are rules."""
    if not app.rules:
        return None
    from mgmt.services.steps.delivery import Deliveries

    return Deliveries(app.catalog, app.rules)


def _undone_besides(undone: Sequence[str], batches: Sequence[str], catalog: "Catalog") -> list[str]:
    """Those of `batches` that were not done because of what none of the `undone` did: their own searches."""
    from mgmt.catalog import Status

    told = {catalog.metadata.require_operation(each).parent_id for each in undone}

    def has_failed(batch: str) -> bool:
        counts = catalog.queue.children(batch)
        return bool(counts.get(Status.FAILED) or counts.get(Status.PARTIAL))

    return [each for each in batches if each not in told and has_failed(each)]


def _sentence(event: "WorkEvent") -> str:
    what = f"{event.operation_type} {event.target_path or ''}".rstrip()
    how = event.status if event.type == "ended" else event.type
    if event.type == "ended" and event.error_message:
        how = f"{how}: {event.error_message}"
    return f"{datetime.now().astimezone():%H:%M:%S}  {how:8}  {what}  {event.operation_id}"
