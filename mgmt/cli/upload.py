"""`mgmt upload`."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from mgmt.choices import MOST_JOBS, OnConflict
from mgmt.cli.app import App
from mgmt.cli.money import COST, max_cost, prices_of, refuse_above
from mgmt.cli.outcomes import left_out, show_outcomes, show_previews, skipped
from mgmt.cli.parameters import Command, Size, dry_run, given, tag
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable, then
from mgmt.cli.retention import check_retention, locked, retention, take_lock
from mgmt.config import LEVELS, ON_CONFLICT, PROOFS, STORAGE_CLASSES
from mgmt.errors import ConfigurationError

if TYPE_CHECKING:
    from mgmt.catalog import UploadRecord
    from mgmt.services.steps.batch import Outcome
    from mgmt.services.steps.context import Context
    from mgmt.services.steps.plan import UploadOptions
    from mgmt.services.steps.preview import Preview

RECORDED = (
    "all_of", "null", "include", "exclude", "key", "storage_class", "tags", "level", "proof", "on_conflict", "keep",
    "keep_archive", "xattrs", "owners", "bwlimit", "retain_until", "retain_for", "legal_hold", "max_cost",
    "allow_unknown_price",
)  # fmt: skip
DECIDED = ("storage_class", "level", "proof", "on_conflict", "completed_dir")
"""Options to record even if a setting or a default decides them."""

COLUMNS = (
    Column("STATUS", "status"),
    Column("TARGET", "target_name", "long"),
    Column("KEY", "s3_object_key", "long", leaves=1),
    Column("SIZE", "original_size", "size"),
    Column("STORED", "compressed_size", "size", leaves=3),
    Column("COMPLETED", "completed_dir_path", "long", leaves=2),
)
PLAN = (
    Column("STATUS", "status"),
    Column("TARGET", "target", "long"),
    Column("FILES", "files", "count", leaves=3),
    Column("SIZE", "size", "size", leaves=1),
    Column("OBJECT", "object", "long"),
    Column("CLASS", "storage_class", leaves=5),
    Column("CLASS BY", "storage_class_by", leaves=7),
    Column("REQUESTS", "requests", "count", leaves=6),
    Column("LEFT OUT", "left_out", "count", leaves=4),
    Column("MOVED TO", "moved_to", "long", leaves=2),
    Column("NOTE", "error_message", "long"),
    COST,
)


def check(names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for targets and options that exclude each other."""
    check_retention(values)
    if values["all_of"] is not None and values["paths"] and not _is_all(values["paths"]):
        raise ConfigurationError("--all and paths exclude each other", next_step="mgmt upload --all=DIR")
    if values["key"] is not None and len(names) > 1:
        from mgmt.services.steps.targets import inside_another, once_each

        found = once_each(names)
        if len(found) - len(inside_another(found)) > 1:
            raise _several()


def _is_all(paths: Sequence[str]) -> bool:
    """Whether `mgmt upload all` was typed for `--all`."""
    return list(paths) == ["all"] and not os.path.lexists("all")


def _several() -> ConfigurationError:
    return ConfigurationError("--key names one archive, but there are several targets", next_step="leave out --key")


@click.command("upload", cls=Command)
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option(
    "--all",
    "all_of",
    is_flag=False,
    flag_value=".",
    metavar="[DIR]",
    help="Upload everything in DIR (default: the current folder), except completed/ and what mgmt itself needs.",
)
@click.option("--files-from", type=click.File("rb"), metavar="FILE|-", help="Read paths from FILE, one per line.")
@click.option("-0", "--null", is_flag=True, help="Paths in FILE are separated by NUL.")
@click.option("--include", multiple=True, metavar="GLOB", help="Include only matching paths; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Exclude matching paths; may be repeated.")
@click.option("--key", metavar="KEY", help="Key of the archive.  [default: NAME.tar.gz]")
@click.option("--storage-class", type=click.Choice(STORAGE_CLASSES), help="Storage class of the archive.")
@tag("Tag the archive; may be repeated.")
@click.option("--level", type=click.Choice(LEVELS), help="Compression level.")
@click.option("--proof", type=click.Choice(PROOFS), help="How to prove the archive.")
@click.option("--on-conflict", type=click.Choice(ON_CONFLICT), help="What to do if the key is taken.")
@click.option("--keep", is_flag=True, help="Do not move the original.")
@click.option("--keep-archive", metavar="DIR", help="Also write a copy of the tar.gz to DIR.")
@click.option("--xattrs", is_flag=True, help="Also archive extended attributes.")
@click.option("--owners", is_flag=True, help="Also archive owners and groups.")
@click.option("--bwlimit", type=Size(), metavar="RATE", help="Limit bandwidth, in bytes per second, such as 8M.")
@retention
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    metavar="N",
    help="Upload up to N small targets at a time.  [default: by processors and store]",
)
@max_cost
@dry_run
@then
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    all_of: str | None,
    files_from: BinaryIO | None,
    null: bool,
    bwlimit: int | None,
    jobs: int | None,
    max_cost: Decimal | None,
    allow_unknown_price: bool,
    dry_run: bool,
    **chosen: Any,
) -> None:
    """Archive files and folders, then move them to completed/.

    Each PATH becomes one tar.gz in the store. The original is moved only after the archive is proven and recorded.

    \b
    Example:
      mgmt upload ~/Videos/holiday
      mgmt upload --all ~/Videos --exclude '*.tmp' -n
    """
    from mgmt.services.steps.plan import UploadOptions
    from mgmt.services.steps.throttle import Bandwidth

    app: App = ctx.obj
    every = partial(_everything, app, keep_archive=chosen["keep_archive"])
    named = _named(paths, all_of, files_from, null=null, everything_in=every)
    chosen |= {"lock": take_lock(chosen), "bandwidth": bwlimit and Bandwidth(bwlimit)}
    options = UploadOptions.from_settings(app.settings, **chosen)
    targets = _targets(app, named, options)
    if chosen["key"] is not None and len(targets) > 1:
        raise _several()
    if dry_run or max_cost is not None:
        from mgmt.services.steps.preview import Looking, preview, priced

        with app.catalog_to_look_at() as catalog:
            at, table = Looking(app.store_to_look_at(), catalog, app.progress), prices_of(app)

            def look(target: str) -> "Preview":
                return priced(preview(target, options, at), table)

            if dry_run:
                show_previews(app, targets, look, PLAN, sentences=_foreseen)
            at = Looking(app.store_to_look_at(), catalog, app.progress)
            refuse_above(targets, look, max_cost, allow_unknown=allow_unknown_price)
        if dry_run:
            return
    app.store()  # one that cannot be opened fails the command, not each target
    decided = [each for each in DECIDED if not (each == "storage_class" and options.class_rules)]
    arguments = {name: getattr(options, name) for name in decided if getattr(options, name)} | given(ctx, RECORDED)
    arguments |= {"files_from": files_from.name} if files_from is not None else {}
    began = datetime.now(UTC)
    outcomes = _upload_each(targets, options, app.context(arguments), jobs, all_of or f"{len(targets)} uploads")
    show_outcomes(app, outcomes, COLUMNS, several=len(targets) > 1, sentences=lambda record: _sentences(record, began))


def _everything(app: App, folder: str, keep_archive: str | None) -> list[str]:
    """What `--all` uploads: all in `folder` but what mgmt itself needs."""
    from mgmt.services.steps.overlaps import known_stores, needed
    from mgmt.services.steps.plan import expand_all

    settings = app.settings
    with app.catalog_to_look_at() as catalog:
        stores = known_stores(catalog)
    return expand_all(
        folder, settings.completed_dir, needed(settings.store, settings.catalog_file(), keep_archive, stores)
    )


def _upload_each(
    targets: Sequence[str], options: "UploadOptions", context: "Context", jobs: int | None, name: str
) -> "Generator[Outcome[UploadRecord], None, None]":
    from mgmt.services.steps.batch import run_parallel
    from mgmt.services.steps.footprint import footprint
    from mgmt.services.steps.parallel import Parallel, default_jobs
    from mgmt.services.steps.targets import unless_part_of_another
    from mgmt.services.upload import upload

    return run_parallel(
        targets,
        unless_part_of_another(lambda target, context: upload(target, options, context)),
        context,
        name=name,
        parallel=Parallel(jobs or default_jobs(context.open_store(None)), lambda target: footprint(target, options)),
    )


def _named(
    paths: Sequence[str],
    all_of: str | None,
    files_from: BinaryIO | None,
    *,
    null: bool,
    everything_in: Callable[[str], list[str]],
) -> list[str]:
    """The targets that the command line names."""
    from mgmt.services.steps.targets import read_list

    if _is_all(paths):
        paths, all_of = [], "."
    targets = list(paths)
    if all_of is not None:
        targets += everything_in(all_of)
    if files_from is not None:
        targets += read_list(files_from.read(), nul=null, name=files_from.name)
    elif not targets and all_of is None:
        raise ConfigurationError("no PATH was given", next_step="mgmt upload PATH\n# or: --all DIR")
    return targets


def _targets(app: App, named: Sequence[str], options: "UploadOptions") -> list[str]:
    """Each of the targets once, in order.

    One inside another is a part of that, and is gone when that has been moved. With `keep` it is a target of its own,
    and with `skip`, after all others: what it is a part of may be skipped. So it is if it does not exist: it is done
    only if what it would be in was archived with it.
    """
    from mgmt.services.steps.targets import inside_another, once_each

    found = once_each(named)
    within = {} if options.keep else inside_another(found)
    # One that does not exist is no part, unless what it would be in has been archived already.
    inside = {part: whole for part, whole in within.items() if os.path.lexists(part) or not os.path.lexists(whole)}
    others = [target for target in found.values() if target not in inside]
    if options.on_conflict == OnConflict.SKIP:
        return [*others, *inside]
    gone = [part for part in inside if not os.path.lexists(part)]
    for part, whole in [each for each in inside.items() if each[0] not in gone][:1]:
        count = len(inside) - len(gone) - 1
        more = f", as are {count} more targets in others" if count else ""
        app.progress.note(f"note: {part} is in {whole}, and is archived as a part of it only{more}")
    return [*others, *gone]


def _foreseen(found: "Preview") -> list[str]:
    return skipped(found.target, found.status, found.error_message)


def _sentences(record: "UploadRecord", began: datetime) -> list[str]:
    """The lines for people about one target of a command that `began` at this time."""
    if record.completed_at is not None and record.completed_at < began:
        when = record.completed_at.astimezone().strftime("%Y-%m-%d")
        return [f"archived already  {record.target_path}, on {when}, as {record.s3_object_key}"]
    if record.proof is None:
        return skipped(str(record.target_path), record.status, record.error_message)
    count = f"{record.parts} part{'' if record.parts == 1 else 's'}"
    parts = f", {count}" if record.proof.startswith("server-checksum") else ""
    lines = [f"verified  sha256:{record.checksum_original}  {record.proof}{parts}"]
    if record.details.get("already_archived"):
        lines.append(f"already archived as {record.s3_object_key}; nothing was uploaded")
    lines += left_out(record) + locked(record.details)
    if record.completed_dir_path:
        lines.append(f"moved     {record.target_path} -> {record.completed_dir_path}")
    return lines
