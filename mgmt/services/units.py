"""Units of systemd and lines of a crontab, which start a worker or run a schedule."""

import itertools
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mgmt.catalog import ScheduleRecord
from mgmt.config import Settings, redact
from mgmt.errors import ConfigurationError
from mgmt.services.steps.own_files import FIRST, write_own
from mgmt.services.steps.times import local_zone, next_times
from mgmt.services.steps.unit_files import calendar, cron_fields, environment_line, exec_line, text_line

WORKER_UNIT = "mgmt-worker.service"

_MARK = "# Written by mgmt; `mgmt {command}` writes it again."
_STOP_SECONDS = 900
"""How long a worker may take to stop: an upload finishes the part that it sends."""

_MOST_DELAY_SECONDS = 900
"""The longest random delay of a timer."""

_KEPT = (
    *("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE"),
    *("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy"),
    *("no_proxy", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ", "LANG"),
    *("LC_ALL", "TMPDIR"),
)
"""Variables that a service does not get by itself, and that hold no secret."""

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")

_AS_FLAGS = ("store", "catalog")
"""Settings that are written as options of mgmt, if a flag or a variable has set them."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """How to start mgmt: the words of the command, the environment, and the names of secrets that are not in it."""

    words: Sequence[str]
    environment: Mapping[str, str]
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The files that were written, what to type next, and the names of secrets that are not in the files."""

    type: str = "installed"
    paths: list[str]
    next: list[str]
    left_out: list[str]


def invocation_of(
    program: Sequence[str], settings: Settings, config: Path | None, environ: Mapping[str, str]
) -> Invocation:
    """How to start `program` with these settings, from any folder and without the shell's variables.

    Raises ConfigurationError if the URL of the catalog, or of an endpoint, holds a password.
    """
    words = list(program)
    if config is not None:
        words.append(f"--config={config}")
    for name in _AS_FLAGS:
        if settings.origins.get(name, "file").startswith("file"):
            continue
        url = str(getattr(settings, name))
        _refuse_secret(name, url)
        words.append(f"--{name}={_absolute(url)}")
    environment: dict[str, str] = {}
    for name, origin in settings.origins.items():
        variable = f"MGMT_{name.upper()}"
        if name not in _AS_FLAGS and origin == f"environment {variable}":
            _refuse_secret(name, environ[variable])
            environment[variable] = environ[variable]
    left_out = [name for name in _SECRETS if environ.get(name)]
    for name in _KEPT:
        if value := environ.get(name):
            if redact(value) != value:
                left_out.append(name)
            else:
                environment[name] = value
    return Invocation(words, environment, left_out)


def _refuse_secret(name: str, value: str) -> None:
    if redact(value) != value:
        raise ConfigurationError(
            f"{name} = {redact(value)!r} holds a password, which others could read in a unit or a crontab",
            next_step=f"mgmt config set {name} URL\n# or without the password: ~/.pgpass holds that of PostgreSQL",
        )


def _absolute(url: str) -> str:
    """The URL with the absolute path of an SQLite file."""
    scheme, separator, path = url.partition(":///")
    if not scheme.startswith("sqlite") or not path or path.startswith(("/", ":")):
        return url
    return f"{scheme}{separator}{os.path.abspath(path)}"


def install_worker(mgmt: Invocation, options: Sequence[str]) -> Installed:
    """Write the service of a worker, for this user. Raises RefusedError if a file of that name is not mgmt's."""
    lines = [
        _MARK.format(command="worker install --systemd"),
        "[Unit]",
        "Description=mgmt worker: requested operations, schedules and notifications",
        "",
        "[Service]",
        "Type=exec",
        *_service(mgmt, ["worker", *options]),
        "Restart=on-failure",
        "RestartSec=10",
        "# What runs is asked to stop by the worker, and goes on with the next one.",
        "SuccessExitStatus=143",
        "KillMode=mixed",
        f"TimeoutStopSec={_STOP_SECONDS}",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    path = _write(WORKER_UNIT, lines)
    return Installed(paths=[str(path)], next=_next(WORKER_UNIT), left_out=list(mgmt.left_out))


def install_timer(schedule: ScheduleRecord, mgmt: Invocation) -> Installed:
    """Write the timer and the service of a schedule, for this user. Raises RefusedError as `install_worker` does."""
    unit = f"mgmt-{schedule.name}"
    mark = _MARK.format(command=f"schedule install {schedule.name} --systemd")
    what = text_line(f"mgmt schedule {schedule.name}: {' '.join(schedule.command)}")
    service = [
        mark,
        "[Unit]",
        f"Description={what}",
        "",
        "[Service]",
        "Type=oneshot",
        *_service(mgmt, ["schedule", "run", schedule.name]),
        "KillMode=mixed",
        f"TimeoutStopSec={_STOP_SECONDS}",
    ]
    timer = [
        mark,
        "[Unit]",
        f"Description={what}",
        "",
        "[Timer]",
        *(f"OnCalendar={each}" for each in calendar(schedule.cron, schedule.timezone, datetime.now(UTC))),
        "# A time that was missed, as the machine was off, is made up for.",
        "Persistent=true",
        f"RandomizedDelaySec={_delay(schedule)}",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    paths = [_write(f"{unit}.service", service), _write(f"{unit}.timer", timer)]
    return Installed(paths=[str(each) for each in paths], next=_next(f"{unit}.timer"), left_out=list(mgmt.left_out))


def installed_units(name: str) -> list[Path]:
    """The timer and the service of the schedule `name`, as far as they are installed for this user."""
    units = [_folder() / f"mgmt-{name}.{kind}" for kind in ("timer", "service")]
    return [each for each in units if os.path.lexists(each)]


def crontab_line(schedule: ScheduleRecord, mgmt: Invocation) -> str:
    """The line of a crontab that runs `schedule`. Raises ConfigurationError for what no crontab can have.

    Where cron cannot tell a time itself, as it knows one time zone and no last day of a month, the line runs more
    often: `schedule run` does nothing if no time is due. Cron mails what a command prints: that is errors alone, as the
    log has all else.
    """
    fields = cron_fields(schedule.cron, same_zone=schedule.timezone == local_zone())
    assignments = [f"{name}={value}" for name, value in mgmt.environment.items()]
    words = [*(["env", *assignments] if assignments else []), *mgmt.words, "-q", "schedule", "run", schedule.name]
    if any("\n" in word for word in words):
        raise ConfigurationError(
            "a crontab cannot have a line break in a command",
            next_step=f"mgmt schedule install {schedule.name} --systemd",
        )
    return f"{fields} {shlex.join(words).replace('%', chr(92) + '%')} >/dev/null"


def _service(mgmt: Invocation, words: Sequence[str]) -> Iterable[str]:
    yield f"ExecStart={exec_line([*mgmt.words, *words])}"
    for name, value in mgmt.environment.items():
        yield f"Environment={environment_line(name, value)}"


def _delay(schedule: ScheduleRecord) -> int:
    """Seconds: a tenth of the time between two runs, so that not all machines begin at once."""
    times = next_times(schedule.cron, schedule.timezone, datetime.now(UTC), 10)
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    return int(min([_MOST_DELAY_SECONDS, *(gap / 10 for gap in gaps)]))


def _next(unit: str) -> list[str]:
    return [
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {unit}",
        "loginctl enable-linger  # so that it runs while you are not logged in",
    ]


def _folder() -> Path:
    """Where the units of a user are: systemd.unit(5)."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "systemd" / "user"


def _write(name: str, lines: Iterable[str]) -> Path:
    """Write a unit: all of it, or nothing. Raises RefusedError and ConfigurationError."""
    path = _folder() / name
    write_own(path, "\n".join(lines) + "\n", FIRST, what="unit")
    return path
