"""Reads the disk, the store and the catalog, and reports which promises of mgmt they break.

It uses none of mgmt's code: it reads archives with tarfile, and the catalog with plain SQL.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from tests.catalogs import Catalog, Row
from tests.program import Program
from tests.servers import Server

Content = tuple[tuple[str, bytes], ...]
"""The files of a file or folder: their paths below it ("" for a file itself) and their bytes."""


def content_of(path: Path) -> Content:
    if not path.is_dir():
        return (("", path.read_bytes()),)
    return tuple(sorted((str(each.relative_to(path)), each.read_bytes()) for each in path.rglob("*") if each.is_file()))


@lru_cache(maxsize=1000)
def archived(data: bytes) -> Content:
    """The content of an archive, as tarfile reads it; empty if it is no archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
            files = [(each.name.partition("/")[2], tar.extractfile(each)) for each in tar.getmembers() if each.isfile()]
            return tuple(sorted((path, file.read()) for path, file in files if file is not None))
    except (OSError, EOFError, tarfile.TarError):
        return ()


@dataclass(frozen=True)
class World:
    """The files, objects and records of a user of mgmt, at one moment."""

    places: dict[Path, Content]
    """The files and folders in the work folder, in completed/ and in back/, without temporary ones."""

    objects: dict[str, bytes]
    """The objects of the store, by key."""

    unfinished: list[str]
    """Traces of unfinished work: on the disk, in the store, in the folder of temporary files."""

    records: Catalog

    def rows(self, query: str) -> list[Row]:
        return self.records.rows(query)


def look(program: Program, server: Server | None = None) -> World:
    """The current state. `server` holds the store, unless that is a folder."""
    folders = [program.work, program.work / "completed", program.work / "back"]
    entries = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path not in folders]
    own = list(program.home.rglob(".mgmt-*"))
    objects, pending = _in_folder(program) if server is None else _on_server(program, server)
    temporary = [path for path in (program.home / "tmp").glob("*") if path.name.startswith(("mgmt-", "tmp"))]
    program.records.wait()
    return World(
        places={path: content_of(path) for path in entries if path not in own},
        objects=objects,
        unfinished=sorted(map(str, [*own, *pending, *temporary, *program.records.litter()])),
        records=program.records,
    )


def _in_folder(program: Program) -> tuple[dict[str, bytes], list[str]]:
    root = Path(program.store.removeprefix("file://"))
    files = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    objects = {str(name): path.read_bytes() for name, path in files.items() if name.parts[0] != ".mgmt"}
    notes = {f"{sha256(key.encode()).hexdigest()}.json" for key in objects}
    beside = [path for path in (root / ".mgmt" / "objects").glob("*") if path.name not in notes]
    return objects, [*map(str, (root / ".mgmt" / "uploads").glob("*")), *map(str, beside)]


def _on_server(program: Program, server: Server) -> tuple[dict[str, bytes], list[str]]:
    bucket, _, prefix = program.store.removeprefix("s3://").partition("/")
    client = server.client()
    listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix + "/").get("Contents", [])
    keys = [each["Key"] for each in listed]
    listing = client.list_multipart_uploads(Bucket=bucket, Prefix=prefix + "/").get("Uploads", [])
    # `recover` removes the four bytes of a probe only after an hour, as the probe may be running.
    uploads = [each for each in listing if not each["Key"].startswith(f"{prefix}/.mgmt-probe-")]
    objects = {key[len(prefix) + 1 :]: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    return objects, [f"upload of {each['Key']}" for each in uploads]


def violations(before: World, now: World, *, recovered: bool) -> list[str]:
    """The broken promises, given the states before and now; only mgmt has acted in between.

    `recovered`: every interrupted command was run again, or `recover` was: nothing may be left over.
    """
    rules = [_originals, _overwritten, _ended_once, _one_at_a_time, _last_copies, _downloads]
    if recovered:
        rules += [_all_ended, _as_recorded, _litter]
    return [violation for rule in rules for violation in rule(before, now)]


Rule = Callable[[World, World], Iterator[str]]


def _originals(before: World, now: World) -> Iterator[str]:
    """1 and 2: an original that is not in place is in the store, complete and proven."""
    keys = {key for (key,) in now.rows("SELECT s3_object_key FROM files WHERE location = 's3' AND proof IS NOT NULL")}
    proven = {archived(data) for key, data in now.objects.items() if key in keys}
    for path, content in before.places.items():
        if now.places.get(path) != content and content not in proven:
            yield f"1, 2: {path} is neither where it was nor in a proven object"


def _overwritten(before: World, now: World) -> Iterator[str]:
    """6: no file and no object is overwritten."""
    for path, content in before.places.items():
        if now.places.get(path, content) != content:
            yield f"6: {path} was overwritten"
    for key, data in before.objects.items():
        if now.objects.get(key, data) != data:
            yield f"6: object {key} was overwritten"


def _ended_once(_: World, now: World) -> Iterator[str]:
    """3: the status and the end of each operation agree, and each move is recorded."""
    open_rows = "SELECT operation_id FROM operations WHERE (status IN ('running', 'pending')) != (completed_at IS NULL)"
    for (operation,) in now.rows(open_rows):
        yield f"3: the status of operation {operation} contradicts its end"
    moved = "SELECT target_path, completed_dir_path FROM operations JOIN uploads USING (operation_id)"
    recorded = {path for (path,) in now.rows("SELECT path FROM files WHERE location = 'completed'")}
    for target, path in now.rows(f"{moved} WHERE status = 'success' AND completed_dir_path IS NOT NULL"):
        if path not in recorded:
            yield f"3: the upload of {target} succeeded, but its move to {path} is not recorded"


def _one_at_a_time(_: World, now: World) -> Iterator[str]:
    """4: each target has at most one running operation."""
    live = "SELECT claim FROM operations WHERE status IN ('running', 'pending') AND claim IS NOT NULL"
    for (claim,) in now.rows(f"{live} GROUP BY claim HAVING count(*) > 1"):
        yield f"4: two running operations on {claim}"


def _last_copies(before: World, now: World) -> Iterator[str]:
    """7: a missing object was deleted by a command, and its content is kept elsewhere or was given up by the user."""
    held = {*now.places.values(), *(archived(data) for data in now.objects.values())}
    deletions = now.rows(
        "SELECT target_name, CAST(command_args AS TEXT) FROM operations WHERE operation_type = 'delete'"
    )
    asked = {name: json.loads(arguments).get("last_copy", False) for name, arguments in deletions}
    for (key,) in now.rows("SELECT path FROM files WHERE location = 's3'"):
        if key in before.objects and key not in now.objects:
            if not asked.get(key) and archived(before.objects[key]) not in held:
                yield f"7: {key} is gone, and nothing else holds its content"
            if key not in asked:
                yield f"7: {key} is gone, and no deletion is recorded"


def _downloads(before: World, now: World) -> Iterator[str]:
    """8: a download is complete: the whole archived content, or one member of it."""
    whole = {*before.places.values(), *(archived(data) for data in [*before.objects.values(), *now.objects.values()])}
    members = {(("", data),) for content in whole for _, data in content}
    for path in now.places.keys() - before.places.keys():
        if now.places[path] not in whole | members:
            yield f"8: {path} is not what was archived"


def _all_ended(_: World, now: World) -> Iterator[str]:
    """3: no operation is recorded as running."""
    for operation, target in now.rows("SELECT operation_type, target_path FROM operations WHERE status = 'running'"):
        yield f"3: {operation} of {target} is still recorded as running"


def _as_recorded(_: World, now: World) -> Iterator[str]:
    """3: recorded files exist, and existing ones are recorded."""
    for location, path in now.rows("SELECT location, path FROM files WHERE status = 'completed'"):
        # A kept tar.gz may be in any folder.
        if path not in now.objects if location == "s3" else not (Path(path) in now.places or Path(path).exists()):
            yield f"3: {location} {path} is recorded, but it is not there"
    for location, path in now.rows("SELECT location, path FROM files GROUP BY 1, 2 HAVING min(status) = 'deleted'"):
        if path in now.objects if location == "s3" else Path(path) in now.places:
            yield f"3: {location} {path} is recorded as deleted, but it is there"
    recorded = now.rows("SELECT path, index_key FROM files WHERE location = 's3' AND status = 'completed'")
    known = {key for row in recorded for key in row}
    for key in now.objects.keys() - known:
        yield f"2: litter in the store: {key}"


def _litter(_: World, now: World) -> Iterator[str]:
    """2: no traces of unfinished work are left."""
    yield from (f"2: litter: {each}" for each in now.unfinished)
