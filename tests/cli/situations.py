"""What a command finds when it starts: a file, an archive, a damaged catalog, a store that is down, and so on."""

from collections.abc import Callable
from contextlib import ExitStack

from mgmt.catalog import UploadRecord, open_catalog
from mgmt.services.steps.local_files import claim
from tests.program import Program

Before = Callable[[Program], None]


def nothing(mgmt: Program) -> None:
    """A file `notes` and a folder `photos`, nothing archived."""
    (mgmt.work / "notes").write_text("precious")
    (mgmt.work / "photos").mkdir()
    (mgmt.work / "photos" / "one.jpg").write_text("one")
    (mgmt.work / "photos" / "two.tmp").write_text("two")


def archived(mgmt: Program) -> None:
    """`notes` is archived; another `notes` is there."""
    nothing(mgmt)
    mgmt.ok("upload", "notes")
    (mgmt.work / "notes").write_text("others")


def with_a_rule(mgmt: Program) -> None:
    """A notification rule, and one notification."""
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[[notify]]\nname = "mine"\non = ["success"]\ncommand = ["true"]\n')
    archived(mgmt)


def requested(mgmt: Program) -> None:
    """`notes` is to be archived later."""
    nothing(mgmt)
    mgmt.ok("upload", "notes", "--later")


def requested_in_vain(mgmt: Program) -> None:
    requested(mgmt)
    (mgmt.work / "notes").unlink()


def last_operation(mgmt: Program) -> str:
    """The id of the newest operation, or of none."""
    found = mgmt.records.rows("SELECT operation_id FROM operations ORDER BY seq DESC LIMIT 1")
    return str(found[0][0]) if found else "no-such-operation"


def two_of_a_name(mgmt: Program) -> None:
    for key in ("first.tar.gz", "second.tar.gz"):
        (mgmt.work / "notes").write_text(key)
        mgmt.ok("upload", "notes", "--key", key)


def freed(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.ok("free", "notes.tar.gz", "--yes")


def damaged(mgmt: Program) -> None:
    archived(mgmt)
    path = mgmt.home / "store" / "notes.tar.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def vanished(mgmt: Program) -> None:
    archived(mgmt)
    (mgmt.home / "store" / "notes.tar.gz").unlink()


def foreign(mgmt: Program) -> None:
    archived(mgmt)
    (mgmt.home / "store" / "thing.tar.gz").write_bytes(b"this is no archive")


def from_the_future(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.records.change("UPDATE alembic_version SET version_num = '9999'")


def not_a_database(mgmt: Program) -> None:
    nothing(mgmt)
    mgmt.catalog.parent.mkdir()
    mgmt.catalog.write_bytes(b"anything but a database" * 1000)


def tampered(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.records.change("""UPDATE operations SET "user" = 'somebody else'""")


def scheduled(mgmt: Program) -> None:
    nothing(mgmt)
    mgmt.ok("schedule", "add", "nightly", "30 2 * * *", "--", "upload", "notes")


def templates(mgmt: Program) -> None:
    """The configuration file has a template."""
    nothing(mgmt)
    path = mgmt.home / "config" / "mgmt" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[templates.raw]\nlevel = "balanced"\n')


def searched(mgmt: Program) -> None:
    """The catalog has an operation that may be pruned."""
    archived(mgmt)
    mgmt.ok("search", "notes")


def searched_and_tampered(mgmt: Program) -> None:
    searched(mgmt)
    mgmt.records.change("""UPDATE operations SET "user" = 'somebody else'""")


def put_back(mgmt: Program) -> None:
    """An older copy of the catalog replaced the one that was anchored."""
    archived(mgmt)
    mgmt.ok("db", "backup", "copy.db")
    mgmt.ok("search", "notes")
    mgmt.ok("audit", "anchor")
    for path in mgmt.catalog.parent.iterdir():
        path.unlink()
    (mgmt.work / "copy.db").rename(mgmt.catalog)


def exported(mgmt: Program) -> None:
    archived(mgmt)
    mgmt.ok("db", "export", "history.jsonl")


def from_another_history(mgmt: Program) -> None:
    exported(mgmt)
    mgmt.records.remove()
    mgmt.ok("search", "notes")


def no_store(mgmt: Program) -> None:
    nothing(mgmt)
    mgmt.store = ""


def store_is_down(mgmt: Program) -> None:
    nothing(mgmt)
    mgmt.store = "s3://bucket"
    mgmt.environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def busy(mgmt: Program) -> None:
    """Another process (this one) holds the claim on `notes`."""
    nothing(mgmt)
    catalog = open_catalog(mgmt.records.url)
    holding.callback(catalog.close)
    path = str(mgmt.work / "notes")
    holding.enter_context(catalog.journal.record(UploadRecord(target_path=path), claim=claim(path)))


holding = ExitStack()


def with_a_media_hash_list(mgmt: Program) -> None:
    """A folder `card` that is as its list says, and a folder `changed` that is not."""
    nothing(mgmt)
    entry = "<hash><file>a.mov</file><size>3</size><md5>900150983cd24fb0d6963f7d28e17f72</md5></hash>"
    for name, content in (("card", "abc"), ("changed", "abd")):
        (mgmt.work / name).mkdir()
        (mgmt.work / name / "a.mov").write_text(content)
        (mgmt.work / name / "card.mhl").write_text(f'<hashlist version="1.1">{entry}</hashlist>')
