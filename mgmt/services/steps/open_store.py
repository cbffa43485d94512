"""Open a store with the remembered capabilities of its endpoint."""

import os
from collections.abc import Callable

from mgmt.catalog import Catalog
from mgmt.config import Settings
from mgmt.errors import StoreUnavailableError
from mgmt.storage import Capabilities, ObjectStore, StoreOptions, open_store

_DIRECTORY = "file://"


def open_remembered(url: str, settings: Settings, catalog: Catalog) -> ObjectStore:
    """Open the store at `url`, probed at most once per endpoint: the catalog keeps the result.

    An operation that another process has taken over removes nothing from it. Raises StoreUnavailableError for a missing
    folder in which the catalog has archives.
    """
    folder = url.removeprefix(_DIRECTORY)
    if url.startswith(_DIRECTORY) and not os.path.isdir(folder) and catalog.metadata.has_archives_in(url):
        raise StoreUnavailableError(
            f"the store {folder} is missing, though the catalog has archives in it: its disk may not be mounted",
            next_step=f"mount it, then try again: ls -ld {folder}",
        )
    endpoint = _endpoint(url, settings)
    known = catalog.endpoints.recall(endpoint)

    def remember(seen: Capabilities) -> None:
        catalog.endpoints.remember(endpoint, checksum=seen.checksum, max_parts=seen.max_parts)

    remembered = Capabilities(known.checksum, known.max_parts) if known else None
    return _open(url, settings, remembered, remember, before_removal=catalog.journal.confirm)


def open_unremembered(url: str, settings: Settings) -> ObjectStore:
    """Open the store at `url`, probed when needed; nothing is recorded."""
    return _open(url, settings, None, lambda _: None, before_removal=lambda: None)


def _open(
    url: str,
    settings: Settings,
    known: Capabilities | None,
    on_probed: Callable[[Capabilities], None],
    before_removal: Callable[[], None],
) -> ObjectStore:
    return open_store(
        url,
        StoreOptions(
            settings.endpoint_url, settings.region, settings.aws_profile, settings.threads, settings.part_size
        ),
        capabilities=known,
        on_probed=on_probed,
        before_removal=before_removal,
    )


def _endpoint(url: str, settings: Settings) -> str:
    """The key of the remembered capabilities: the store at this endpoint, as boto3 itself would find it."""
    if not url.startswith("s3://"):
        return url
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return f"{settings.endpoint_url or environment or 'https://s3.amazonaws.com'} {url}"
