"""The composition root: what a command needs, created once, at first use."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mgmt.cli.progress import terminal_progress
from mgmt.cli.render import Renderer
from mgmt.config import NOTIFY, Settings, default_path, load
from mgmt.errors import ConfigurationError, MgmtError
from mgmt.progress import CountedProgress

if TYPE_CHECKING:
    from mgmt.catalog import Catalog
    from mgmt.cli.metrics_file import MetricsFile
    from mgmt.cli.notifications import Notifications
    from mgmt.services.mirror import Mirror
    from mgmt.services.run import Requested
    from mgmt.services.steps.context import Context
    from mgmt.services.steps.requests import Attempts
    from mgmt.services.steps.rules import Rule
    from mgmt.storage import ObjectStore


class App:
    """Settings, catalog, stores, progress and renderer of one run of `mgmt`."""

    def __init__(self, flags: Mapping[str, str | None], config_file: str | None, *, output: str, quiet: bool) -> None:
        self._flags = dict(flags)
        self._typed = dict(flags)
        """The settings of the command line."""
        self._config_file = config_file
        self.render = Renderer(output, quiet=quiet)
        self.quiet = quiet
        self.progress = CountedProgress(terminal_progress(quiet=quiet))
        self._stores: dict[str, ObjectStore] = {}
        self._mirror: Mirror | None = None
        self.creates_config = False
        """Whether this command creates the configuration file if it is missing."""
        self.requested: Requested | None = None
        """The requested operation that this command runs."""
        self.repeats: Mapping[str, str] = {}
        """The operation that each target of this command does again."""
        self.meant: Mapping[str, str] = {}
        """What tells the archive that a name to delete means from any other, where that is known already."""
        self.rules: Sequence[Rule] = ()
        """The notification rules of `settings`, once those are loaded."""
        self._notifications: Notifications | None = None
        self._metrics: MetricsFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self._mirror is not None and (kind is None or issubclass(kind, MgmtError)):
            self._mirror.write(self.progress)
        if self._notifications is not None and (kind is None or issubclass(kind, MgmtError)):
            self._notifications.finish(self.progress)
        if self._metrics is not None and (kind is None or issubclass(kind, MgmtError)):
            self._metrics.finish(self.progress)
        if "catalog" in self.__dict__:
            self.catalog.close()

    @property
    def flags(self) -> dict[str, str | None]:
        """The settings that were given as flags."""
        return dict(self._flags)

    def words(self) -> list[str]:
        """The options of `mgmt` itself that make another process work as this one does."""
        given = {**self._flags, "config": self._config_file}
        return [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]

    @cached_property
    def config_path(self) -> Path:
        """The configuration file in use. Raises ConfigurationError where the user has no home folder to hold it."""
        return Path(self._config_file) if self._config_file else default_path()

    @property
    def names_config(self) -> bool:
        """Whether the user named the configuration file."""
        return self._config_file is not None

    @cached_property
    def config_file(self) -> Path | None:
        """The configuration file in use, also from another folder; None without a home folder to hold it."""
        with suppress(ConfigurationError):
            return self.config_path.absolute()
        return None

    @cached_property
    def settings(self) -> Settings:
        """The settings of this run. Raises ConfigurationError, also for a missing file that the user named."""
        required = self._config_file is not None and not self.creates_config
        found = load(self._flags, self.config_file, os.environ, required=required)
        if found.notify is not None:
            from mgmt.services.steps.rules import parse_rules

            self.rules = parse_rules(found.notify, found.origins[NOTIFY])
        if found.class_rules is not None:
            from mgmt.services.steps.class_rules import class_rules

            class_rules(found)  # what is wrong with them is wrong for every command
        return found

    def override(self, **flags: str | None) -> None:
        """Let the flags of a command override the settings. Call it before `settings` is first used."""
        self._flags.update(flags)

    @cached_property
    def catalog(self) -> "Catalog":
        """The catalog, opened at first use; a new one is created."""
        from mgmt.catalog import open_catalog

        catalog = open_catalog(self.settings.catalog_url())
        catalog.watch(self.progress)
        if self.settings.mirror:
            from mgmt.services.mirror import Mirror

            self._mirror = Mirror(catalog)
        if self.rules:
            from mgmt.cli.notifications import Notifications

            self._notifications = Notifications(self.rules, catalog)
        if self.settings.metrics_file is not None:
            from mgmt.cli.metrics_file import MetricsFile

            self._metrics = MetricsFile(self.settings.metrics_file, self.settings, catalog)
        return catalog

    def store(self, url: str | None = None) -> "ObjectStore":
        """The store at `url`, by default the configured one."""
        url = url or self.settings.store_url()
        if url not in self._stores:
            from mgmt.services.steps.open_store import open_remembered

            self._stores[url] = open_remembered(url, self.settings, self.catalog)
        return self._stores[url]

    def context(self, command_args: "Mapping[str, object] | None" = None) -> "Context":
        """What a service works with, for a command with these options."""
        from mgmt.services.steps.context import Context

        if (requested := self.requested) is None:
            arguments = dict(command_args or {})
            if self.meant:
                from mgmt.services.steps.request_arguments import ARCHIVES

                arguments[ARCHIVES] = dict(self.meant)
            return Context(self.store, self.catalog, self.progress, arguments, repeats=self.repeats)
        fan_out = requested.fan_out
        batch = None if fan_out is None else fan_out.batch.operation_id
        return Context(
            self.store,
            self.catalog,
            self.progress,
            requested.operation.command_args,
            parent=batch,
            fan_out=fan_out,
            requested=requested.operation.operation_id if batch is None else None,
        )

    def begin(self, requested: "Requested", store: str | None) -> None:
        """Work on a requested operation from now on, with the `store` that it was requested with."""
        self.requested = requested
        if self._notifications is not None:
            self._notifications.requested = requested
        self._begin_with(store=store)

    def repeat(self, repeats: Mapping[str, str], meant: Mapping[str, str], **flags: str | None) -> None:
        """Do the work of operations again from now on, with these settings instead of those that are set.

        A name to delete that has a meaning in `meant` is refused if it means another archive.
        """
        self.repeats, self.meant = repeats, meant
        self._begin_with(**flags)

    def _begin_with(self, **flags: str | None) -> None:
        """Work with these settings from now on, besides the flags of the command line; with none of earlier work."""
        chosen = self._typed | {name: value for name, value in flags.items() if value is not None}
        if chosen != self._flags:
            self._flags = chosen
            self.__dict__.pop("settings", None)

    def attempts(self) -> "Attempts":
        """How often a requested operation is tried."""
        from mgmt.services.steps.requests import Attempts

        return Attempts(most=self.settings.attempts, backoff_seconds=self.settings.backoff)

    def note_limit(self, found: int, limit: int) -> None:
        """Tell the user that a list may go on beyond its limit."""
        if found >= limit:
            shown = "the first result is" if limit == 1 else f"the first {limit} results are"
            self.progress.note(f"note: {shown} shown; --limit N shows more")

    @contextmanager
    def catalog_to_look_at(self) -> "Iterator[Catalog | None]":
        """The catalog for a dry run, which does not create one: None if there is none. Raises CatalogError."""
        from mgmt.catalog import open_catalog

        catalog = open_catalog(self.settings.catalog_url(), create=False)
        try:
            if catalog.database.revision() is None:
                yield None
                return
            with catalog.database.reading():  # an older one is refused, as it would be later
                pass
            yield catalog
        finally:
            catalog.database.close()

    def store_to_look_at(self) -> "ObjectStore":
        """The configured store for a dry run, which neither creates a catalog nor writes to it."""
        from mgmt.services.steps.open_store import open_unremembered

        return open_unremembered(self.settings.store_url(), self.settings)
