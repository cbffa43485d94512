"""The table of archives: the first rows as markup, and all of the page's as data, of which a script shows a part."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mgmt.catalog import StoredArchive
from mgmt.choices import ARCHIVES_OF_A_PAGE, StorageClass
from mgmt.shown import safe
from mgmt.web.embedded import within

BYTES = 1_900_000
"""Of their data, unless the user asked for more archives than by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An archive, as the page shows it."""

    key: str
    store: str
    storage_class: str
    size: int
    original_size: int | None
    archived_at: datetime
    proven_at: datetime | None
    tags: str
    """As `key=value`, separated by spaces."""


def shown(archive: StoredArchive) -> Shown:
    """An archive of the catalog, as the page shows it."""
    on_disk = archive.store.startswith("file:")
    return Shown(
        key=safe(archive.key),
        store=safe(archive.store),
        storage_class="" if on_disk else safe(archive.storage_class or StorageClass.STANDARD.value),
        size=archive.size or 0,
        original_size=archive.original_size,
        archived_at=archive.archived_at,
        proven_at=archive.proven_at,
        tags=safe(" ".join(f"{key}={value}" for key, value in archive.tags.items())),
    )


def data(archives: Iterable[Shown], most: int = ARCHIVES_OF_A_PAGE) -> dict[str, Sequence[object]]:
    """The archives for the script: each a row that refers to the lists of stores and classes.

    They are as many as `BYTES` have room for, unless more than by default were asked for.
    """
    stores: dict[str, int] = {}
    classes: dict[str, int] = {}
    rows = (_row(each, stores, classes) for each in archives)
    kept = list(within(BYTES, rows) if most <= ARCHIVES_OF_A_PAGE else rows)
    return {"stores": list(stores), "classes": list(classes), "rows": kept}


def _row(each: Shown, stores: dict[str, int], classes: dict[str, int]) -> list[object]:
    return [
        each.key,
        stores.setdefault(each.store, len(stores)),
        classes.setdefault(each.storage_class, len(classes)),
        each.size,
        each.original_size,
        int(each.archived_at.timestamp()),
        None if each.proven_at is None else int(each.proven_at.timestamp()),
        each.tags,
    ]
