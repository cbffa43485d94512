"""The inverses of what only changes a setting: `config` and `ignore`."""

from dataclasses import dataclass
from pathlib import Path

from mgmt.catalog import ConfigRecord, IgnoreRecord, Status, UndoRecord
from mgmt.config import parse_value, redact, value_in, write
from mgmt.services.steps.changed_setting import BEFORE
from mgmt.services.steps.context import Context
from mgmt.services.undo.parts import Part, Verbs, cannot, refuse_elsewhere


@dataclass(frozen=True, slots=True)
class ConfigInverse:
    """Undoes `config`: the setting gets the value that it had, if it still has the one that was set."""

    config: ConfigRecord

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        refuse_elsewhere(self.config)
        name = str(self.config.target_name)
        if BEFORE not in self.config.details:
            raise cannot(self.config, "the value before it was not recorded", f"mgmt config set {name} VALUE")
        before, now = self.config.details[BEFORE], value_in(self._path, name)
        if now == before:
            return []
        if (None if now is None else redact(now)) != now or "***" in str(before):
            raise cannot(self.config, "a password is not recorded", f"mgmt config set {name} VALUE")
        if self._parsed(now) != self._parsed(self.config.command_args.get("value") or None):
            raise cannot(self.config, f"{name} was changed since", f"mgmt config set {name} VALUE")
        if before is None:
            return [Part(action="unset", target=name)]
        return [Part(action="set", target=name, to=str(before))]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        for part in self.parts():
            write(self._path, part.target, part.to)
            undo.details = {**undo.details, "value": part.to}

    @property
    def _path(self) -> Path:
        return Path(str(self.config.target_path))

    def _parsed(self, value: object) -> object:
        return None if value is None else parse_value(str(self.config.target_name), str(value), "the record")


@dataclass(frozen=True, slots=True)
class IgnoreInverse:
    """Undoes `ignore`, or `ignore --undo`, if nothing has decided otherwise since."""

    ignore: IgnoreRecord
    context: Context
    verbs: Verbs

    def parts(self) -> list[Part]:
        """See `Inverse.parts`."""
        url = str(self.ignore.target_path)
        found = self.context.catalog.metadata.list_operations("ignore", Status.SUCCESS, limit=None)
        same = [each for each in found if each.target_path == url]  # the newest first
        states = [bool(each.details.get("ignored")) for each in same]
        at = next((n for n, each in enumerate(same) if each.operation_id == self.ignore.operation_id), len(same))
        before = states[at + 1] if at + 1 < len(states) else False
        if states[0] == before:
            return []
        if at > 0:
            raise cannot(self.ignore, f"ignore {same[0].operation_id} has decided about {url} since")
        return [Part(action="ignore" if before else "report again", target=url)]

    def run(self, undo: UndoRecord) -> None:
        """See `Inverse.run`."""
        for part in self.parts():
            self.verbs.ignore(part.target, self.context.within(undo.operation_id), part.action != "ignore")
