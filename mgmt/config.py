"""Settings: a flag beats `MGMT_<NAME>` beats the configuration file beats the default."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mgmt.choices import MAX_PART_SIZE, MIN_PART_SIZE, Level, Proof, StorageClass
from mgmt.errors import ConfigurationError

STORAGE_CLASSES = tuple(each.value for each in StorageClass)
ON_CONFLICT = ("error", "rename", "skip")
PROOFS = tuple(each.value for each in Proof)
LEVELS = tuple(each.value for each in Level)

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes from `64MiB`, `64M`, `64m` or `67108864`; units are powers of 1024. Raises ValueError."""
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit]) if unit in _UNITS else int(text)
    except OverflowError as exc:  # "inf" is a float, too
        raise ValueError(f"{text!r} is not a number of bytes") from exc


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is one of {', '.join(allowed)}")
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is true or false")
    return text.lower() == "true"


def _store_url(text: str) -> str:
    if not text.startswith(("s3://", "file:///")):
        raise ValueError("looks like s3://bucket/prefix or file:///directory")
    path = text.removeprefix("file://")
    if ".." in path.split("/") and os.path.realpath(path) != os.path.realpath(os.path.normpath(path)):
        raise ValueError("is a path where '..' follows a symbolic link; write it without '..'")
    return text.rstrip("/")


def _catalog_url(text: str) -> str:
    scheme, separator, path = text.partition(":///")
    return f"{scheme}{separator}{os.path.expanduser(path)}" if scheme.startswith("sqlite") else text


def _between(low: int, high: int, parse: Callable[[str], int] = int) -> Callable[[str], int]:
    def check(text: str) -> int:
        value = parse(text)
        if not low <= value <= high:
            raise ValueError(f"is between {low} and {high}")
        return value

    return check


def _directory(text: str) -> str:
    return str(Path(text).expanduser())


def _setting(doc: str, parse: Callable[[str], Any] = str, default: Any = None) -> Any:
    return field(default=default, metadata={"doc": doc, "parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, already parsed. `origins` says where each value comes from."""

    store: str | None = _setting("where archives live: s3://bucket/prefix or file:///directory", _store_url)
    endpoint_url: str | None = _setting("the S3 endpoint, where it is not Amazon's")
    region: str | None = _setting("the region of the bucket")
    aws_profile: str | None = _setting("the profile in ~/.aws that holds the credentials")
    storage_class: str | None = _setting("the storage class of new archives", _choice(*STORAGE_CLASSES))
    local_dir: str | None = _setting("where search and ls look for local files", _directory)
    completed_dir: str = _setting("where originals go when they are safe", _directory, "completed")
    on_conflict: str = _setting("what to do when a name is taken", _choice(*ON_CONFLICT), "error")
    proof: str = _setting("how an archive is proven", _choice(*PROOFS), Proof.AUTO.value)
    level: str = _setting("compression: fast or balanced", _choice(*LEVELS), Level.FAST.value)
    mirror: bool = _setting("keep the records as JSON beside the completed files, too", _yes_or_no, False)
    catalog: str | None = _setting("the catalog's URL, sqlite:///path or postgresql://...", _catalog_url)
    part_size: int | None = _setting("bytes of a part of an upload", _between(MIN_PART_SIZE, MAX_PART_SIZE, parse_size))
    threads: int = _setting("parts in flight at once", _between(1, 64), 4)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def catalog_url(self) -> str:
        """The catalog's URL; where none is set, a SQLite file in the user's data directory."""
        if self.catalog:
            return self.catalog
        import platformdirs

        return f"sqlite:///{platformdirs.user_data_path('mgmt') / 'catalog.db'}"

    def catalog_file(self) -> str | None:
        """The path of the catalog where it is a file; None for one on a server."""
        url = self.catalog_url()
        return url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else None

    def store_url(self) -> str:
        """The configured store's URL. Raises ConfigurationError when there is none."""
        if self.store is None:
            raise ConfigurationError(
                "no store is configured",
                next_step="mgmt config set store s3://BUCKET/PREFIX\n"
                "  or for one command:  mgmt --store file:///DIRECTORY ...",
            )
        return self.store


NAMES = tuple(f.name for f in fields(Settings) if "doc" in f.metadata)
_PARSERS: dict[str, Callable[[str], Any]] = {f.name: f.metadata["parse"] for f in fields(Settings) if f.name in NAMES}
DESCRIPTIONS: dict[str, str] = {f.name: f.metadata["doc"] for f in fields(Settings) if f.name in NAMES}


def check_name(name: str) -> str:
    """`name`, if there is such a setting. Raises ConfigurationError."""
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
    """`value` as the type of the setting `name`. Raises ConfigurationError naming `origin`."""
    try:
        return _PARSERS[name](value)
    except ValueError as exc:
        reason = exc if str(exc).startswith(("is ", "looks ")) else "is not a number"
        raise ConfigurationError(f"{name} = {value!r} ({origin}): it {reason}") from exc


def default_path() -> Path:
    """The user's configuration file, whether or not it exists."""
    import platformdirs

    return platformdirs.user_config_path("mgmt") / "config.toml"


def load(flags: Mapping[str, str | None], path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from all their sources. A missing file is an empty one. Raises ConfigurationError."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, value: object, origin: str) -> None:
        values[name] = parse_value(name, str(value), origin)
        origins[name] = origin

    for name, value in _read(path).items():
        take(check_name(name), value, f"file {path}")
    if bucket := environ.get("MGMT_BUCKET"):
        prefix = environ.get("MGMT_OBJECT_PREFIX", "").strip("/")
        take("store", f"s3://{bucket}/{prefix}", "environment MGMT_BUCKET")
    for name in NAMES:
        if value := environ.get(f"MGMT_{name.upper()}"):
            take(name, value, f"environment MGMT_{name.upper()}")
        if flag := flags.get(name):
            if name == "catalog":
                _refuse_tilde(flag)
            take(name, flag, "flag")
    return Settings(**values, origins=origins)


def _refuse_tilde(catalog: str) -> None:
    """On the command line `~` is the shell's, which leaves it alone in a URL: a folder named `~` is hardly meant."""
    meant = _catalog_url(catalog)
    if catalog.startswith("sqlite") and ":///~" in catalog:
        raise ConfigurationError(
            f"--catalog {catalog}: the shell does not expand the ~ in a URL, and neither does mgmt",
            next_step=f"--catalog {meant}   (or, for a folder named ~: {catalog.replace(':///', ':///./', 1)})",
        )


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {exc}") from exc


def write(path: Path, name: str, value: str | None) -> None:
    """Set (or, with None, unset) one setting in the file, keeping its comments; the file is replaced atomically.

    Raises ConfigurationError when the value is not allowed, or the file cannot be written.
    """
    import tempfile

    import tomlkit

    name = check_name(name)
    parsed = None if value is None else parse_value(name, value, "given")
    _read(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        if parsed is None:
            document.pop(name, None)
        else:
            document[name] = parsed
        # mkstemp makes it 0600; the name appears only when all of it is on disk.
        descriptor, temporary = tempfile.mkstemp(prefix=".config-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as exc:
        raise ConfigurationError(f"the configuration file {path} cannot be written: {exc.strerror}") from exc
