"""mgmt with a directory as its store."""

from pathlib import Path

import pytest

from tests.catalogs import Catalogs
from tests.program import Program


@pytest.fixture
def mgmt(tmp_path: Path, catalogs: Catalogs) -> Program:
    (tmp_path / "store").mkdir()
    return Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs)
