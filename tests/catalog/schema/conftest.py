"""The migrations themselves are tried here: each database is empty at first."""

import pytest


@pytest.fixture(scope="package", autouse=True)
def _reuse_migrated_catalogs() -> None:
    """Each catalog is migrated by Alembic, as a user's is."""


@pytest.fixture
def template() -> None:
    """No database to copy."""
