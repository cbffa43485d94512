"""Runs the tests as an ordinary user, for root: `python -m tests.ordinary_user [PYTEST-ARGUMENT...]`.

Root may do what others may not, so a run by root shows neither what a user is refused nor that the tests work for a
user. The user `nobody` gets a copy of the tree, which is mounted over the tree in a mount namespace of its own, with
the same virtual environment: every path is the same, and nothing outside of the namespace changes.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
VENV = ".venv"
USER = "nobody"
NAMESPACE = ["unshare", "--mount", "--propagation", "private"]
LEFT_OUT = (VENV, ".git", "__pycache__", ".*_cache", ".hypothesis", "build", "dist")

MOUNTS = """
set -eu
tree=$1 copy=$2 python=$3; shift 3
mount --bind "$tree/$1" "$copy/$1"; shift
mount --rbind "$copy" "$copy"
# A folder that only root may enter, such as /root, is covered by an empty one, and what is needed of it put there.
mount --rbind "$python" "$1"
for closed in $2; do mount -t tmpfs -o mode=755 ordinary "$closed"; done
mkdir -p "$python" "$tree"
mount --rbind "$1" "$python"
mount --rbind "$copy" "$tree"
shift 2
cd "$tree"
exec "$@"
"""


def main(arguments: list[str]) -> int:
    """The exit status of pytest with these arguments, run by `nobody`."""
    if os.geteuid() != 0:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=TREE).returncode
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        print("NOT TESTED as an ordinary user: mount namespaces are not permitted here", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="mgmt-user-", ignore_cleanup_errors=True) as temporary:
        os.chmod(temporary, 0o755)
        copy, own, stage = (Path(temporary, name) for name in ("tree", "tmp", "python"))
        shutil.copytree(TREE, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for folder in (own, stage, copy / VENV):
            folder.mkdir()
        _give(own, copy)
        closed = dict.fromkeys(each for each in map(_closed_above, (Path(sys.base_prefix), TREE)) if each)
        user = ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups"]
        environment = {**os.environ, "HOME": str(own), "TMPDIR": str(own), "USER": USER, "LOGNAME": USER}
        mounted = ["sh", "-c", MOUNTS, "sh", str(TREE), str(copy), sys.base_prefix, VENV, str(stage)]
        command = [*NAMESPACE, *mounted, " ".join(map(str, closed)), *user, sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, env=environment).returncode


def _give(*trees: Path) -> None:
    entry = pwd.getpwnam(USER)
    for tree in trees:
        for folder, _, files in os.walk(tree):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _closed_above(path: Path) -> Path | None:
    """The first folder above `path`, from the root, that others may not enter."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
