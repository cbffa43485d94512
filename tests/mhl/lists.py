"""Lists and folders for the tests of media hash lists, and what checks them from outside."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from mgmt.mhl.history import History, read_histories
from mgmt.mhl.manifest import Manifest, parse
from mgmt.mhl.verify import Check, Finding, Verification

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "samples" / "mhl"
"""The sample histories of github.com/ascmitc/mhl (MIT), beside the checkout."""
ASSETS = ROOT / "tests" / "assets" / "mhl"


def pieces(content: bytes, size: int = 7) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def asc(hashes: str, after: str = "", ignore: str = "") -> bytes:
    """An ASC MHL 2.0 manifest with these `hashes`."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">'
        "<creatorinfo><creationdate>2026-01-01T00:00:00Z</creationdate><hostname>h</hostname><tool>t</tool></creatorinfo>"
        f"<processinfo><process>in-place</process>{ignore}</processinfo><hashes>{hashes}</hashes>{after}</hashlist>"
    )
    return text.encode()


def legacy(hashes: str) -> bytes:
    return f'<?xml version="1.0"?>\n<hashlist version="1.1">{hashes}</hashlist>'.encode()


def parsed(content: bytes) -> Manifest:
    return parse("list.mhl", pieces(content, 1 << 16))


def tree(folder: Path) -> dict[str, bytes]:
    """The content of each file below `folder`, by its relative path."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def histories(files: Mapping[str, bytes]) -> list[History]:
    return read_histories(files, lambda path: pieces(files[path]))


def verdicts(files: Mapping[str, bytes], lists: Mapping[str, bytes] | None = None) -> dict[str, str]:
    """The verdict on each file of a folder by the lists in it (or these)."""
    verification = Verification(histories(files if lists is None else lists))
    for folder in {os.path.dirname(path) for path in files}:
        while folder:
            verification.see_folder(folder)
            folder = os.path.dirname(folder)
    return {each.path: each.verdict.value for each in findings(verification, files)}


def findings(verification: Verification, files: Mapping[str, bytes]) -> Iterable[Finding]:
    for path, content in files.items():
        check = verification.check(path)
        if isinstance(check, Check):
            for piece in pieces(content):
                check.update(piece)
            yield check.finish()
        elif check is not None:
            yield check
    yield from verification.missing()


def oracle() -> Path:
    """The folder with the programs of `ascmhl`, in an environment of its own. Skips the test where there is none.

    It pins Click 8.1, so it is no dependency of the tests.
    """
    environment = Path(os.environ.get("MGMT_ASCMHL", ROOT.parent / "runs" / "ascmhl" / "venv"))
    if not (environment / "bin" / "ascmhl").exists():
        pytest.skip(
            f"NOT compared with ascmhl: python -m venv {environment} && {environment}/bin/pip install ascmhl==1.2"
        )
    return environment / "bin"


def samples() -> Path:
    """The folder with the sample histories. Skips the test where it is missing."""
    if not SAMPLES.is_dir():
        pytest.skip(f"NOT tried with the sample histories: {SAMPLES} is missing (github.com/ascmitc/mhl)")
    return SAMPLES


def copy_sample(name: str, to: Path) -> None:
    """Copy a sample to the new folder `to`, where it may be changed."""
    shutil.copytree(samples() / name, to, copy_function=shutil.copyfile)
    for each in (to, *to.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)


def ascmhl(*arguments: str | os.PathLike[str], program: str = "ascmhl") -> int:
    """Run the reference implementation; returns its exit status: 0, 10 (missing or new), 11 (wrong hash), and so on."""
    command = [oracle() / program, *arguments]
    return subprocess.run(command, capture_output=True, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}).returncode


def is_valid(path: Path, *options: str) -> bool:
    """Whether the file at `path` is valid by the schema of ASC MHL."""
    schema = "ASCMHLDirectory__combined.xsd" if options else "ASCMHL.xsd"
    return ascmhl("xsd-schema-check", *options, "-xsd", samples() / schema, path, program="ascmhl-debug") == 0
