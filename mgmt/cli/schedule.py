"""`mgmt schedule`."""

from dataclasses import fields
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Group, confirm
from mgmt.cli.render import Column
from mgmt.cli.worker import work
from mgmt.errors import ConfigurationError
from mgmt.words import shell_word

if TYPE_CHECKING:
    from mgmt.services.schedule import Shown

COLUMNS = (
    Column("NAME", "name"),
    Column("STATUS", "status", "sentence"),
    Column("CRON", "cron", leaves=4),
    Column("TIME ZONE", "timezone", leaves=5),
    Column("NEXT", lambda each: f"{each.next_times[0]:%Y-%m-%d %H:%M}" if each.next_times else None),
    Column("LAST", "last_time", "time", leaves=3),
    Column("LAST STATUS", "last_status", leaves=2),
    Column("COMMAND", lambda each: _spelled(each.command), "long", leaves=1),
    Column("HOST", "host", leaves=6),
)


def _spelled(command: list[str]) -> str:
    return " ".join(map(shell_word, command))


@click.group("schedule", cls=Group)
def command() -> None:
    """Run commands at certain times.

    A schedule belongs to the machine that it is made on. There, `mgmt worker` runs it, or a timer that `install` makes.

    \b
    Example:
      mgmt schedule add nightly "30 2 * * *" -- upload --all ~/Videos
      mgmt schedule install nightly --systemd
    """


@command.command()
@click.argument("name")
@click.argument("cron")
@click.option("--timezone", metavar="NAME", help="Time zone of CRON, such as Europe/Berlin.  [default: this machine's]")
@click.option("--queue", metavar="NAME", help="Run it from this queue.  [default: that of this machine]")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_context
def add(
    ctx: click.Context, name: str, cron: str, timezone: str | None, queue: str | None, yes: bool, words: tuple[str, ...]
) -> None:
    """Add a schedule: a command, and the times to run it at.

    CRON has five fields, as in crontab(5). COMMAND is upload, download, verify, free or delete, with its options.

    \b
    Example:
      mgmt schedule add nightly "30 2 * * *" --timezone Europe/Berlin -- upload --all ~/Videos
      mgmt schedule add weekly "0 12 * * SUN" -- verify --sample 5%
    """
    from mgmt.cli.requests import names_of, store_of
    from mgmt.cli.scheduled import parsed
    from mgmt.services.schedule import Plan, shown
    from mgmt.services.schedule import add as add_schedule

    app: App = ctx.obj
    with parsed(words, ctx.find_root()) as chosen:
        names_of(chosen)
        store = store_of(chosen)
        if "yes" in chosen.params:
            confirm(f"Let {_spelled(list(words))} run at {cron}?", yes=yes or bool(chosen.params["yes"]))
    plan = Plan(name=name, cron=cron, timezone=timezone, command=words, queue=queue, store=store)
    schedule = add_schedule(plan, app.catalog)
    _show(app, shown(schedule, app.catalog))
    app.progress.note(f"note: mgmt worker runs it, or: mgmt schedule install {name} --systemd")


@command.command()
@click.pass_obj
def ls(app: App) -> None:
    """List schedules.

    \b
    Example:
      mgmt schedule ls
    """
    from mgmt.services.schedule import shown

    found = [shown(each, app.catalog) for each in app.catalog.schedules.all()]
    app.render.many(found, COLUMNS, empty="there is no schedule")


@command.command()
@click.argument("name")
@click.pass_obj
def show(app: App, name: str) -> None:
    """Show a schedule, and its next five times.

    \b
    Example:
      mgmt schedule show nightly
    """
    from mgmt.services.schedule import shown

    _show(app, shown(app.catalog.schedules.get(name), app.catalog))


@command.command()
@click.argument("name")
@click.pass_obj
def pause(app: App, name: str) -> None:
    """Do not run a schedule until it is resumed.

    \b
    Example:
      mgmt schedule pause nightly
    """
    from mgmt.services.schedule import shown

    _show(app, shown(app.catalog.schedules.pause(name), app.catalog))


@command.command()
@click.argument("name")
@click.pass_obj
def resume(app: App, name: str) -> None:
    """Run a paused schedule again, from its next time on.

    \b
    Example:
      mgmt schedule resume nightly
    """
    from datetime import UTC, datetime

    from mgmt.services.schedule import shown

    _show(app, shown(app.catalog.schedules.resume(name, datetime.now(UTC)), app.catalog))


@command.command()
@click.argument("name")
@click.pass_obj
def rm(app: App, name: str) -> None:
    """Remove a schedule; what it has requested stays.

    \b
    Example:
      mgmt schedule rm nightly
    """
    from mgmt.services.units import installed_units

    removed = app.catalog.schedules.get(name)
    app.catalog.schedules.remove(name)
    if app.render.for_people:
        app.render.line(f"removed   {name}")
    else:
        app.render.one({"type": "schedule", "name": name, "status": "removed"})
    if units := installed_units(removed.name):
        timers = [each.name for each in units if each.suffix == ".timer"]
        stop = f"systemctl --user disable --now {' '.join(timers)}; " if timers else ""
        files = " ".join(shell_word(str(each)) for each in units)
        app.progress.note(f"note: its units are still installed; {stop}rm {files}; systemctl --user daemon-reload")


@command.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Run it even if none of its times is due.")
@click.pass_context
def run(ctx: click.Context, name: str, now: bool) -> None:
    """Run a schedule in the foreground if one of its times is due.

    Timers run it. Each time is run once, whoever is first: a timer, a worker, or you. What is left of an earlier run is
    finished.

    \b
    Example:
      mgmt schedule run nightly
      mgmt schedule run nightly --now
    """
    from mgmt.cli.scheduled import requests_on
    from mgmt.services.schedule import own, raise_outcome, take, work_of

    app: App = ctx.obj
    operation_id = take(
        name, app.catalog, requests_on(ctx.find_root()), lambda text: app.progress.note(f"note: {text}"), now=now
    )
    if app.catalog.schedules.unfinished(name):
        work(app, work_of(own(name, app.catalog)), slots=None, until_empty=True, tend=lambda: None)
    else:
        app.render.many((), (), empty=None)
    if operation_id is not None:
        raise_outcome(operation_id, app.catalog)


@command.command()
@click.argument("name")
@click.option("--systemd", is_flag=True, help="Write a timer and a service of systemd for this user.")
@click.option("--cron", "crontab", is_flag=True, help="Print a line for crontab -e.")
@click.pass_obj
def install(app: App, name: str, systemd: bool, crontab: bool) -> None:
    """Let a timer of the system run a schedule, where no worker runs.

    \b
    Example:
      mgmt schedule install nightly --systemd
      mgmt schedule install nightly --cron
    """
    from mgmt.cli.installing import invocation, show_installed
    from mgmt.services.schedule import own
    from mgmt.services.units import crontab_line, install_timer

    if systemd == crontab:
        raise ConfigurationError(
            "choose --systemd or --cron", next_step=f"mgmt schedule install {shell_word(name)} --systemd"
        )
    schedule, mgmt = own(name, app.catalog), invocation(app)
    if systemd:
        show_installed(app, install_timer(schedule, mgmt))
        return
    line = crontab_line(schedule, mgmt)
    if app.render.for_people:
        app.render.text(line)
        app.progress.note("note: add this line with: crontab -e")
    else:
        app.render.one({"type": "crontab", "line": line, "next": "crontab -e"})


def _show(app: App, schedule: "Shown") -> None:
    if not app.render.for_people:
        app.render.one(schedule)
        return
    facts = {each.name: getattr(schedule, each.name) for each in fields(schedule) if each.name != "type"}
    times = [f"{each:%a %Y-%m-%d %H:%M %Z}" for each in schedule.next_times]
    app.render.one({**facts, "command": _spelled(schedule.command), "next_times": times})
