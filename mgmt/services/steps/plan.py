"""Plan an upload: decide what it will do, and refuse what cannot be done, before anything is done."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mgmt.archive import Survey, Tree, survey
from mgmt.catalog import Catalog, UploadRecord
from mgmt.choices import FROZEN_CLASSES, Level, OnConflict, Proof
from mgmt.config import Settings
from mgmt.errors import ConfigurationError, NotFoundError, RefusedError
from mgmt.paths import folder_to_make, longest_name, real_folder
from mgmt.services.steps.class_rules import ClassRule, class_rules, decide
from mgmt.services.steps.index_keys import SUFFIX, index_key
from mgmt.services.steps.locks import resolved
from mgmt.services.steps.mirror_files import is_mirror
from mgmt.services.steps.movable import MEND, completed_dir, refuse_unmovable
from mgmt.services.steps.overlaps import (
    Needed,
    is_directory_store,
    known_stores,
    needed,
    not_leading_to,
    refuse_in_store,
    refuse_overlap,
    store_folder,
    watched,
)
from mgmt.services.steps.throttle import Bandwidth
from mgmt.storage import Lock, ObjectStore, check_key, key_for
from mgmt.words import operand

ABSENT = "there is no such file or folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """What the user may choose for an upload."""

    key: str | None = None
    storage_class: str | None = None
    class_rules: tuple[ClassRule, ...] = ()
    """The first that fits a target decides its class, instead of `storage_class`."""
    class_by: str | None = None
    """What `storage_class` comes from: option or setting."""
    tags: Mapping[str, str] = field(default_factory=dict)
    level: Level = Level.FAST
    proof: Proof = Proof.AUTO
    on_conflict: OnConflict = OnConflict.ERROR
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep: bool = False
    keep_archive: str | None = None
    xattrs: bool = False
    owners: bool = False
    bandwidth: Bandwidth | None = None
    completed_dir: str = "completed"
    lock: Lock | None = None
    """What is to keep the archive and its index from being removed."""
    threads: int = 4
    part_size: int | None = None
    catalog_file: str | None = None
    """The path of the catalog if it is a file: it must not be archived."""

    @classmethod
    def from_settings(cls, settings: Settings, **given: object) -> "UploadOptions":
        """The options of the settings, overridden by what is `given` (None means not given)."""
        values: dict[str, object] = {
            name: getattr(settings, name)
            for name in ("storage_class", "level", "proof", "on_conflict", "completed_dir", "threads", "part_size")
        }
        values["catalog_file"] = settings.catalog_file()
        if given.get("storage_class") is not None:
            values["class_by"] = "option"
        else:
            values["class_rules"] = class_rules(settings)
            values["class_by"] = None if settings.storage_class is None else "setting"
        values.update({name: value for name, value in given.items() if value is not None})
        values["level"], values["proof"] = Level(str(values["level"])), Proof(str(values["proof"]))
        values["on_conflict"] = OnConflict(str(values["on_conflict"]))
        return cls(**values)  # type: ignore[arg-type]


def asks_the_same(options: UploadOptions, earlier: UploadRecord) -> bool:
    """Whether the `earlier` upload was asked to keep the same of its target, and to leave the same behind."""
    asked = earlier.command_args
    return (
        (bool(asked.get("owners")), bool(asked.get("xattrs"))) == (options.owners, options.xattrs)
        and (asked.get("tags") or {}) == dict(options.tags)
        and asked.get("keep_archive") == options.keep_archive
        and [list(asked.get(name) or ()) for name in ("include", "exclude")]
        == [*map(list, (options.include, options.exclude))]
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """One target, and what will be done with it."""

    tree: Tree
    survey: Survey
    key: str
    completed_dir: str | None
    """Where the original will go; None when it stays, because of `--keep` or because something is left out."""
    storage_class: str | None = None
    class_by: str | None = None
    """What has decided the class: option, setting, or a rule."""
    lock: Lock | None = None
    """As the archive will be locked."""

    @property
    def expected_tar_size(self) -> int:
        """About how many bytes of tar there will be: a member with a time in nanoseconds has headers of 1,536 bytes."""
        entries = self.survey.files + self.survey.folders + self.survey.links
        return self.survey.size + entries * (1536 + 256)


def plan_upload(
    target: str, options: UploadOptions, store: ObjectStore, catalog: Catalog | None, folder: int | None = None
) -> Plan:
    """Refuse what could not be archived, proven or moved later; return what will be done with the rest.

    `target` is canonical; `folder` is the open folder that holds it, if given. The stores of `catalog` are protected
    as `store` is. Reads no contents, changes nothing.
    """
    mode = _mode(target, folder)
    if stat.S_ISLNK(mode):
        raise ConfigurationError(f"{target} is a symbolic link", next_step=_upload_of(os.path.realpath(target)))
    if is_mirror(target):
        raise ConfigurationError(f"{target} is a mirror of the catalog, which mgmt writes itself")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ConfigurationError(f"{target} is neither a file nor a folder")
    others = known_stores(catalog)
    own = needed(store.url, options.catalog_file, options.keep_archive, others)
    refuse_overlap(target, own)
    if options.keep_archive is not None:
        kept_in = folder_to_make(options.keep_archive)
        refuse_in_store(kept_in, "--keep-archive", [store.url, *others], next_step="name a folder outside of it")
    _refuse_unprovable(options, store)
    if options.tags and store.bucket is not None:
        from mgmt.storage.object_tags import check_object_tags

        check_object_tags(options.tags)
    lock = None if options.lock is None else resolved(options.lock, store)
    key = key_of(target, options)
    _refuse_long(key, store)
    if options.key is not None and options.key.endswith(SUFFIX):
        raise ConfigurationError(f"a key ending in {SUFFIX} would be taken for an index", next_step="use another --key")
    tree = Tree(target, os.path.basename(target), include=options.include, exclude=options.exclude, folder=folder)
    found = survey(watched(tree, own), owners=options.owners, xattrs=options.xattrs)
    if not stat.S_ISDIR(mode) and found.skipped:
        raise ConfigurationError(f"{target} cannot be archived: {found.skipped[0].reason}")
    rule = decide(options.class_rules, os.path.basename(target), found.size)
    storage_class = options.storage_class if rule is None else rule.storage_class
    class_by = options.class_by if rule is None else str(rule)
    if store.bucket is None:  # a directory has no classes
        storage_class = class_by = None
    _refuse_frozen(storage_class, options, store)
    stays = options.keep or bool(found.skipped)
    completed = None if stays else completed_dir(target, options.completed_dir, folder)
    if completed is not None:
        refuse_in_store(completed, "completed_dir", [store.url, *others], next_step=MEND)
        refuse_unmovable(target, completed, folder)
    return Plan(
        tree=tree,
        survey=found,
        key=key,
        completed_dir=completed,
        storage_class=storage_class,
        class_by=class_by,
        lock=lock,
    )


def key_of(target: str, options: UploadOptions) -> str:
    """The key of the archive of `target`, unless it is taken. Raises ConfigurationError for an invalid key."""
    return check_key(options.key) if options.key else key_for(os.path.basename(target))


def _mode(target: str, folder: int | None) -> int:
    name = target if folder is None else os.path.basename(target)
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{target}: {ABSENT}") from error


def _refuse_long(key: str, store: ObjectStore) -> None:
    """Raise RefusedError for a key that the disk of a directory store could not hold: all would be sent for nothing."""
    folder = store_folder(store.url)
    if folder is None:
        return
    longest = max(index_key(key, "0" * 12).split("/"), key=lambda name: len(name.encode()))
    limit = longest_name(folder)
    if len(longest.encode()) > limit:
        raise RefusedError(
            f"the index of {key} would be called {longest}, and names in {folder} have at most {limit} bytes",
            next_step="choose a shorter one with --key",
        )


def _refuse_unprovable(options: UploadOptions, store: ObjectStore) -> None:
    trusted = store.capabilities().checksum
    if options.proof == Proof.SERVER_CHECKSUM and trusted is None:
        raise RefusedError(
            f"{store.url} has no checksum that can be trusted, so it cannot prove anything itself",
            next_step="mgmt upload --proof read-back ...",
        )


def _refuse_frozen(storage_class: str | None, options: UploadOptions, store: ObjectStore) -> None:
    """Raise RefusedError for a class in which the archive could not be proven."""
    if storage_class in FROZEN_CLASSES and (store.capabilities().checksum is None or options.proof == Proof.READ_BACK):
        raise RefusedError(
            f"an archive in {storage_class} cannot be read back, and without that it cannot be proven here",
            next_step="mgmt upload --storage-class STANDARD ...",
        )


def _upload_of(path: str) -> str:
    return f"mgmt upload {operand(path)}"


def expand_all(folder: str, setting: str, own: Sequence[Needed] = ()) -> list[str]:
    """What `--all` means: everything directly in `folder`, except its completed folder and a mirror of the catalog.

    What mgmt itself works with, its `own`, is left out too, and so is any store. Raises ConfigurationError for a folder
    in a store.
    """
    folder = real_folder(folder)
    stores = [f"file://{each.path}" for each in own if each.is_store]
    refuse_in_store(folder, "--all", stores, next_step="name a folder with originals")
    completed = folder_to_make(os.path.join(folder, setting))
    names = sorted(os.listdir(folder), key=os.fsencode)
    paths = (os.path.join(folder, name) for name in names)
    may_go = not_leading_to([Needed("completed_dir", completed), *own])
    originals = (path for path in paths if not (os.path.islink(path) or is_mirror(path) or is_directory_store(path)))
    return [path for path in originals if may_go(path)]
