"""`mgmt browse`."""

import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from mgmt import signals
from mgmt.cli.app import App
from mgmt.cli.money import prices_of
from mgmt.cli.parameters import Command
from mgmt.errors import Interrupted

if TYPE_CHECKING:
    from mgmt.web.guard import Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Browsing:
    """Where the pages are."""

    type: str = "browse"
    url: str
    port: int


@click.command("browse", cls=Command)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Listen at this port.  [default: a free one]")
@click.pass_obj
def command(app: App, port: int | None) -> None:
    """Show the catalog in a web browser, on this machine only.

    Prints a URL to open, and serves pages until Ctrl-C or SIGTERM. Nothing is written, and no store is read.

    \b
    Example:
      mgmt browse
      mgmt browse --port 8080
    """
    from mgmt.catalog import ReadOnly
    from mgmt.services.browse import look
    from mgmt.services.report import gather
    from mgmt.web.guard import Guard
    from mgmt.web.server import Server
    from mgmt.web.site import Site

    settings, table = app.settings, prices_of(app)
    with closing(ReadOnly(settings.catalog_url())) as catalog:
        with look(catalog):  # what cannot be opened ends the command
            pass
        with Server(port or 0) as server:
            guard = Guard(server.port)
            server.site = Site(guard, catalog, partial(gather, table=table, budget=settings.budget))
            thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="pages", daemon=True)
            thread.start()
            try:
                _show(app, guard)
                thread.join()  # until a signal comes, which is how it ends
            except Interrupted:
                signals.finish_first()  # a second signal has nothing to add
            finally:
                server.shutdown()
    app.progress.note("mgmt browse has ended")


def _show(app: App, guard: "Guard") -> None:
    if app.render.for_people:
        app.render.line(guard.url)
    else:
        app.render.one(Browsing(url=guard.url, port=guard.port))
    sys.stdout.flush()
    app.progress.note("open this address in a web browser; Ctrl-C ends mgmt browse")
