"""Objects in a store that are known and not mgmt's: `verify --all` and `db rebuild` pass over them.

The list is what the operations of this type say; the last one of each object decides.
"""

from mgmt.catalog import IgnoreRecord
from mgmt.errors import ConfigurationError, NotFoundError, RefusedError, StoreError, StoreUnavailableError
from mgmt.services.steps.context import Context
from mgmt.services.steps.index_keys import OPERATION, archive_of, is_index_key
from mgmt.services.steps.indexes import find_index, look_up
from mgmt.storage import ObjectStore, is_key
from mgmt.words import shell_word


def ignore(key: str, context: Context, *, undo: bool) -> IgnoreRecord:
    """Ignore the object at `key` in the configured store, or all below `key` if it ends with "/"; or `undo` that.

    `key` may be the whole URL, of any store. Archives and indexes of mgmt below it are verified all the same. Raises
    NotFoundError when nothing has that key, or when it is not ignored; RefusedError when it is an archive or an index,
    whether this catalog knows it or not.
    """
    store, key = _split(key, context)
    url, catalog = store.location(key), context.catalog
    record = IgnoreRecord(
        target_path=url,
        target_name=key,
        command_args=dict(context.command_args),
        parent_id=context.parent,
        retry_of=context.retry_of,
        details={"ignored": not undo},
    )
    with catalog.journal.record(record, claim=f"ignore {url}") as record:
        if undo:
            if key not in catalog.metadata.ignored_keys(store.url).keys:
                raise NotFoundError(f"{url} is not ignored", next_step="mgmt ignore\n# lists what is")
        elif not any(each.key == key or key.endswith("/") for each in store.list(key)):
            raise NotFoundError(f"{url} does not exist", next_step="mgmt verify --all\n# names unknown objects")
        elif not key.endswith("/") and not catalog.metadata.unknown_keys(store.url, {key: archive_of(key)}):
            raise RefusedError(
                f"{url} belongs to mgmt, so it is not ignored", next_step=f"mgmt verify {shell_word(url)}"
            )
        elif not key.endswith("/") and _is_own(store, key):
            raise RefusedError(
                f"{url} is an archive or an index of mgmt, so it is not ignored",
                next_step=f"mgmt --store {shell_word(store.url)} db rebuild",
            )
    return record


def _is_own(store: ObjectStore, key: str) -> bool:
    """Whether the object at `key` may be an index, carries the id of an archive, or has an index."""
    if is_index_key(key):
        return True
    if not is_key(key):
        return False
    try:
        stored = look_up(store, key)
        return stored is not None and (OPERATION in stored.metadata or find_index(store, stored) is not None)
    except StoreUnavailableError:
        raise
    except StoreError:
        return False  # what may not be looked at is somebody else's


def _split(key: str, context: Context) -> tuple[ObjectStore, str]:
    """The store and the key that `key` means: a URL names its own store, if archives are recorded there."""
    if not key:
        raise ConfigurationError("KEY is empty", next_step="mgmt ignore KEY")
    stores = sorted(context.catalog.metadata.stores(), key=len, reverse=True)
    for url in [context.open_store(None).url, *stores] if "://" in key else []:
        if key.startswith(f"{url}/") and len(key) > len(url) + 1:
            return context.open_store(url), key[len(url) + 1 :]
    return context.open_store(None), key
