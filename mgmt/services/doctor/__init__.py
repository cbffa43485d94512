"""Find problems with the machine, the settings, the catalog and the store, and name the command that fixes each.

The checks are independent: a broken catalog does not keep the store from being checked. They change nothing and create
nothing; in an S3 store they make the requests that an upload would make to probe a new endpoint.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mgmt.catalog import Catalog, UploadRecord, open_catalog
from mgmt.config import Settings
from mgmt.errors import CatalogError, ConfigurationError, MgmtError, StoreUnavailableError
from mgmt.services.doctor.catalog import check_catalog
from mgmt.services.doctor.configuration import Flags, check_configuration
from mgmt.services.doctor.finding import Finding, problem
from mgmt.services.doctor.machine import check_disks, check_python
from mgmt.services.doctor.store import check_store
from mgmt.services.steps.open_store import refuse_missing

__all__ = ["Finding", "examine", "verdict"]


def examine(config_path: Path, settings: Callable[[], Settings], flags: Flags, folder: str) -> Iterator[Finding]:
    """Run all checks, for work in `folder`. If `settings` raises, continue with environment and flags."""
    yield from check_python()
    chosen, findings = check_configuration(config_path, settings, flags)
    yield from findings
    if chosen is None:
        return
    yield from check_disks(chosen, folder)
    uploads: dict[str, UploadRecord] = {}
    missing: MgmtError | None = None
    try:
        catalog = open_catalog(chosen.catalog_url(), create=False)
    except ConfigurationError as error:
        yield problem("catalog", "URL", error)
    else:
        try:
            yield from check_catalog(catalog, uploads)
            missing = _missing(chosen.store, catalog)
        finally:
            catalog.close()
    if missing is not None:
        yield problem("store", "access", missing)
    elif chosen.store is not None:
        yield from check_store(chosen.store, chosen, uploads)


def _missing(store: str | None, catalog: Catalog) -> MgmtError | None:
    """The error for a directory store that is missing, though the catalog has archives in it."""
    try:
        if store is not None:
            refuse_missing(store, catalog)
    except StoreUnavailableError as error:
        return error
    except CatalogError:
        pass  # there is none yet, or it was reported just now
    return None


def verdict(findings: Iterable[Finding]) -> MgmtError | None:
    """The error that stands for all problems: the catalog's first, then the store's, then the configuration's."""
    problems = [each for each in findings if each.state == "problem"]
    if not problems:
        return None
    kinds: tuple[type[MgmtError], ...] = (CatalogError, StoreUnavailableError, ConfigurationError, MgmtError)
    for kind in kinds:
        if first := next((each for each in problems if each.exit_status == kind.exit_status), None):
            break
    else:
        kind, first = MgmtError, problems[0]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems, one of them"
    return kind(f"{count}: {first.area}, {first.what}: {first.detail}", next_step=first.next)
