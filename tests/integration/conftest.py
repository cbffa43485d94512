"""The command against each kind of store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program import Program
from tests.servers import Server


@pytest.fixture
def on_seaweed(tmp_path: Path, seaweed: Server, new_bucket: Callable[[Server], str]) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(seaweed)}/archive", seaweed.environment)


@pytest.fixture
def on_rclone(tmp_path: Path, rclone: Server, new_bucket: Callable[[Server], str]) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(rclone)}/archive", rclone.environment)


@pytest.fixture
def on_moto(tmp_path: Path, moto: Server, new_bucket: Callable[[Server], str]) -> Program:
    return Program(tmp_path, f"s3://{new_bucket(moto)}/archive", moto.environment)


@pytest.fixture
def on_directory(tmp_path: Path) -> Program:
    (tmp_path / "store").mkdir()
    return Program(tmp_path, f"file://{tmp_path}/store")


@pytest.fixture(params=["on_seaweed", "on_rclone", "on_directory"])
def anywhere(request: pytest.FixtureRequest) -> Program:
    """The command with a real server, with a dumb one, and with none."""
    program: Program = request.getfixturevalue(request.param)
    return program
