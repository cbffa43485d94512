"""Records keep only options of an allow-list, and no secrets."""

import json

from mgmt.catalog import open_catalog
from tests.conftest import Figure
from tests.program import Program

ALLOWED = {
    "upload": {
        "all_of", "include", "exclude", "key", "storage_class", "tags", "level", "proof", "on_conflict", "keep",
        "keep_archive", "xattrs", "owners", "bwlimit", "completed_dir", "files_from", "null",
    },
    "download": {"to", "members", "archive", "on_conflict"},
    "search": {"location", "status", "tags", "since", "until", "limit", "live", "interactive"},
    "verify": {"all_of_them", "sample", "read_back"},
    "free": {"all_of_them", "older_than"},
    "delete": {"last_copy"},
    "rebuild": set(),
}  # fmt: skip
PASSWORD = "canary-of-a-password"
COMMANDS = (
    (
        "upload one --tag a=b --level fast --proof read-back --on-conflict skip --keep --key k/one.tar.gz --xattrs "
        "--owners --bwlimit 100M --include * --exclude *.tmp --storage-class STANDARD --keep-archive kept"
    ),
    "upload --all=some",
    "upload two",
    "upload --files-from list --null",
    "download k/one.tar.gz --to out --on-conflict rename",
    "download k/one.tar.gz --to out --archive",
    "download some --member x",
    "search one --location s3 --status completed --tag a=b --since 7d --until 0s --limit 3",
    "search one --live",
    "verify --all --read-back",
    "verify --sample 100%",
    "free --all --yes",
    "free --older-than 0s --yes",
    "delete two --last-copy --yes",
    "recover",
    "db rebuild",
)


def test_only_options_of_the_allow_list_are_recorded(mgmt: Program, figure: Figure) -> None:
    for name in ("one", "two"):
        (mgmt.work / name).write_text(name)
    (mgmt.work / "list").write_text("three\0")
    (mgmt.work / "three").write_text("three")
    (mgmt.work / "some").mkdir()
    (mgmt.work / "some" / "x").write_text("x")
    url = f"file://{mgmt.home}/store"
    mgmt.environment = {"AWS_SECRET_ACCESS_KEY": PASSWORD, "MGMT_ENDPOINT_URL": f"http://me:{PASSWORD}@127.0.0.1:9"}
    for line in COMMANDS:
        mgmt.run("--store", url, "--catalog", mgmt.records.url, "-v", *line.split(" "))
    catalog = open_catalog(mgmt.records.url)
    seen: dict[str, set[str]] = {}
    for operation in catalog.metadata.list_operations(limit=None):
        names = set(operation.command_args)
        if operation.operation_type in ALLOWED:
            assert names <= ALLOWED[operation.operation_type], operation.operation_type
        else:
            assert names <= set.union(*ALLOWED.values()), operation.operation_type
        seen.setdefault(operation.operation_type, set()).update(names)
        everything = json.dumps([operation.command_args, operation.details, operation.error_message])
        assert PASSWORD not in everything
        assert url not in json.dumps(operation.command_args)
    (three,) = catalog.metadata.list_operations("upload", target="three")
    assert three.command_args == {
        "files_from": "list",
        "null": True,
        "level": "fast",
        "proof": "auto",
        "on_conflict": "error",
        "completed_dir": "completed",
    }
    catalog.close()
    assert seen["upload"] | {"all_of"} == ALLOWED["upload"]  # `all_of` is in the record of the batch
    assert seen["download"] == ALLOWED["download"]
    assert seen["search"] == ALLOWED["search"] - {"interactive"}
    assert {"verify", "delete"} <= set(seen)
    figure("security", "commands whose recorded arguments are checked", tried=len(COMMANDS), violations=0)
