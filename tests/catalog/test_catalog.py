"""`mgmt.catalog` imports a name when it is used, and a record is mapped then."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mgmt.catalog
from mgmt.catalog import Catalog, MetadataManager, SearchRecord, Status, UploadRecord, open_catalog


def test_each_name_comes_from_its_module() -> None:
    for name in mgmt.catalog.__all__:
        found = getattr(mgmt.catalog, name)
        if name in mgmt.catalog._MODULES:
            assert found is getattr(import_module(f"mgmt.catalog.{mgmt.catalog._MODULES[name]}"), name)


def test_the_lists_of_names_are_the_same() -> None:
    """The one for type checkers, and the one that the import uses."""
    tree = ast.parse(Path(str(mgmt.catalog.__file__)).read_text("utf-8"))
    (checked,) = [each for each in tree.body if isinstance(each, ast.If)]
    modules = [each for each in checked.body if isinstance(each, ast.ImportFrom)]
    seen = {f"{each.module}": tuple(name.name for name in each.names) for each in modules}
    assert seen == {f"mgmt.catalog.{module}": names for module, names in mgmt.catalog._NAMES.items()}
    here = {"Catalog", "open_catalog"}
    assert set(mgmt.catalog.__all__) == here | set(mgmt.catalog._MODULES)


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'UplaodRecord'"):
        getattr(mgmt.catalog, "UplaodRecord")  # noqa: B009 - mypy knows


def in_a_new_process(program: str, *arguments: str) -> object:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
import json, sys
from sqlalchemy import select
from mgmt.catalog import open_catalog, OperationRecord
catalog = open_catalog(sys.argv[1])
with catalog.database.reading() as session:
    assert "mgmt.catalog.records.transfers" not in sys.modules
    found = session.scalars(select(OperationRecord).order_by(OperationRecord.seq)).all()
print(json.dumps([[type(each).__name__, each.as_dict().get("original_size")] for each in found]))
catalog.close()
"""


def test_an_operation_comes_as_its_own_type_though_nothing_has_mapped_it(catalog: Catalog, url: str) -> None:
    for record in (UploadRecord(target_path="/a", original_size=7, status=Status.SUCCESS), SearchRecord(keyword="a")):
        catalog.metadata.save_operation(record)
    assert in_a_new_process(READ, url) == [["UploadRecord", 7], ["SearchRecord", None]]


FINISH = """
import json, sys
from mgmt.catalog import open_catalog, SearchRecord
catalog = open_catalog(sys.argv[1])
with catalog.journal.record(SearchRecord(keyword="a")):
    pass
catalog.close()
print(json.dumps("mgmt.catalog.records.transfers" in sys.modules))
"""


def test_what_finishes_where_few_types_are_mapped_has_the_hash_of_all_its_columns(catalog: Catalog, url: str) -> None:
    catalog.metadata.save_operation(UploadRecord(target_path="/a", status=Status.SUCCESS))
    assert in_a_new_process(FINISH, url) is False
    catalog.audit.seal()
    checked = catalog.audit.verification()
    assert list(checked.findings()) == []
    assert (checked.operations, checked.unsealed) == (2, 0)


@pytest.mark.parametrize("kind", ["metadata", "manager", "session"])
def test_what_is_saved_without_the_journal_is_hashed(url: str, kind: str) -> None:
    record = UploadRecord(target_path="/a", status=Status.SUCCESS)
    if kind == "manager":
        with MetadataManager(url) as manager:
            manager.save_operation(record)
    else:
        opened = open_catalog(url)
        if kind == "metadata":
            opened.metadata.save_operation(record)
        else:
            with opened.database.transaction() as session:
                session.add(record)
        opened.close()
    again = open_catalog(url)
    checked = again.audit.verification()
    assert list(checked.findings()) == []
    assert (checked.operations, checked.unsealed) == (1, 0)
    again.close()
