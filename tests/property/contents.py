"""A world in which commands are played line by line, and an oracle that is independent of mgmt's code.

The oracle knows contents only: whatever can be read anywhere before a command (a file or a folder of the user, in
completed/ or downloaded, an archive in a store, a kept tar.gz) can be read somewhere after it, byte for byte. Extended
attributes and owners belong to a content once an upload with them has succeeded. What the user edits or removes is the
user's own loss, unless an archive holds it. `delete --last-copy` may remove the one archive that its argument names.
"""

import io
import os
import shlex
import shutil
import signal
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from traceback import walk_stack
from typing import Any

from tests.catalogs import Catalog, SQLiteCatalog
from tests.program import Done, Program
from tests.property.children import NEVER, Child, Moment, Runner
from tests.property.repeats import REMOVING, REPEATING, last_copies, named
from tests.servers import Server

EXPECTED = frozenset({0, 1, 2, 3, 4, 7, 10, 11})
"""OK, failed, usage or ambiguous, partial, not found, refused, conflict, busy. Never 8 or 12 while all is sound."""

NAMES = frozenset({"a", "b", "f", "1", "2", "3"})
"""Names of the user's files; `f` is a folder."""

NOTE = "user.note"
PLAIN = ""
XATTRS = "xattrs"
OWNERS = "owners"
BOTH = "xattrs, owners"

Entry = tuple[str, bytes | None, str | None, int | None]
"""A file or a folder by its path below the root, its bytes (a folder has none), its note and its owner."""

Content = tuple[Entry, ...]
View = tuple[str, Content]
"""A content with a part of its attributes: PLAIN, XATTRS, OWNERS or BOTH."""

Object = tuple[str, str]
"""A store and a key."""


class ViolationError(AssertionError):
    """mgmt broke a promise; `kind` names it."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind, self.what = kind, what
        self.script: list[str] = []
        """The lines played until then."""


def view_of(content: Content, what: str) -> View:
    """The content with the attributes named by `what` only."""
    if what == PLAIN:
        return what, tuple((path, data, None, None) for path, data, _, _ in content)
    notes, owners = what != OWNERS, what != XATTRS
    kept = [(path, data, note if notes else None, owner if owners else None) for path, data, note, owner in content]
    return what, tuple(kept)


def all_views(content: Content) -> set[View]:
    return {view_of(content, what) for what in (PLAIN, XATTRS, OWNERS, BOTH)}


def on_disk(root: Path) -> Content:
    """The content of a file or a folder."""
    paths = [root, *root.rglob("*")] if root.is_dir() else [root]
    return tuple(sorted((_entry(root, path) for path in paths), key=lambda entry: entry[0]))


def _entry(root: Path, path: Path) -> Entry:
    name = "" if path == root else str(path.relative_to(root))
    note = os.getxattr(path, NOTE).decode() if NOTE in os.listxattr(path) else None
    return name, path.read_bytes() if path.is_file() else None, note, path.stat().st_uid


@lru_cache(maxsize=5000)
def in_archive(data: bytes) -> Content | None:
    """The content of an archive, as tar reads it; None if it is no whole archive."""
    entries: list[Entry] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for each in tar:
                file = tar.extractfile(each) if each.isfile() else None
                note = each.pax_headers.get(f"SCHILY.xattr.{NOTE}")
                entries.append((each.name.partition("/")[2], file.read() if file else None, note, each.uid))
    except (OSError, EOFError, tarfile.TarError):
        return None
    return tuple(sorted(entries, key=lambda entry: entry[0]))


def described(view: View) -> str:
    """A content in short, for messages."""
    what, content = view
    files = [
        f"{path}={data[: data.index(10)].decode()}" + f"({note},{owner})" * (what != PLAIN)
        for path, data, note, owner in content
        if data is not None
    ]
    return " ".join(files).replace("=", "", 1) if len(files) == 1 else "{" + " ".join(files) + "}"


class StoreReader:
    """Reads a store without mgmt."""

    def __init__(self, url: str, server: Server | None) -> None:
        self.url = url
        self._client: Any = server.client() if server is not None else None
        self._read: dict[tuple[str, str, str], bytes] = {}

    def archives(self) -> dict[str, bytes]:
        """Every whole archive, by its key."""
        objects = self._in_folder() if self._client is None else self._on_server()
        return {key: data for key, data in objects.items() if in_archive(data) is not None}

    def indexes(self) -> set[str]:
        """The key of every index, with or without an archive."""
        if self._client is None:
            keys = {str(path) for path in Path(self.url.removeprefix("file://")).rglob("*")}
        else:
            keys = {str(each["Key"]) for each in self._listed()}
        return {key for key in keys if key.endswith(".index.jsonl.gz")}

    def _in_folder(self) -> dict[str, bytes]:
        root = Path(self.url.removeprefix("file://"))
        names = [path.relative_to(root) for path in root.rglob("*.tar.gz") if path.is_file()]
        return {str(name): (root / name).read_bytes() for name in names if name.parts[0] != ".mgmt"}

    def _listed(self) -> list[Any]:
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        listed: list[Any] = self._client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
        return listed

    def _on_server(self) -> dict[str, bytes]:
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        found = {}
        for each in self._listed():
            if each["Key"].endswith(".tar.gz"):
                version = (each["Key"], each["ETag"], str(each["LastModified"]))
                if version not in self._read:
                    self._read[version] = self._client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
                found[each["Key"][len(prefix) + 1 :]] = self._read[version]
        return found


@dataclass
class Known:
    """An archive that was seen in a store, and the names by which the user knows it."""

    where: Object
    data: bytes
    names: set[str]


@dataclass
class Snapshot:
    """A backup or an export of a catalog."""

    place: Path
    removals: int


@dataclass
class World:
    """A user's files, two stores, a catalog and its backups; see `play`."""

    program: Program
    server: Server | None = None
    only_delete_removes: bool = True
    """Only `mgmt delete` may remove a whole archive."""

    script: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    commands: int = 0
    cut_off: int = 0

    def __post_init__(self) -> None:
        self.catalog_home = self.program.home
        """The home of the catalog in use."""
        self.other_catalog_home: Path | None = None
        self.catalog_homes: set[Path] = set()
        """Homes of further catalogs, and of their copies."""
        self.runner = Runner(self.program, self.catalog, NAMES)
        self.stores = [StoreReader(url, self.server) for url in (self.program.store, self.other_store)]
        self.backups: list[Snapshot] = []
        self.exports: list[Snapshot] = []
        self.hosts: set[str | None] = {None}
        self.known: list[Known] = []
        self.requested: set[View] = set()
        self.required: set[View] = set()
        self.removals = 0
        self.removals_known: dict[Path, int] = {}
        self.is_older = False
        """The catalog may lack some deletions."""
        self.was_replaced = False
        """The catalog may lack some uploads."""
        self.was_cut = False
        """A command was killed, or stopped while others ran."""
        self.under_way: list[Before] = []
        self.disturbed = False
        """Other lines were played during the last command."""
        self.half_deleted = False
        """A deletion is unfinished, so that a recorded archive may be missing."""
        self._is_child = False

    @property
    def work(self) -> Path:
        return self.program.work

    @property
    def catalog(self) -> Catalog:
        return self.program.catalogs.at(self.catalog_home)

    @property
    def other_store(self) -> str:
        if self.program.store.startswith("file://"):
            Path(self.program.store.removeprefix("file://") + "-other").mkdir(exist_ok=True)
        return self.program.store + "-other"

    # The lines

    def play(self, *lines: str) -> Done:
        """Play lines, check each, and return the result of the last command of mgmt.

        `mgmt WORDS` runs a command ("OTHER" is the other store), `on HOST: LINE` runs it on another host, `kill N:
        LINE` kills it at its step N, and `stop N: LINE | LINE | ...` stops it there while the other lines are played.
        Instead of N: `look N`, when it opens a file of the user for the Nth time; `past N`, at the next step after
        that; `open NAME`, when it opens that file; `indexed` and `stored`, as soon as there is another index or archive
        in a store; `moved`, as soon as there is another copy in completed/; `in NAME`, in the function of that name.
        All other lines are actions of the user or the administrator; see `_actions`.
        """
        done = Done(0, "", "")
        for line in lines:
            self.script.append(line)
            first, *others = line.split(" | ")
            played = self._play(first, others)
            done = played or done
        return done

    def _play(self, line: str, others: list[str]) -> Done | None:
        how, _, rest = line.rpartition(": ")
        words = shlex.split(rest)
        if words[0] != "mgmt":
            self._act(words)
            return None
        words = named([self.other_store if word == "OTHER" else word for word in words[1:]], self._asked)
        host, moment, number = None, NEVER, 0
        for part in filter(None, how.split(": ")):
            kind, *values = part.split()
            if kind == "on":
                host = values[0]
            else:
                number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
                moment = self._moment(*values)
        return self._run(words, host, moment, number, others)

    def _moment(self, kind: str, value: str = "") -> Moment:
        if kind == "indexed":
            known = [each.indexes() for each in self.stores]
            return Moment(when=lambda: [each.indexes() for each in self._stores_in_child()] != known)
        if kind == "stored":
            before = self.objects()
            return Moment(when=lambda: self._objects_in_child() != before)
        if kind == "moved":
            moved = self.copies(each_version=True)
            return Moment(when=lambda: self.copies(each_version=True) != moved)
        match kind:
            case "look":
                return Moment(look=int(value))
            case "past":
                return Moment(past=int(value))
            case "open":
                return Moment(opens=value)
            case "in":
                return Moment(when=lambda: any(frame.f_code.co_name == value for frame, _ in walk_stack(None)))
        return Moment(step=int(kind))

    def _stores_in_child(self) -> list[StoreReader]:
        """The stores, in a child, with connections of its own."""
        if not self._is_child:
            self._is_child = True
            self.stores = [StoreReader(each.url, self.server) for each in self.stores]
        return self.stores

    def _objects_in_child(self) -> dict[Object, bytes]:
        self._stores_in_child()
        return self.objects()

    def _run(self, words: list[str], host: str | None, moment: Moment, number: int, others: list[str]) -> Done:
        self.hosts.add(host)
        self.commands += 1
        before = Before(self, words)
        self.was_cut = self.was_cut or number != 0
        self.runner.catalog = self.catalog
        if number == 0 and host is None:
            done = self.runner.run(words)
        else:
            child = self.runner.start(words, host=host, moment=moment, number=number)
            if others:
                self._meanwhile(before, child, others)
            done = child.wait()
        self.statuses.append(done.returncode)
        if done.returncode == -signal.SIGKILL:
            self.cut_off += 1
            self.half_deleted = self.half_deleted or before.command in REMOVING
        self._check(before, done)
        if before.command == "recover" and done.returncode == 0:
            self.half_deleted = False
        return done

    def _meanwhile(self, before: "Before", child: Child, others: list[str]) -> None:
        half_deleted = self.half_deleted
        try:
            child.stopped()
            self.under_way.append(before)
            self.half_deleted = half_deleted or before.command in REMOVING
            self.required |= self._all_required(self.held())
            for other in others:
                self._play(other, [])
            self.disturbed = True
        except BaseException:
            child.kill()
            raise
        self.under_way.pop()
        if not before.last_copy:
            before.objects = self.objects()  # what other lines removed was not removed by this command
        self.half_deleted = half_deleted
        before.is_gone = before.target is not None and not before.target.exists()
        child.resume()

    def _act(self, words: list[str]) -> None:
        """Play an action of the user; what it removes is no longer required."""
        before = self.held()
        action, *arguments = words
        _actions[action](self, *arguments)
        now = self.held()
        self.required = (self.required - (before - now)) | self._all_required(now)

    # What must hold

    def held(self) -> set[View]:
        """All contents that can be read now."""
        found = {view for path in self.places() for view in all_views(on_disk(path))}
        for store in self.stores:
            for data in store.archives().values():
                found |= all_views(in_archive(data) or ())
        for path in (self.work / "kept").glob("*.tar.gz"):
            found |= all_views(in_archive(path.read_bytes()) or ())
        return found

    def places(self) -> list[Path]:
        """The user's files and folders, copies and downloads."""
        folders = [self.work, self.work / "other"]
        folders += [folder / name for folder in folders for name in ("completed", "back")]
        own = {*folders, self.work / "kept"}
        there = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return [path for path in there if path not in own and not path.name.startswith(".mgmt")]

    def copies(self, *, each_version: bool = False) -> list[str]:
        """The copies in completed/, by the names that lines use, or each version by its own name."""
        folders = [name for name in ("completed", "other/completed") if (self.work / name).is_dir()]
        names = [(folder, path.name) for folder in folders for path in (self.work / folder).iterdir()]
        names = [(folder, name) for folder, name in names if not name.startswith(".mgmt")]
        return sorted({f"{folder}/{name if each_version else name.split('-')[0]}" for folder, name in names})

    def objects(self) -> dict[Object, bytes]:
        return {(store.url, key): data for store in self.stores for key, data in store.archives().items()}

    def _all_required(self, held: set[View]) -> set[View]:
        return {view for view in held if view[0] == PLAIN or view in self.requested}

    def _check(self, before: "Before", done: Done) -> None:
        line = f"mgmt {' '.join(before.words)} ended with {done.returncode}"
        if "Traceback" in done.stderr:
            raise ViolationError("traceback", f"{line}\n{done.stderr}")
        may_be_missing = self.is_older or self.was_replaced or self.half_deleted or before.is_gone
        allowed = EXPECTED | {8} if may_be_missing else EXPECTED
        if done.returncode not in allowed and done.returncode != -signal.SIGKILL:
            raise ViolationError(f"exit status {done.returncode}", f"{line}\n{done.stdout}{done.stderr}")
        objects = self.objects()
        self._note_names(before, objects, done)
        gone = {where for where, data in before.objects.items() if objects.get(where) != data}
        self.removals += bool(gone)
        self.removals_known[self.catalog_home] = self.removals
        if before.command not in REMOVING and gone and self.only_delete_removes:
            raise ViolationError("removed", f"{line}, and removed {sorted(gone)}")
        for each in (before, *self.under_way):
            self._allow_removal(each, {where for where, data in each.objects.items() if objects.get(where) != data})
        held = self.held()
        lost = self.required - held
        if lost:
            raise ViolationError("lost", f"{line}, and nothing holds {described(min(lost, key=str))}\n{done.stderr}")
        self._check_success(before, done, objects)
        self.required = self._all_required(held)

    def _note_names(self, before: "Before", objects: dict[Object, bytes], done: Done) -> None:
        """Note the names by which the user may now know the archives."""
        for where, data in objects.items():
            known = next((each for each in self.known if (each.where, each.data) == (where, data)), None)
            if known is None:
                known = Known(where, data, set())
                self.known.append(known)
            if before.target is not None:
                is_it = before.content is not None and view_of(in_archive(data) or (), PLAIN) == before.plain
                if is_it or before.objects.get(where) != data:
                    known.names |= {before.target.name, str(before.target), before.word}

    def _allow_removal(self, before: "Before", gone: set[Object]) -> None:
        """Content that `--last-copy` named and removed is no longer required."""
        if before.last_copy:
            meant = [where for where in before.meant if where in gone]
            for where in meant if before.command in REPEATING else meant[:1]:
                content = in_archive(before.objects[where]) or ()
                self.required -= all_views(content)

    def _check_success(self, before: "Before", done: Done, objects: dict[Object, bytes]) -> None:
        disturbed, self.disturbed = self.disturbed, False
        if done.returncode != 0 or disturbed:
            return
        line = f"mgmt {' '.join(before.words)}"
        if before.command == "upload" and before.target is not None and before.content is not None:
            if before.skips:
                return
            wanted = view_of(before.content, before.what)
            if wanted not in {view_of(in_archive(data) or (), before.what) for data in objects.values()}:
                raise ViolationError("not archived", f"{line} ended with 0, and no archive holds {described(wanted)}")
            self.requested.add(wanted)
            if "--keep" not in before.words and before.target.exists():
                raise ViolationError("not moved", f"{line} ended with 0, and {before.target} is still there")
        if before.command == "free" and before.freed is not None and before.freed.exists():
            raise ViolationError("not freed", f"{line} ended with 0, and {before.freed} is still there")

    def end(self) -> None:
        """Recover and verify; after that, no operation runs, and every archive is proven."""
        if any("mgmt worker" in line or "--later" in line or "--then" in line for line in self.script):
            self._play("mgmt worker --until-empty", [])
        for host in sorted(self.hosts, key=str) if self.was_cut else ():
            self._finally("recover", f"on {host}: mgmt recover" if host else "mgmt recover")
        if self.was_replaced:
            for line in ("mgmt db rebuild", "mgmt --store OTHER db rebuild"):
                self._play(line, [])
            for host in sorted(self.hosts, key=str) if self.was_cut else ():  # uploads that the rebuild has found
                self._finally("recover", f"on {host}: mgmt recover" if host else "mgmt recover")
        if self.was_cut:
            running = self._finally("log", "mgmt -o jsonl log --status running --limit 500").stdout
            if '"running"' in running:
                raise ViolationError("still running", running)
        if not self.is_older:
            self._finally("verify", "mgmt verify --all")
        self._finally("audit", "mgmt audit verify")

    def _finally(self, kind: str, line: str) -> Done:
        done = self._play(line, [])
        assert done is not None
        if done.returncode != 0:
            raise ViolationError(
                f"{kind} at the end", f"{line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def meant_by(self, word: str) -> list[Object]:
        """The archives that a name may refer to in a deletion, and no others."""
        live = self.objects()

        def there(known: list[Known]) -> list[Object]:
            return [each.where for each in reversed(known) if live.get(each.where) == each.data]

        by_key = [each for each in self.known if each.where[1] in (word, f"{word}.tar.gz")]
        by_name = [each for each in self.known if {word, str(self.work / word)} & each.names]
        if self.is_older:
            return there(by_key) + there(by_name)
        return there(by_key) if by_key else there(by_name)

    # Actions of the user and the administrator

    def _path(self, name: str) -> Path:
        """A path below the work folder; for a copy in completed/, its newest version."""
        path = self.work / name
        if path.parent.name == "completed" and path.parent.is_dir():
            stem = [each for each in path.parent.iterdir() if each.name.split("-")[0] == path.name]
            return max(stem, key=lambda each: (each.stat().st_ctime_ns, each.name), default=path)
        return path

    def write(self, name: str, word: str) -> None:
        path = self._path(name)
        _remove(path)
        path.parent.mkdir(exist_ok=True)
        if path.name == "f":
            path.mkdir()
            (path / "1").write_bytes(_bytes(word))
            (path / "2").write_bytes(_bytes("same"))
        else:
            path.write_bytes(_bytes(word))

    def edit(self, name: str, word: str) -> None:
        path = self._path(name)
        if path.exists():
            (path / "1" if path.is_dir() else path).write_bytes(_bytes(word))

    def add(self, name: str, word: str) -> None:
        path = self._path(name)
        if path.is_dir():
            (path / "3").write_bytes(_bytes(word))

    def copy(self, name: str, to: str) -> None:
        source, target = self._path(name), self.work / to
        if source.exists() and source != target:
            _remove(target)
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
            for path in (source, *source.rglob("*")):
                os.chown(target / path.relative_to(source), path.stat().st_uid, -1)

    def move(self, name: str, to: str) -> None:
        source, target = self._path(name), self.work / to
        if source.exists() and source != target:
            _remove(target)
            target.parent.mkdir(exist_ok=True)
            source.rename(target)

    def remove(self, name: str) -> None:
        _remove(self._path(name))

    def note(self, name: str, value: str) -> None:
        path = self._path(name)
        if path.exists():
            os.setxattr(path / "1" if (path / "1").exists() else path, NOTE, value.encode())

    def give(self, name: str, owner: str) -> None:
        path = self._path(name)
        if path.exists() and os.geteuid() == 0:
            os.chown(path / "1" if (path / "1").exists() else path, int(owner), -1)

    def backup(self) -> None:
        place = self.program.home / f"backup{len(self.backups)}"
        if isinstance(self.catalog, SQLiteCatalog):
            done = self._command("db", "backup", str(place))
            if done.returncode != 0:
                return  # no catalog yet
        elif self._is_alone():
            self.program.catalogs.copy(self.catalog_home, place)
            self.catalog_homes.add(place)
        else:
            return
        self.backups.append(Snapshot(place, self.removals))

    def restore(self) -> None:
        """Replace the catalog by its newest backup."""
        if not self.backups:
            return
        snapshot, self.was_replaced = self.backups[-1], True
        if isinstance(self.catalog, SQLiteCatalog):
            path = self.catalog.path
            for each in path.parent.glob("catalog.db*"):
                each.unlink()
            shutil.copy(snapshot.place, path)
        else:
            self.program.catalogs.copy(snapshot.place, self.catalog_home)
        self.is_older = self.is_older or snapshot.removals != self.removals

    def export(self) -> None:
        place = self.program.home / f"export{len(self.exports)}.jsonl"
        if self._command("db", "export", str(place)).returncode == 0:
            self.exports.append(Snapshot(place, self.removals))

    def import_(self) -> None:
        """Import the newest export into a second catalog, and use that from now on."""
        if not self.exports:
            return
        snapshot, self.was_replaced = self.exports[-1], True
        self.other_catalog_home, self.catalog_home = (
            self.catalog_home,
            self.program.home / f"catalog{self.commands}-{len(self.script)}",
        )
        self.catalog_homes.add(self.catalog_home)
        done = self._command("db", "import", str(snapshot.place))
        if done.returncode != 0:
            raise ViolationError("import", f"an export is not imported\n{done.stderr}")
        self.is_older = self.is_older or snapshot.removals != self.removals

    def switch(self) -> None:
        """Use the previous catalog again."""
        if self.other_catalog_home is not None:
            self.catalog_home, self.other_catalog_home = self.other_catalog_home, self.catalog_home
            self.was_replaced = True
            known = self.removals_known.get(self.catalog_home, 0)
            self.is_older = self.is_older or known != self.removals

    def lose(self) -> None:
        """Remove the catalog, and rebuild it from both stores."""
        self.catalog.remove()
        self.was_replaced = True
        self._command("db", "rebuild")
        self._command("--store", self.other_store, "db", "rebuild")

    def _asked(self, words: Sequence[str]) -> Done:
        return self._command(*words)

    def _command(self, *words: str) -> Done:
        """Run a command of the administrator, which touches no content."""
        self.runner.catalog = self.catalog
        done = self.runner.run(words)
        if "Traceback" in done.stderr:
            raise ViolationError("traceback", f"{words}\n{done.stderr}")
        return done

    def _is_alone(self) -> bool:
        return not (self.program.home / "held").exists()


class Before:
    """The state before a command, and its arguments."""

    def __init__(self, world: World, words: list[str]) -> None:
        self.words = words
        plain = words[2:] if words[0] == "--store" else words
        self.command = plain[0]
        self.word = plain[1] if len(plain) > 1 and not plain[1].startswith("-") else ""
        self.target: Path | None = None
        self.content: Content | None = None
        self.is_gone = False
        """Whether somebody else removed the target meanwhile, perhaps as it was about to be moved."""
        self.freed: Path | None = None
        self.objects = world.objects()
        self.last_copy = "--last-copy" in plain
        self.meant = world.meant_by(self.word) if self.last_copy else []
        if self.command in REPEATING and (urls := last_copies(world._asked)):
            self.last_copy = True
            self.meant = [(store, key) for store, key in self.objects if f"{store}/{key}" in urls]
        is_later = "--later" in plain or "--then" in plain
        self.skips = "skip" in plain or is_later
        self.what = ", ".join(option for option in (XATTRS, OWNERS) if f"--{option}" in plain)
        if self.command == "upload" and self.word:
            self.target = world.work / self.word
            self.content = on_disk(self.target) if self.target.exists() else None
        if self.command == "free" and "/" in self.word and not is_later:
            self.freed = world.work / self.word

    @property
    def plain(self) -> View:
        return view_of(self.content or (), PLAIN)


_actions: dict[str, Callable[..., None]] = {
    "write": World.write,
    "edit": World.edit,
    "add": World.add,
    "copy": World.copy,
    "move": World.move,
    "remove": World.remove,
    "note": World.note,
    "give": World.give,
    "backup": World.backup,
    "restore": World.restore,
    "export": World.export,
    "import": World.import_,
    "switch": World.switch,
    "lose": World.lose,
}


def _without_a_line(script: list[str]) -> list[list[str]]:
    return [script[:at] + script[at + 1 :] for at in reversed(range(len(script)))]


def _with_a_simpler_line(script: list[str]) -> list[list[str]]:
    """Each part of a compound line in its place: the line without kill, stop or host, or a line played meanwhile."""
    simpler = []
    for at, line in enumerate(script):
        parts = [part.rpartition(": ")[2] for part in line.split(" | ")]
        simpler += [[*script[:at], part, *script[at + 1 :]] for part in parts if part != line]
    return simpler


def _bytes(word: str) -> bytes:
    return f"{word}\n".encode() * 300


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


WARM = (
    "upload a",
    "verify --all",
    "db export history",
    "delete a --yes",
    "upload a --keep",
    "free completed/a --yes",
    "download a --to back",
    "delete a --yes --last-copy",
    "recover",
    "db rebuild",
    "audit verify",
)


@dataclass
class Worlds:
    """Makes empty worlds for the user of `program`."""

    program: Program
    server: Server | None = None
    only_delete_removes: bool = True
    count: int = 0

    def __post_init__(self) -> None:
        rehearse(self._user("rehearsed"))
        self._template = self._user("template")
        self._template.ok("ls")

    def new(self) -> World:
        self.count += 1
        user = self._user(str(self.count))
        user.catalogs.copy(self._template.home, user.home)
        return World(user, self.server, self.only_delete_removes)

    def forget(self, world: World) -> None:
        """Remove a world that has been played to the end."""
        for home in (world.program.home, *world.catalog_homes):
            world.program.catalogs.forget(home)
        shutil.rmtree(world.program.home)

    def shortest(self, found: ViolationError, seconds: float = 120) -> ViolationError:
        """The same violation with as few lines as can be found in this time."""
        until, script = time.monotonic() + seconds, found.script
        shorter = True
        while shorter:
            shorter = False
            for each in [*_without_a_line(script), *_with_a_simpler_line(script)]:
                if time.monotonic() < until and (again := self._violation(each, found)) is not None:
                    found, script, shorter = again, each, True
                    break
        result = ViolationError(found.kind, "\n".join([found.what, *script]))
        result.script = script
        return result

    def _violation(self, script: list[str], like: ViolationError) -> ViolationError | None:
        world = self.new()
        try:
            world.play(*script)
            world.end()
        except ViolationError as error:
            return error if error.kind == like.kind else None
        finally:
            self.forget(world)
        return None

    def _user(self, name: str) -> Program:
        return beside(self.program, name)


def beside(program: Program, name: str) -> Program:
    """Another user, with a folder and a store below those of `program`."""
    home = program.home / name
    home.mkdir(parents=True)
    store = f"{program.store}/{name}"
    if store.startswith("file://"):
        Path(store.removeprefix("file://")).mkdir(parents=True)
    return replace(program, home=home, store=store)


_rehearsed: set[tuple[str, str, str]] = set()


def rehearse(user: Program) -> None:
    """Run each command once in this process, so that its children need not import modules and compile statements again.

    Does nothing if that was done with this kind of store and catalog.
    """
    kind = (user.store.partition(":")[0], user.environment.get("AWS_ENDPOINT_URL", ""), type(user.catalogs).__name__)
    if kind in _rehearsed:
        return
    _rehearsed.add(kind)
    for line in WARM:
        (user.work / "a").write_bytes(b"one")
        user.run(*shlex.split(line))
    user.catalogs.forget(user.home)
