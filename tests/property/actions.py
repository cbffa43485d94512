"""What the user and the administrator do between commands."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.catalogs import SQLiteCatalog
from tests.property.state import Snapshot, State, ViolationError
from tests.property.views import NOTE


class Actions(State):
    """A line such as `write a one` calls the method of that name; see `ACTIONS`."""

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
            done = self.command("db", "backup", str(place))
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
        if self.command("db", "export", str(place)).returncode == 0:
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
        done = self.command("db", "import", str(snapshot.place))
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
        self.command("db", "rebuild")
        self.command("--store", self.other_store, "db", "rebuild")

    def _is_alone(self) -> bool:
        return not (self.program.home / "held").exists()


ACTIONS: dict[str, Callable[..., None]] = {
    "write": Actions.write,
    "edit": Actions.edit,
    "add": Actions.add,
    "copy": Actions.copy,
    "move": Actions.move,
    "remove": Actions.remove,
    "note": Actions.note,
    "give": Actions.give,
    "backup": Actions.backup,
    "restore": Actions.restore,
    "export": Actions.export,
    "import": Actions.import_,
    "switch": Actions.switch,
    "lose": Actions.lose,
}


def _bytes(word: str) -> bytes:
    return f"{word}\n".encode() * 300


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
