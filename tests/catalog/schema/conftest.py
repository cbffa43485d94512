"""Tests of the schema begin with an empty database."""

import pytest


@pytest.fixture
def template() -> None:
    """No database to copy."""
