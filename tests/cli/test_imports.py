"""What a command may import: the time that it takes to start is the time that its modules take.

A budget lists names. Whoever adds one decides that every run of that command waits for it.
"""

import subprocess
import sys
from dataclasses import replace

import pytest

from mgmt.catalog import FileRecord, MetadataManager
from tests.catalog.conftest import Member
from tests.program import Program

PROGRAM = """
import sys
from mgmt import cli
try:
    status = cli.run(sys.argv[1:])
except SystemExit as end:  # after completion, Click exits by itself
    status = end.code
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""

LINES = """
import sys
from mgmt import cli
sys.stderr = sys.stdout
for line in sys.argv[1:]:
    cli.run(line.split())
    print("botocore:", "botocore" in sys.modules)
"""

BASE = {
    "mgmt", "mgmt.choices", "mgmt.config", "mgmt.errors", "mgmt.paths", "mgmt.progress", "mgmt.shown", "mgmt.signals",
    "mgmt.umask", "mgmt.words", "mgmt.cli.*",
}  # fmt: skip
FILES = {
    "mgmt.catalog",
    *(f"mgmt.catalog.db.{name}" for name in (
        "conditions", "database", "engine", "errors", "flock", "read_retry", "revision",
    )),
    *(f"mgmt.catalog.files.{name}" for name in ("arguments", "file_lists", "filters")),
    *(f"mgmt.catalog.records.{name}" for name in ("base", "enums", "files", "process", "types")),
}  # fmt: skip
AUDIT = {
    *(f"mgmt.catalog.audit.{name}" for name in ("canonical", "chain", "hashing", "seals")),
    "mgmt.catalog.records.seal",
}
EVERY_TYPE = {
    *(f"mgmt.catalog.files.{name}" for name in ("lookups", "metadata", "operation_filters")),
    *(f"mgmt.catalog.records.{name}" for name in (
        "cold", "inspections", "maintenance", "operation_types", "operations", "transfers",
    )),
}  # fmt: skip
MEMBERS = {
    *(f"mgmt.catalog.files.{name}" for name in ("member_filters", "member_stretches", "members", "name_index")),
    "mgmt.catalog.db.bulk",
    "mgmt.catalog.records.member_tables",
}
JOURNAL = {f"mgmt.catalog.operations.{name}" for name in ("heartbeat", "job_table", "journal", "ownership", "sources")}
STEPS = {
    *(f"mgmt.services.steps.{name}" for name in ("context", "index_keys", "local_files")),
    *(f"mgmt.storage.{name}" for name in ("etags", "keys", "store")),
    "mgmt.storage",
}
LISTS = {f"mgmt.catalog.files.{name}" for name in ("arguments", "file_lists")}
TABLES = {"click", "platformdirs", "sqlalchemy", "tabulate", "wcwidth"}
ARCHIVES = {"deflate", "isal", "zlib_ng", "mgmt.archive.*"}
LS = BASE | TABLES | FILES | STEPS | {"mgmt.services.listing", "mgmt.services.steps.match"}

BUDGETS = {
    "--help": BASE | {"click"},
    "ls": LS,
    "ls --members clip": LS | EVERY_TYPE | MEMBERS | {"mgmt.services.steps.resolve"},
    "log": BASE | TABLES | FILES | EVERY_TYPE | {"mgmt.services.history"},
    "report": BASE | TABLES | (FILES - LISTS) | {"mgmt.prices.estimate", "mgmt.prices.table"}
    | {
        "mgmt.catalog.db.durations", "mgmt.catalog.db.times",
        *(f"mgmt.catalog.files.{name}" for name in (
            "exposed", "figures", "known_copies", "stored", "usage", "verdicts",
        )),
        "mgmt.catalog.operations.figures", "mgmt.catalog.operations.unresolved",
        "mgmt.catalog.records.cold", "mgmt.catalog.records.inspections",
        "mgmt.catalog.records.operations", "mgmt.catalog.records.transfers", "mgmt.services.report",
        *(f"mgmt.services.steps.{name}" for name in ("causes", "exposures", "figures", "growth", "plan_cost")),
    },
    "metrics m.prom": BASE | (TABLES - {"tabulate", "wcwidth"}) | FILES | EVERY_TYPE
    | (STEPS - {"mgmt.services.steps.context", "mgmt.services.steps.index_keys"})
    | {
        "deflate", "isal", "zlib_ng", "mgmt.archive", "mgmt.archive.*",
        "mgmt.catalog.db.times", "mgmt.catalog.operations.gauges",
        *(f"mgmt.catalog.files.{name}" for name in ("exposed", "figures", "known_copies", "stored", "verdicts")),
        "mgmt.catalog.records.jobs", "mgmt.services.metrics",
        *(f"mgmt.services.steps.{name}" for name in ("exposition", "overlaps", "own_files")),
    },
    "search clip": BASE | TABLES | FILES | AUDIT | MEMBERS | JOURNAL | STEPS
    | {
        "mgmt.catalog.records.inspections", "mgmt.catalog.records.operations", "mgmt.services.search",
        "mgmt.services.steps.match",
    },
    "mhl verify card": BASE
    | {"click", "xxhash", "mgmt.mhl.*", "mgmt.services.mhl.verify", "mgmt.services.steps.folder_walk"},
    "check completed": BASE | TABLES | ARCHIVES
    | FILES - {"mgmt.catalog.files.filters"} - LISTS
    | STEPS - {"mgmt.services.steps.index_keys"}
    | {
        "mgmt.catalog.files.holdings", "mgmt.catalog.records.inspections", "mgmt.catalog.records.operations",
        "mgmt.services.check",
    },
    "diff clip": BASE | ARCHIVES | FILES | LISTS | EVERY_TYPE | MEMBERS | STEPS
    | {"click", "platformdirs", "sqlalchemy", "mgmt.services.diff", "mgmt.services.steps.resolve"},
    "upload other": BASE | TABLES | FILES | AUDIT | EVERY_TYPE | MEMBERS | JOURNAL | STEPS
    | {
        "awscrt", "deflate", "isal", "zlib_ng", "mgmt.archive.*", "mgmt.services.upload", "mgmt.services.steps.*",
        "mgmt.catalog.files.endpoints", "mgmt.catalog.records.endpoint",
        *(f"mgmt.storage.{name}" for name in (
            "beneath", "checksums", "directory", "directory_layout", "directory_upload", "publish",
        )),
    },
}  # fmt: skip
"""For a catalog in SQLite and a store in a directory."""

COMPLETION = BASE | {"click", "platformdirs", "mgmt.catalog", "mgmt.catalog.db.revision", "mgmt.catalog.records.enums"}
COMPLETION |= {"mgmt.catalog.files.archive_keys"}
OF_SQLALCHEMY = {"cython_runtime", "typing_extensions"}
POSTGRESQL = "sqlalchemy.dialects.postgresql"
"""Which SQLAlchemy imports as a whole for a single keyword argument of an index."""


def imported(mgmt: Program, *arguments: str) -> set[str]:
    """The modules of mgmt and the packages of others that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=mgmt.env(), capture_output=True, text=True, check=False, cwd=mgmt.work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.splitlines()[-1].split())
    assert POSTGRESQL not in modules
    own = {name for name in modules if name.partition(".")[0] == "mgmt"}
    packages = {name.rpartition(".")[0] for name in own}
    own -= packages - {"mgmt", "mgmt.catalog", "mgmt.storage", "mgmt.archive"}
    others = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"__main__", "mgmt"}
    return own | {name for name in others - OF_SQLALCHEMY if not name.startswith("_")}


def beyond(found: set[str], budget: set[str]) -> set[str]:
    """The modules that the budget has not."""
    below = tuple(name.removesuffix("*") for name in budget if name.endswith(".*"))
    return {name for name in found - budget if not f"{name}.".startswith(below)} if below else found - budget


@pytest.fixture
def used(mgmt: Program) -> Program:
    """A catalog with one archive, and a file to upload."""
    for name in ("clip", "other"):
        (mgmt.work / name).write_text(name)
    mgmt.ok("upload", "clip")
    (mgmt.work / "card").mkdir()
    entry = "<hash><file>a</file><xxhash64be>ef46db3751d8e999</xxhash64be></hash>"
    (mgmt.work / "card" / "card.mhl").write_text(f'<hashlist version="1.1">{entry}</hashlist>')
    (mgmt.work / "card" / "a").touch()
    return mgmt


@pytest.mark.sqlite
@pytest.mark.parametrize("command", BUDGETS)
def test_a_command_imports_what_it_needs(used: Program, command: str) -> None:
    """And the budget has no name that nothing imports."""
    found, budget = imported(used, *command.split()), BUDGETS[command]
    assert beyond(found, budget) == set()
    assert {name for name in budget if not name.endswith(".*")} - found <= BASE | {"awscrt"}


@pytest.mark.sqlite
def test_completion_of_a_name_imports_no_orm(used: Program) -> None:
    words = {"_MGMT_COMPLETE": "bash_complete", "COMP_WORDS": "mgmt\ndownload\ncl", "COMP_CWORD": "2"}
    assert beyond(imported(replace(used, environment={**used.environment, **words})), COMPLETION) == set()


@pytest.mark.sqlite
def test_boto3_is_not_imported_without_a_request(mgmt: Program) -> None:
    with MetadataManager(mgmt.records.url) as catalog:
        far = FileRecord(
            path="far.tar.gz", s3_object_key="far.tar.gz", store="s3://bucket", location="s3", status="completed"  # type: ignore[arg-type]
        )  # fmt: skip
        archive = catalog.save_file_record(far)
        assert catalog._opened is not None
        catalog._opened.members.record(archive.id, [Member("far")])
    mgmt.ok("search", "far")
    newest = mgmt.records.rows("SELECT operation_id FROM operations")[0][0]
    lines = ["ls --members far", "ls", "search far", "log", f"status {newest}", "delete far"]
    done = subprocess.run(
        [sys.executable, "-c", LINES, *lines],
        env={**mgmt.env(), "MGMT_STORE": "s3://bucket"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=mgmt.work,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith("botocore")] == ["botocore: False"] * 6, done
    for shown in done.stdout.split("botocore: False\n")[:-1]:
        assert "far" in shown


@pytest.mark.sqlite
def test_cron_expressions_are_parsed_only_where_there_are_schedules(used: Program) -> None:
    assert "cronsim" not in imported(used, "worker", "--until-empty")
    used.ok("schedule", "add", "nightly", "0 2 * * *", "--", "upload", "other")
    assert "cronsim" in imported(used, "worker", "--until-empty")
