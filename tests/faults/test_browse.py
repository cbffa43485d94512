"""The pages of `mgmt browse` when what they depend on fails: the server of the catalog."""

import signal
from pathlib import Path

import pytest

from tests.catalogs import catalogs_on
from tests.postgresql import own_postgresql
from tests.program import Program
from tests.web.visitor import serving


@pytest.mark.postgresql
def test_the_pages_outlive_a_restart_of_the_server_of_the_catalog(tmp_path: Path) -> None:
    with own_postgresql() as server, catalogs_on(server) as catalogs:
        program = Program(tmp_path, f"file://{tmp_path}/store", catalogs=catalogs)
        program.ok("config", "set", "level", "fast")
        with serving(program.records.url) as visitor:
            assert visitor.see("/operations").rows == 1
            server.stop(signal.SIGQUIT)
            gone = visitor.ask("/operations")
            assert (gone.status, "Traceback" in gone.html) == (503, False)
            assert "cannot be reached" in gone.text or "is unreachable" in gone.text
            server.start()
            assert visitor.see("/operations").rows == 1
