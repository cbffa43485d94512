"""Settings. A flag overrides `MGMT_<NAME>`, which overrides the configuration file, which overrides the default."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from mgmt.choices import MAX_PART_SIZE, MIN_PART_SIZE, Level, OnConflict, Proof, StorageClass
from mgmt.errors import ConfigurationError
from mgmt.words import shell_word

STORAGE_CLASSES = tuple(each.value for each in StorageClass)
ON_CONFLICT = tuple(each.value for each in OnConflict)
PROOFS = tuple(each.value for each in Proof)
LEVELS = tuple(each.value for each in Level)

_DURATIONS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes from `64MiB`, `64M`, `64m` or `67108864`; units are powers of 1024. Raises ValueError."""
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit]) if unit in _UNITS else int(text)
    except OverflowError as exc:  # "inf" is a float
        raise ValueError(f"{text!r} is not a number of bytes") from exc


def parse_duration(text: str) -> timedelta:
    """`30d`, `12h`, `90min`. Raises ValueError."""
    unit = text.lstrip("0123456789.")
    if unit not in _DURATIONS or unit == text:
        raise ValueError(f"{text!r} is not a duration such as 30d, 12h or 90min")
    return timedelta(seconds=float(text.removesuffix(unit)) * _DURATIONS[unit])


class _InvalidValueError(ValueError):
    """The message says what the value must be."""


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise _InvalidValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _InvalidValueError("must be true or false")
    return text.lower() == "true"


def _store_url(text: str) -> str:
    if not text.startswith(("s3://", "file:///")) or not text.partition("://")[2].strip("/"):
        raise _InvalidValueError("must be s3://bucket/prefix or file:///directory")
    path = text.removeprefix("file://")
    if ".." in path.split("/") and os.path.realpath(path) != os.path.realpath(os.path.normpath(path)):
        raise _InvalidValueError("must not have '..' after a symbolic link; write the path without '..'")
    return text.rstrip("/")


def _catalog_url(text: str) -> str:
    if not text.startswith(("sqlite:", "postgresql:", "postgresql+", "postgres:")):
        raise _InvalidValueError("must be sqlite:///path or postgresql://user@host/database")
    scheme, separator, path = text.partition(":///")
    return f"{scheme}{separator}{os.path.expanduser(path)}" if scheme.startswith("sqlite") else text


def _between(low: int, high: int, parse: Callable[[str], int] = int) -> Callable[[str], int]:
    def check(text: str) -> int:
        value = parse(text)
        if not low <= value <= high:
            raise _InvalidValueError(f"must be between {low} and {high}")
        return value

    return check


def _money(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e15:
        raise _InvalidValueError("must be an amount of money such as 5.00")
    return value


def _directory(text: str) -> str:
    return os.path.expanduser(text)


def _absolute_file(text: str) -> str:
    path = os.path.expanduser(text)
    if not os.path.isabs(path) or path.endswith("/") or "\0" in path:
        raise _InvalidValueError("must be the absolute path of a file")
    return path


def _setting(doc: str, parse: Callable[[str], Any] = str, default: Any = None) -> Any:
    return field(default=default, metadata={"doc": doc, "parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, parsed. `origins` names the source of each value that is not a default."""

    store: str | None = _setting("where archives are stored: s3://bucket/prefix or file:///directory", _store_url)
    endpoint_url: str | None = _setting("the S3 endpoint, if not Amazon's")
    region: str | None = _setting("the region of the bucket")
    aws_profile: str | None = _setting("the profile in ~/.aws that holds the credentials")
    storage_class: str | None = _setting("the storage class of new archives", _choice(*STORAGE_CLASSES))
    sync_tags: bool = _setting("also store changed tags with the object in the store", _yes_or_no, False)
    local_dir: str | None = _setting("where search and ls look for local files", _directory)
    completed_dir: str = _setting("where originals are moved once they are archived", _directory, "completed")
    on_conflict: str = _setting(
        "what to do if a name is taken: error, rename or skip", _choice(*ON_CONFLICT), OnConflict.ERROR.value
    )
    proof: str = _setting(
        "how archives are proven: auto, server-checksum or read-back", _choice(*PROOFS), Proof.AUTO.value
    )
    level: str = _setting("compression level: fast or balanced", _choice(*LEVELS), Level.FAST.value)
    mirror: bool = _setting("also keep records as JSON beside completed files", _yes_or_no, False)
    catalog: str | None = _setting("URL of the catalog: sqlite:///path or postgresql://...", _catalog_url)
    part_size: int | None = _setting(
        "size of the parts of an upload", _between(MIN_PART_SIZE, MAX_PART_SIZE, parse_size)
    )
    threads: int = _setting("parts in transit at once", _between(1, 64), 4)
    attempts: int = _setting("how often a worker tries what may succeed later", _between(1, 100), 5)
    backoff: int = _setting(
        "seconds before a second attempt; twice as many before each further one", _between(0, 86_400), 60
    )
    prices: str | None = _setting("a file with your own prices", _directory)
    price_region: str | None = _setting("the region whose prices count, if not that of the bucket")
    budget: float | None = _setting("what the archives may cost a month, in the currency of the prices", _money)
    metrics_file: str | None = _setting("a file for metrics, written after each command", _absolute_file)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    notify: object = None
    """What the file has as `notify`, not parsed (services/steps/rules.py)."""
    class_rules: object = None
    """What the file has as `rules`, not parsed (services/steps/class_rules.py)."""

    def catalog_url(self) -> str:
        """The catalog's URL; by default, an SQLite file in the user's data directory."""
        if self.catalog:
            return self.catalog
        import platformdirs

        return f"sqlite:///{_in_home(platformdirs.user_data_path) / 'catalog.db'}"

    def catalog_file(self) -> str | None:
        """The path of an SQLite catalog; None for a catalog on a server."""
        url = self.catalog_url()
        return url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else None

    def region_of_prices(self) -> str | None:
        """The region whose prices count; None where only the user's own could: not on Amazon's endpoints."""
        if self.price_region is not None:
            return self.price_region
        shared = _aws_config(self.aws_profile)
        other = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if other or {"endpoint_url", "services"} & shared.keys():
            return None
        ours = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return ours or shared.get("region")

    def store_url(self) -> str:
        """The URL of the configured store. Raises ConfigurationError if none is configured."""
        if self.store is None:
            raise ConfigurationError(
                "no store is configured",
                next_step="mgmt config set store s3://BUCKET/PREFIX\n"
                "# or, for one command: mgmt --store file:///DIRECTORY ...",
            )
        return self.store


def _aws_config(profile: str | None) -> Mapping[str, str]:
    """What the configuration file of the AWS tools has for a profile; empty if it cannot be read."""
    import configparser

    parser = configparser.RawConfigParser()
    name = profile or os.environ.get("AWS_PROFILE") or "default"
    try:
        parser.read(os.path.expanduser(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")), encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return {}
    section = name if name == "default" else f"profile {name}"
    return dict(parser[section]) if parser.has_section(section) else {}


NOTIFY = "notify"
"""The tables of the configuration file that are notification rules, not a setting."""

RULES = "rules"
"""Its tables that say which storage class a new archive gets."""

NAMES = tuple(f.name for f in fields(Settings) if "doc" in f.metadata)
_PARSERS: dict[str, Callable[[str], Any]] = {f.name: f.metadata["parse"] for f in fields(Settings) if f.name in NAMES}
DESCRIPTIONS: dict[str, str] = {f.name: f.metadata["doc"] for f in fields(Settings) if f.name in NAMES}


def check_name(name: str) -> str:
    """Return `name` with underscores. Raises ConfigurationError if there is no such setting."""
    name = name.replace("-", "_")
    if name not in NAMES:
        import difflib

        close = difflib.get_close_matches(name, NAMES, 1)
        raise ConfigurationError(
            f"there is no setting {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            next_step="mgmt config show",
        )
    return name


def parse_value(name: str, value: str, origin: str) -> Any:
    """Parse `value` for the setting `name`. Raises ConfigurationError, which names `origin`."""
    try:
        return _PARSERS[name](value)
    except ValueError as exc:
        reason = exc if isinstance(exc, _InvalidValueError) else "must be a number"
        shown = name if name == "catalog" and "://" not in value else f"{name} = {redact(value)!r}"
        raise ConfigurationError(f"{shown} ({origin}): {reason}") from exc  # a password may be anywhere in no URL


TABLES = ("templates",)
"""The tables of the configuration file that are no settings; a module of its own reads each."""


def default_path() -> Path:
    """The path of the user's configuration file, which may not exist. Raises ConfigurationError without a home."""
    import platformdirs

    return _in_home(platformdirs.user_config_path) / "config.toml"


def _in_home(folder: Callable[[str], Path]) -> Path:
    try:
        path = folder("mgmt")
        if not path.parts[0].startswith("~"):  # a folder of that name is not meant
            return path
    except RuntimeError:  # as newer versions of platformdirs say it
        pass
    raise ConfigurationError(
        f"there is no home folder: HOME is not set, and no user has the id {os.getuid()}",
        next_step="export HOME=DIRECTORY\n# or: MGMT_CONFIG=FILE, and --catalog URL",
    )


def load(
    flags: Mapping[str, str | None],
    path: Path | None,
    environ: Mapping[str, str] = os.environ,
    *,
    required: bool = False,
) -> Settings:
    """Load the settings from all sources. Raises ConfigurationError.

    The file may be missing unless `required`; None: there is none.
    """
    if required and path is not None and not path.exists():
        raise ConfigurationError(
            f"there is no configuration file {path}",
            next_step=f"mgmt --config {shell_word(str(path))} config set store s3://BUCKET/PREFIX\n# creates it",
        )
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, value: object, origin: str) -> None:
        values[name] = parse_value(name, str(value), origin)
        origins[name] = origin

    read = _read(path) if path else {}
    notify, class_rules = read.pop(NOTIFY, None), read.pop(RULES, None)
    for name, value in read.items():
        if name in TABLES and isinstance(value, (dict, list)):
            continue
        take(check_name(name), value, f"file {path}")
    if bucket := environ.get("MGMT_BUCKET"):
        prefix = environ.get("MGMT_OBJECT_PREFIX", "").strip("/")
        take("store", f"s3://{bucket}/{prefix}", "environment MGMT_BUCKET")
    for name in NAMES:
        if value := environ.get(f"MGMT_{name.upper()}"):
            take(name, value, f"environment MGMT_{name.upper()}")
        if flag := flags.get(name):
            take(name, flag, "flag")
            if name == "catalog":
                _refuse_tilde(flag)
    if notify is not None:
        origins[NOTIFY] = f"file {path}"
    if class_rules is not None:
        origins[RULES] = f"file {path}"
    return Settings(**values, origins=origins, notify=notify, class_rules=class_rules)


def _refuse_tilde(catalog: str) -> None:
    """Refuse a `~` that the shell did not expand: a folder named `~` is hardly meant."""
    meant, literal = _catalog_url(catalog), catalog.replace(":///", ":///./", 1)
    if catalog.startswith("sqlite") and ":///~" in catalog:
        raise ConfigurationError(
            f"--catalog {catalog}: neither the shell nor mgmt expands ~ in a URL",
            next_step=f"--catalog {shell_word(meant)}\n# or, for a folder named ~: {shell_word(literal)}",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            import tomllib

            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {exc}") from exc


def table_in(path: Path, name: str) -> object:
    """What the file at `path` has under `name`, one of `TABLES`; None if it has nothing there.

    Raises ConfigurationError if the file cannot be read.
    """
    return _read(path).get(name)


def value_in(path: Path, name: str) -> str | None:
    """The value of a setting in the file at `path`, as `write` takes it; None if it has none there.

    Raises ConfigurationError if the file cannot be read.
    """
    value = _read(path).get(name)
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(path: Path, name: str, value: str | None) -> None:
    """Set a setting in the file (None: unset it). Comments are kept, and the file is replaced atomically.

    Raises ConfigurationError if the value is invalid, or the file cannot be written.
    """
    import tempfile

    import tomlkit

    name = check_name(name)
    if value and name == "metrics_file" and not os.path.isabs(os.path.expanduser(value)):
        value = os.path.join(os.getcwd(), value)  # later commands run in other folders
    parsed = None if value is None else parse_value(name, value, "command line")
    _read(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        if parsed is None:
            document.pop(name, None)
        else:
            document[name] = parsed
        # mkstemp creates it with mode 0600; the name appears only when the file is complete and on disk.
        descriptor, temporary = tempfile.mkstemp(prefix=".config-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as exc:
        raise ConfigurationError(f"the configuration file {path} cannot be written: {exc.strerror}") from exc


_SECRETS = ("password", "passwd", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""The ends of the names of libpq's secret parameters, and what is written for `password` by mistake."""


def _escapable(name: str) -> str:
    """A pattern for `name` in a URL, where each letter may be escaped."""
    return "".join(f"(?:{each}|%{ord(each):x}|%{ord(each.upper()):x})" for each in name)


_SECRET = re.compile(rf"((?:{'|'.join(map(_escapable, _SECRETS))})(?:\s|\+|%20)*(?:=|%3d))[^&]*", re.IGNORECASE)
"""The name of a secret, and its value."""


def redact(text: str) -> str:
    """Hide the passwords in `text`, a URL or a connection string of libpq, however they are written.

    A password may contain any character, escaped or not, so more is hidden where its end is unclear.
    """
    hidden = re.sub(r"(://[^:/]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    # Without a host, what follows the colon is taken for a port, which is a number.
    hidden = re.sub(r"(://[^:/@\[]*):(?!\*\*\*@)(?=[^/?]*[^0-9,/?])[^/?]*", r"\1:***", hidden)
    return _SECRET.sub(r"\1***", hidden)
