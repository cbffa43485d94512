"""`mgmt doctor`."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command

if TYPE_CHECKING:
    from mgmt.services.doctor import Finding


@click.command("doctor", cls=Command)
@click.pass_obj
def command(app: App) -> None:
    """Find problems with the machine, settings, catalog or store.

    Each problem is shown with a command that fixes it. Nothing is changed.

    \b
    Example:
      mgmt doctor
      mgmt -o json doctor
    """
    from mgmt.services.doctor import examine, verdict

    seen: list[Finding] = []

    def looking() -> "Iterator[Finding]":
        for finding in examine(app.config_path, lambda: app.settings, app.flags, os.getcwd()):
            seen.append(finding)
            yield finding

    if app.render.for_people:
        for each in looking():
            app.render.line(f"{each.state:<8} {each.area:<14} {each.what}: {each.detail}")
            for number, line in enumerate((each.next or "").splitlines()):
                app.render.line(f"{'':<23} {'try:' if number == 0 else '    '} {line.strip()}")
    else:
        app.render.many(looking(), ())
    if (error := verdict(seen)) is not None:
        raise error
