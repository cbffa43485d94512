"""The migrations themselves are tried here."""

import pytest


@pytest.fixture(scope="package", autouse=True)
def _catalogs_are_migrated_once() -> None:
    """Each catalog is migrated by Alembic, as a user's is."""
