"""The command, with a directory for a store."""

from pathlib import Path

import pytest

from tests.program import Program


@pytest.fixture
def mgmt(tmp_path: Path) -> Program:
    (tmp_path / "store").mkdir()
    return Program(tmp_path, f"file://{tmp_path}/store")
