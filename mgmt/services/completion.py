"""Let a shell load the completion script of mgmt whenever it starts."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mgmt.choices import SHELLS
from mgmt.errors import ConfigurationError
from mgmt.services.steps.own_files import FIRST, write_own
from mgmt.words import shell_word

_MARK = f"{FIRST} `mgmt completion install` writes it again.\n"
_COMPINIT = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }"
"""Without it, zsh knows no completions; a second call of compinit would take long."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A file that the shell loads completions from, or by."""

    shell: str
    path: str
    status: str
    """written, appended (a line was added to a file of the user), or unchanged."""
    type: str = "completion"


def shell_of(environ: Mapping[str, str]) -> str:
    """The shell of the user, by `SHELL`. Raises ConfigurationError if it is none of `SHELLS`."""
    name = os.path.basename(environ.get("SHELL", ""))
    if name not in SHELLS:
        raise ConfigurationError(
            f"SHELL is {name!r}, which is none of {', '.join(SHELLS)}", next_step="mgmt completion install --shell bash"
        )
    return name


def install(shell: str, script: str, environ: Mapping[str, str]) -> list[Installed]:
    """Write the completion `script` of `shell`, and let it be loaded when the shell starts.

    Nothing of the user's is removed or changed: bash and zsh get one more line in `~/.bashrc` or `.zshrc`, unless it is
    there. May be called again. Raises RefusedError if a file of that name is the user's own, ConfigurationError if a
    file cannot be written.
    """
    home = _folder(environ, "HOME") or _home_of_user()
    if shell == "fish":
        folder = _folder(environ, "XDG_CONFIG_HOME") or home / ".config"
        return [_script(shell, folder / "fish" / "completions" / "mgmt.fish", script)]
    folder = _folder(environ, "XDG_DATA_HOME") or home / ".local" / "share"
    path = folder / "mgmt" / f"completion.{shell}"
    word = shell_word(str(path))
    if shell == "bash":
        startup, line = home / ".bashrc", f"[ ! -r {word} ] || . {word}"
    else:
        startup, line = (_folder(environ, "ZDOTDIR") or home) / ".zshrc", f"{_COMPINIT}; [ ! -r {word} ] || . {word}"
    return [_script(shell, path, script), _line(shell, startup, line)]


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    """The folder that a variable names; a relative one is ignored (XDG Base Directory Specification)."""
    value = environ.get(name, "")
    return Path(value) if os.path.isabs(value) else None


def _home_of_user() -> Path:
    """The home folder in the user database. Raises ConfigurationError if there is none."""
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = ""
    if not os.path.isabs(home):
        raise ConfigurationError(
            f"there is no home folder: HOME is not set, and no user has the id {os.getuid()}",
            next_step="export HOME=DIRECTORY",
        )
    return Path(home)


def _script(shell: str, path: Path, script: str) -> Installed:
    is_new = write_own(path, f"{_MARK}{script}\n", what="completion script")
    return Installed(shell, str(path), "written" if is_new else "unchanged")


def _line(shell: str, path: Path, line: str) -> Installed:
    """Add a line to a file of the user, which may be a link to another one, unless it is there."""
    try:
        known = b""
        if path.exists():
            if not path.is_file():  # reading from a pipe could wait for ever
                raise ConfigurationError(f"{path} is not a regular file", next_step=line)
            known = path.read_bytes()
        wanted = line.encode("utf-8", "surrogateescape")
        if wanted in known.splitlines():
            return Installed(shell, str(path), "unchanged")
        apart = b"" if not known or known.endswith(b"\n") else b"\n"
        with open(path, "ab") as file:
            file.write(apart + b"# Added by `mgmt completion install`.\n" + wanted + b"\n")
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be written: {exc.strerror}", next_step=line) from exc
    return Installed(shell, str(path), "appended")
