"""The `mgmt` command: parses, calls one service, renders what it returns."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from mgmt import __version__, signals
from mgmt.cli.parameters import Group, expand_from_environment
from mgmt.cli.render import OUTPUTS, safe
from mgmt.errors import ExitStatus, Interrupted, MgmtError

# Command -> the module that holds it. Adding a command is adding a line.
COMMANDS = {
    "upload": "mgmt.cli.upload",
    "download": "mgmt.cli.download",
    "search": "mgmt.cli.search",
    "ls": "mgmt.cli.ls",
    "status": "mgmt.cli.status",
    "verify": "mgmt.cli.verify",
    "free": "mgmt.cli.free",
    "delete": "mgmt.cli.delete",
    "log": "mgmt.cli.log",
    "history": "mgmt.cli.log",
    "recover": "mgmt.cli.recover",
    "config": "mgmt.cli.config",
    "db": "mgmt.cli.db",
    "audit": "mgmt.cli.audit",
    "doctor": "mgmt.cli.doctor",
    "completion": "mgmt.cli.completion",
}


class _LazyGroup(Group):
    """Imports a command when it is used, so that starting up costs only what is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError as exc:  # whoever read our output has gone; Click would make exit status 1 of it
            raise Interrupted(signal.SIGPIPE) from exc


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--store", metavar="URL", help="Where archives live: s3://bucket/prefix or file:///directory.")
@click.option("--catalog", metavar="URL", help="The catalog: sqlite:///path or postgresql://...")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    envvar="MGMT_CONFIG",
    callback=expand_from_environment,
    help="Another configuration file.",
)
@click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", is_eager=True, help="How results look.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no notes.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; -vv for every request.")
@click.version_option(__version__, prog_name="mgmt", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    store: str | None,
    catalog: str | None,
    config_file: str | None,
    output: str,
    quiet: bool,
    verbose: int,
) -> None:
    """Archive files and folders as plain tar.gz, prove that they arrived, and remember everything.

    \b
    Example:
      mgmt config set store s3://my-bucket/archive
      mgmt upload ~/Videos/holiday
      mgmt search beach
      mgmt download holiday --to /tmp
    """
    from mgmt.cli.app import App
    from mgmt.cli.log_output import show

    show(verbose)
    flags = {"store": store, "catalog": catalog}
    ctx.obj = ctx.with_resource(App(flags, config_file, output=output, quiet=quiet))


def run(args: Sequence[str]) -> int:
    """Run one command; returns its exit status. The one place where an error becomes a status."""
    os.umask(0o077 | os.umask(0))
    output = _requested_output(args)
    unraisable, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        signals.listen()
        return _status_of(args, output)
    except Interrupted as exc:  # at the very beginning or end, or while an error was being told, which matters less
        return _interrupted(exc.signum, output)
    finally:
        sys.unraisablehook = unraisable


def _status_of(args: Sequence[str], output: str) -> int:
    try:
        status = cli.main(list(args), prog_name="mgmt", standalone_mode=False)
        return status if isinstance(status, int) else ExitStatus.OK
    except MgmtError as exc:
        _report(exc.message, type(exc).__name__, output, retryable=exc.retryable, next_step=exc.next_step)
        return exc.exit_status
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        context = getattr(exc, "ctx", None)
        hint = f"{context.command_path} --help" if context is not None else None
        _report(exc.format_message(), "ConfigurationError", output, next_step=hint)
        return ExitStatus.USAGE
    except (KeyboardInterrupt, click.Abort) as exc:
        signals.finish_first()
        cause = exc.__cause__ if isinstance(exc, click.Abort) else exc  # Click puts its own in place of ours
        signum = cause.signum if isinstance(cause, Interrupted) else int(signal.SIGINT)
        if signum == signal.SIGPIPE:  # Python would complain once more when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signum
        return _interrupted(signum, output)
    except OSError as exc:
        from mgmt.services.steps.batch import describe_os_error

        _report(describe_os_error(exc), "MgmtError", output)
        return ExitStatus.FAILED


def _interrupted(signum: int, output: str) -> int:
    """Say what the signal has done; returns the exit status. Another signal only waits for it."""
    signals.finish_first()
    message = f"interrupted by {signal.Signals(signum).name}; nothing is lost"
    _report(message, "Interrupted", output, retryable=True, next_step="run the same command again to go on")
    return 128 + signum


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """A signal that arrived in a destructor would be lost, and shown as a traceback."""
    if isinstance(lost.exc_value, Interrupted):
        signals.wait(lost.exc_value.signum)
    else:
        sys.__unraisablehook__(lost)


def _requested_output(args: Sequence[str]) -> str:
    """The form that the user asked for, known even when the rest of the line cannot be parsed."""
    for before, word in zip(["", *args], args, strict=False):
        if before in ("-o", "--output") and word in OUTPUTS:
            return word
        if word.removeprefix("--output=").removeprefix("-o") in OUTPUTS and word not in OUTPUTS:
            return word.removeprefix("--output=").removeprefix("-o")
    return "table"


def _report(message: str, kind: str, output: str, *, retryable: bool = False, next_step: str | None = None) -> None:
    if output in ("json", "jsonl"):
        import json

        error = {"class": kind, "message": message, "retryable": retryable, "next": next_step}
        print(json.dumps({"error": error}), file=sys.stderr)
        return
    print(f"mgmt: {safe(message)}", file=sys.stderr)
    if next_step:
        first, *others = next_step.split("\n")
        print(f"  try: {safe(first)}", file=sys.stderr)
        for line in others:
            print(f"       {safe(line.strip())}", file=sys.stderr)
