"""The oracle: which contents must be there after a command, and what its exit status says about them.

The oracle knows contents only: whatever can be read anywhere before a command (a file or a folder of the user, in
completed/ or downloaded, an archive in a store, a kept tar.gz) can be read somewhere after it, byte for byte. Extended
attributes and owners belong to a content once an upload with them has succeeded. What the user edits or removes is the
user's own loss, unless an archive holds it. `delete --last-copy` may remove the one archive that its argument names.
"""

import signal
from pathlib import Path

from tests.program import Done
from tests.property.repeats import REMOVING, REPEATING, last_copies
from tests.property.state import Known, State, ViolationError
from tests.property.stores import Object
from tests.property.views import (
    OWNERS,
    PLAIN,
    XATTRS,
    Content,
    View,
    all_views,
    described,
    in_archive,
    on_disk,
    view_of,
)

EXPECTED = frozenset({0, 1, 2, 3, 4, 7, 10, 11})
"""OK, failed, usage or ambiguous, partial, not found, refused, conflict, busy. Never 8 or 12 while all is sound."""


class Oracle(State):
    """Checks each command."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.under_way: list[Before] = []
        self.disturbed = False
        """Other lines were played during the last command."""

    def all_required(self, held: set[View]) -> set[View]:
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
        self.required = self.all_required(held)

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


class Before:
    """The state before a command, and its arguments."""

    def __init__(self, world: Oracle, words: list[str]) -> None:
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
        if self.command in REPEATING and (urls := last_copies(world.asked)):
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
