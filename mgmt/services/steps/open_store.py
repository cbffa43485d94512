"""Open a store with the remembered capabilities of its endpoint."""

import os

from mgmt.catalog import Catalog
from mgmt.config import Settings
from mgmt.errors import StoreUnavailableError
from mgmt.storage import Capabilities, ObjectStore, StoreOptions, open_store
from mgmt.words import shell_word

_DIRECTORY = "file://"


def open_remembered(url: str, settings: Settings, catalog: Catalog) -> ObjectStore:
    """Open the store at `url`, probed at most once per endpoint: the catalog keeps the result.

    An operation that another process has taken over removes nothing from it. Raises StoreUnavailableError for a missing
    folder in which the catalog has archives.
    """
    refuse_missing(url, catalog)
    endpoints = catalog.endpoints

    def recall(endpoint: str) -> Capabilities | None:
        known = endpoints.recall(f"{endpoint} {url}")
        return Capabilities(known.checksum, known.max_parts) if known else None

    def remember(endpoint: str, seen: Capabilities) -> None:
        endpoints.remember(f"{endpoint} {url}", checksum=seen.checksum, max_parts=seen.max_parts)

    return open_store(
        url, _options(settings), recall=recall, on_probed=remember, before_removal=catalog.journal.confirm
    )


def refuse_missing(url: str, catalog: Catalog) -> None:
    """Raise StoreUnavailableError if the catalog has archives in a folder that is not there.

    It is looked for again at the end: another process may have made it, and stored a first archive, between the looks.
    """
    if is_missing(url) and catalog.metadata.has_archives_in(url) and is_missing(url):
        folder = url.removeprefix(_DIRECTORY)
        raise StoreUnavailableError(
            f"the store {folder} is missing, though the catalog has archives in it: its disk may not be mounted",
            next_step=f"ls -ld {shell_word(folder)}\n# mount it, then try again",
        )


def is_missing(url: str) -> bool:
    """Whether `url` is a directory store without its folder, which the first upload makes."""
    return url.startswith(_DIRECTORY) and not os.path.isdir(url.removeprefix(_DIRECTORY))


def open_unremembered(url: str, settings: Settings) -> ObjectStore:
    """Open the store at `url`, probed when needed; nothing is recorded."""
    return open_store(url, _options(settings))


def _options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        settings.endpoint_url, settings.region, settings.aws_profile, settings.threads, settings.part_size
    )
