"""The locale, the home folder and the encoding of the streams are as the environment says, or are missing."""

import json
import os
import pwd
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.program import Program

pytestmark = pytest.mark.sqlite
NAME = os.fsdecode("café".encode())
BYTES = os.fsdecode(b"\xff\xfe")


def latin(folder: Path) -> dict[str, str]:
    """The environment for a locale in ISO-8859-1, which is made in `folder`."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps/ISO-8859-1.gz").exists():
        pytest.skip("NOT TESTED: needs localedef and the package locales")
    subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.iso88591"], check=True, capture_output=True
    )
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.iso88591"}


@pytest.mark.parametrize("locale", ["C", "ISO-8859-1"])
def test_names_are_the_same_in_every_locale(mgmt: Program, tmp_path: Path, locale: str) -> None:
    environment = {"PYTHONUTF8": "0", "LC_ALL": "C"} if locale == "C" else latin(tmp_path)
    folder = mgmt.work / NAME
    folder.mkdir()
    for name in (NAME, BYTES):
        (folder / name).write_text(name.encode("utf-8", "backslashreplace").decode())
    done = mgmt.run_process("upload", "--keep", "--tag", f"place={NAME}", NAME, environment=environment)
    assert done.returncode == 0, done
    assert f"{NAME}.tar.gz" in done.stdout
    with tarfile.open(Path(mgmt.store.removeprefix("file://"), f"{NAME}.tar.gz")) as tar:
        assert set(tar.getnames()) == {NAME, f"{NAME}/{NAME}", f"{NAME}/{BYTES}"}
    (there,) = json.loads(mgmt.run_process("-o", "json", "ls", NAME, environment=environment).stdout)
    (here,) = mgmt.json("ls", NAME)
    assert there == here
    mgmt.ok("upload", NAME)  # the same target, and the same content
    found = mgmt.run_process("download", NAME, "--to", NAME + " back", environment=environment)
    assert found.returncode == 0, found
    assert set(os.listdir(mgmt.work / (NAME + " back") / NAME)) == {NAME, BYTES}


def test_what_a_stream_cannot_encode_is_escaped(mgmt: Program) -> None:
    (mgmt.work / NAME).write_text("x")
    mgmt.ok("upload", "--keep", NAME)
    for command in (["ls"], ["-o", "json", "ls"], ["upload", NAME + " missing"]):
        done = mgmt.run_process(*command, environment={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == (4 if "upload" in command else 0), done
        assert "caf\\" in done.stdout + done.stderr


def nobody_has(uid: int) -> None:
    raise KeyError(uid)


def test_a_user_without_a_home_is_told_what_to_set(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody_has)
    env = {name: value for name, value in mgmt.env().items() if name not in ("HOME", "MGMT_CATALOG")}
    monkeypatch.setattr(Program, "env", lambda _: {k: v for k, v in env.items() if not k.startswith("XDG_")})
    for command in (["ls"], ["config", "set", "threads", "2"], ["config", "path"], ["doctor"]):
        done = mgmt.run(*command)
        assert done.returncode == 2, done
        assert "there is no home folder" in done.stderr
        assert "try: export HOME=" in done.stderr
    assert [path.name for path in mgmt.work.iterdir()] == []


def test_a_user_without_a_home_may_name_a_catalog(mgmt: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody_has)
    env = {name: value for name, value in mgmt.env().items() if name != "HOME" and not name.startswith("XDG_")}
    monkeypatch.setattr(Program, "env", lambda _: env)
    (mgmt.work / "notes").write_text("notes")
    mgmt.ok("upload", "notes")
    (record,) = mgmt.json("log", "--target", f"{mgmt.work}/notes")
    assert record["user"] == str(os.getuid())
    assert [path.name for path in mgmt.work.iterdir()] == ["completed"]
