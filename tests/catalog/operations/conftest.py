"""Requests in a catalog."""

import pytest

from mgmt.catalog import Catalog
from tests.catalog.requested import Requests


@pytest.fixture
def requests(catalog: Catalog) -> Requests:
    return Requests(catalog)
