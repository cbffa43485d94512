"""No content is lost by any commands in any order in a versioned bucket, with undelete and purge among them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis.stateful import precondition, rule

from mgmt.services.steps import orphans
from tests.conftest import Figure
from tests.program import Program
from tests.property.contents import Worlds
from tests.property.repeats import numbers
from tests.property.test_contents import Machine, bounded, check, contents, folder, lines, moments, names, plain_uploads
from tests.servers import Server

__all__ = ["folder"]

undeletions = lines("mgmt undelete {}", names | numbers)
purges = lines("mgmt delete {} --yes --purge", names | numbers)
deletions = lines("mgmt delete {} --yes", names)


class VersionedMachine(Machine):
    """The same, and what only a versioned bucket can do."""

    @rule(line=undeletions)
    def undelete(self, line: str) -> None:
        self.play(line)

    @rule(line=purges)
    def purge(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("killing"))
    @rule(line=lines("kill {}: {}", moments, undeletions | purges))
    def kill_what_changes_versions(self, line: str) -> None:
        self.play(line)

    @precondition(lambda self: self.is_about("at once"))
    @rule(
        line=lines("stop {}: {} | {}", moments, undeletions | purges | deletions, undeletions | purges | plain_uploads),
        content=contents,
    )
    def change_versions_at_once(self, line: str, content: str) -> None:
        self.play(line, content)


@pytest.fixture
def versioned_worlds(
    folder: Path,
    seaweed: Server,
    new_bucket: Callable[[Server], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Worlds:
    monkeypatch.setattr(orphans, "OLD", timedelta(0))  # no world lasts an hour
    bucket = new_bucket(seaweed)
    seaweed.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    program = Program(folder, f"s3://{bucket}/archive", seaweed.environment)
    return Worlds(replace(program, home=folder), seaweed)


def test_no_sequence_of_commands_loses_a_content(versioned_worlds: Worlds, figure: Figure) -> None:
    check(versioned_worlds, figure, bounded(8, 12, derandomize=True), VersionedMachine)


@pytest.mark.torture
def test_no_long_sequence_of_commands_loses_a_content(versioned_worlds: Worlds, figure: Figure) -> None:
    check(versioned_worlds, figure, bounded(300, 16, derandomize=False), VersionedMachine)
