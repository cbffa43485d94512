"""Secrets from the environment and the configuration never appear in output, files or the catalog."""

import os
from dataclasses import replace

from tests.program import Program

SECRET = "canary/secret+of=nobody"
PASSWORD = "canary-of-a-password"
URLS = (
    f"postgresql://me:{PASSWORD}@127.0.0.1:9/catalog",
    f"postgresql://127.0.0.1:9/catalog?user=me&password={PASSWORD}",
    f"postgresql://me@127.0.0.1:9/catalog?application_name=x&pass%77ord={PASSWORD}",
    f"postgresql://127.0.0.1:9/catalog?sslpassword={PASSWORD}&user=me",
    f"mysql://me:{PASSWORD}@127.0.0.1:9/catalog?password={PASSWORD}",
)
COMMANDS = (
    "-vv upload notes",
    "-o json upload notes",
    "-vv ls --live",
    "status notes",
    "-o json search notes --live",
    "verify notes",
    "download notes",
    "delete notes --yes",
    "free notes --yes",
    "recover",
    "db rebuild",
    "db current",
    "db check",
    "-vv doctor",
    "config show",
    f"config set catalog postgresql://me:{PASSWORD}@127.0.0.1:9/catalog",
    "config show",
    "-o json config get catalog",
    "log -l",
    "-o json log",
)


def test_a_secret_is_never_printed_nor_recorded(mgmt: Program) -> None:
    mgmt.store = "s3://bucket/archive"
    mgmt.environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "canary-key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    (mgmt.work / "notes").write_text("x")
    for line in COMMANDS:
        done = mgmt.run(*line.split())
        assert SECRET not in done.stdout + done.stderr, line
        assert PASSWORD not in done.stdout + done.stderr, line
        assert "mgmt-probe" not in done.stderr or line.startswith("-vv"), line
    for url in URLS:
        unreachable = replace(mgmt, environment={**mgmt.environment, "MGMT_CATALOG": url})
        for line in ("log", "-o json doctor", "-o json upload notes", "db current", "config show"):
            done = unreachable.run(*line.split())
            assert PASSWORD not in done.stdout + done.stderr, (url, line)
    for folder, _, names in os.walk(mgmt.home):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                data = file.read()
            assert SECRET.encode() not in data, path
            assert PASSWORD.encode() not in data or name == "config.toml", path
