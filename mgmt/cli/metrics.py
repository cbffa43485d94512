"""`mgmt metrics`."""

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Command


@click.command("metrics", cls=Command)
@click.argument("file", metavar="FILE")
@click.pass_obj
def command(app: App, file: str) -> None:
    """Write metrics for Prometheus to a file, or to stdout.

    An earlier metrics file is replaced as a whole, as the textfile collector of the node exporter needs it; any other
    file is not. `-` is stdout. With the setting metrics_file it is also written after each command that has changed
    the catalog.

    \b
    Example:
      mgmt metrics /var/lib/prometheus/node-exporter/mgmt.prom
      mgmt metrics -
    """
    from mgmt.services.metrics import metrics, write
    from mgmt.services.steps.overlaps import refuse_output

    if file != "-":
        refuse_output(file, app.settings, app.catalog)
    text = metrics(app.catalog)
    if file == "-":
        app.render.text(text.removesuffix("\n"))
        return
    write(file, text)
    if not app.render.for_people:
        app.render.one({"type": "metrics", "path": file, "size": len(text.encode())})
