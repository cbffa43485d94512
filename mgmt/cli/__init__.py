"""The `mgmt` command: parse, call one service, show its result."""

import os
import signal
import sys
from collections.abc import Sequence

import click

from mgmt import __version__, signals, umask
from mgmt.cli.groups import LazyGroup, Sections
from mgmt.cli.parameters import expand_from_environment
from mgmt.cli.render import OUTPUTS, print_error
from mgmt.errors import ExitStatus, Interrupted, MgmtError

COMMANDS: Sections = {
    "Archive": {
        "upload": "mgmt.cli.upload",
        "download": "mgmt.cli.download",
        "free": "mgmt.cli.free",
        "delete": "mgmt.cli.delete",
    },
    "Find": {
        "search": "mgmt.cli.search",
        "ls": "mgmt.cli.ls",
        "status": "mgmt.cli.status",
        "cat": "mgmt.cli.cat",
        "log": "mgmt.cli.log",
        "history": "mgmt.cli.log",
    },
    "Check": {
        "verify": "mgmt.cli.verify",
        "check": "mgmt.cli.check",
        "diff": "mgmt.cli.diff",
        "recover": "mgmt.cli.recover",
        "ignore": "mgmt.cli.ignore",
        "mhl": "mgmt.cli.mhl",
        "audit": "mgmt.cli.audit",
        "doctor": "mgmt.cli.doctor",
    },
    "Cold storage": {
        "restore": "mgmt.cli.restore",
        "class": "mgmt.cli.change_class",
        "tag": "mgmt.cli.tag",
        "undelete": "mgmt.cli.undelete",
        "lock": "mgmt.cli.lock",
        "cost": "mgmt.cli.cost",
    },
    "Automate": {
        "schedule": "mgmt.cli.schedule",
        "worker": "mgmt.cli.worker",
        "queue": "mgmt.cli.queue",
        "run": "mgmt.cli.run_requested",
        "cancel": "mgmt.cli.cancel",
        "retry": "mgmt.cli.retry",
        "replay": "mgmt.cli.replay",
        "undo": "mgmt.cli.undo",
        "notify": "mgmt.cli.notify",
    },
    "Insight": {
        "report": "mgmt.cli.report",
        "metrics": "mgmt.cli.metrics",
        "browse": "mgmt.cli.browse",
        "du": "mgmt.cli.du",
    },
    "Administer": {
        "config": "mgmt.cli.config",
        "db": "mgmt.cli.db",
        "help": "mgmt.cli.help",
        "completion": "mgmt.cli.completion",
    },
}
"""Every command, by purpose. Adding a command is adding a line."""


class _Program(LazyGroup):
    """`mgmt` itself."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError as exc:  # the reader of our output has gone; Click would exit with 1
            signals.finish_first()
            # Python would report it again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(128 + signal.SIGPIPE) from exc


@click.group(cls=_Program, sections=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--store", metavar="URL", help="Where archives are stored: s3://bucket/prefix or file:///directory.")
@click.option("--catalog", metavar="URL", help="Database of the catalog: sqlite:///path or postgresql://...")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    envvar="MGMT_CONFIG",
    callback=expand_from_environment,
    help="Use this configuration file.",
)
@click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", is_eager=True, help="Output format.")
@click.option("-q", "--quiet", is_flag=True, help="Hide progress and notes.")
@click.option("-v", "--verbose", count=True, help="Log to stderr; -vv logs every request, too.")
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
    """Archive files and folders as plain tar.gz, verify each archive, and record everything in a catalog.

    \b
    Example:
      mgmt config set store s3://my-bucket/archive
      mgmt upload ~/Videos/holiday
      mgmt search beach
      mgmt download holiday --to /tmp
    """
    from mgmt.cli.app import App
    from mgmt.cli.log_output import show

    show(verbose, quiet=quiet)
    flags = {"store": store, "catalog": catalog}
    ctx.obj = ctx.with_resource(App(flags, config_file, output=output, quiet=quiet))


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit status. Only here does an error become an exit status."""
    umask.keep_private()
    output = _requested_output(args)
    unraisable, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        signals.listen()
        return _status_of(args, output)
    except Interrupted as exc:  # at the very beginning or end, or while an error was being reported
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
    except click.exceptions.NoArgsIsHelpError as exc:
        _show_help(exc, output)
        return ExitStatus.USAGE
    except click.ClickException as exc:
        # Click lists choices on lines of their own; an error is one line.
        _report(" ".join(exc.format_message().split()), "ConfigurationError", output, next_step=_hint(exc))
        return ExitStatus.USAGE
    except (KeyboardInterrupt, click.Abort) as exc:
        signals.finish_first()
        cause = exc.__cause__ if isinstance(exc, click.Abort) else exc  # Click replaces our exception by its own
        signum = cause.signum if isinstance(cause, Interrupted) else int(signal.SIGINT)
        return _interrupted(signum, output)
    except OSError as exc:
        from mgmt.services.steps.batch import describe_os_error

        _report(describe_os_error(exc), "MgmtError", output)
        return ExitStatus.FAILED


def _hint(exc: click.ClickException) -> str | None:
    """What to type after a usage error: an option of `mgmt` itself stands before the command."""
    context: click.Context | None = getattr(exc, "ctx", None)
    if context is None:
        return None
    root = context.find_root()
    if isinstance(exc, click.NoSuchOption) and context is not root:
        for each in root.command.params:
            if exc.option_name in each.opts:
                value = (
                    ""
                    if isinstance(each, click.Option) and (each.is_flag or each.count)
                    else f" {each.make_metavar(root)}"
                )
                return f"mgmt {exc.option_name}{value}{context.command_path.removeprefix('mgmt')} ..."
    return f"{context.command_path} --help"


def _interrupted(signum: int, output: str) -> int:
    """Report the interruption and return its exit status. Another signal waits until that is done."""
    signals.finish_first()
    message = f"interrupted by {signal.Signals(signum).name}; nothing is lost"
    _report(message, "Interrupted", output, retryable=True, next_step="run the same command again to resume")
    return 128 + signum


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Keep a signal that arrived in a destructor: Python would lose it and print a traceback."""
    if isinstance(lost.exc_value, Interrupted):
        signals.wait(lost.exc_value.signum, again=lost.exc_value.again)
    else:
        sys.__unraisablehook__(lost)


def _requested_output(args: Sequence[str]) -> str:
    """The output format that was asked for, even if the rest of the command line cannot be parsed."""
    for before, argument in zip(["", *args], args, strict=False):
        if before in ("-o", "--output") and argument in OUTPUTS:
            return argument
        if argument.removeprefix("--output=").removeprefix("-o") in OUTPUTS and argument not in OUTPUTS:
            return argument.removeprefix("--output=").removeprefix("-o")
    return "table"


def _show_help(exc: click.exceptions.NoArgsIsHelpError, output: str) -> None:
    """What `mgmt` or a group of commands prints when no command is given: its help, on stderr."""
    if output in ("json", "jsonl"):
        next_step = f"{exc.ctx.command_path} --help" if exc.ctx is not None else None
        _report("no command was given", "ConfigurationError", output, next_step=next_step)
    else:
        print(exc.format_message(), file=sys.stderr)


def _report(message: str, kind: str, output: str, *, retryable: bool = False, next_step: str | None = None) -> None:
    if output in ("json", "jsonl"):
        import json

        error = {"class": kind, "message": message, "retryable": retryable, "next": next_step}
        print(json.dumps({"error": error}), file=sys.stderr)
        return
    print_error(message, next_step)
