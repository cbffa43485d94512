"""What there is in a world: the user's files, two stores, a catalog and its backups."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.catalogs import Catalog
from tests.program import Done, Program
from tests.property.children import Runner
from tests.property.stores import Object, StoreReader
from tests.property.views import View, all_views, in_archive, on_disk
from tests.servers import Server

NAMES = frozenset({"a", "b", "f", "1", "2", "3"})
"""Names of the user's files; `f` is a folder."""


class ViolationError(AssertionError):
    """mgmt broke a promise; `kind` names it."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind, self.what = kind, what
        self.script: list[str] = []
        """The lines played until then."""


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
class State:
    """A user's files, two stores, a catalog and its backups."""

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
        self.half_deleted = False
        """A deletion is unfinished, so that a recorded archive may be missing."""

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

    def asked(self, words: Sequence[str]) -> Done:
        return self.command(*words)

    def command(self, *words: str) -> Done:
        """Run a command of the administrator, which touches no content."""
        self.runner.catalog = self.catalog
        done = self.runner.run(words)
        if "Traceback" in done.stderr:
            raise ViolationError("traceback", f"{words}\n{done.stderr}")
        return done
