"""`mgmt upload`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from mgmt.cli.app import App
from mgmt.cli.outcomes import show_outcomes
from mgmt.cli.parameters import Command, Size, dry_run, given, tag
from mgmt.cli.render import Column
from mgmt.config import LEVELS, ON_CONFLICT, PROOFS, STORAGE_CLASSES
from mgmt.errors import ConfigurationError, MgmtError

if TYPE_CHECKING:
    from mgmt.services.steps.overlaps import Needed

RECORDED = (
    "all_of", "null", "include", "exclude", "key", "storage_class", "tags", "level", "proof", "on_conflict", "keep",
    "keep_archive", "xattrs", "owners", "bwlimit",
)  # fmt: skip
DECIDED = ("storage_class", "level", "proof", "on_conflict", "completed_dir")
"""Options to record even if a setting or a default decides them."""

COLUMNS = (
    Column("STATUS", "status"),
    Column("TARGET", "target_name"),
    Column("KEY", "s3_object_key"),
    Column("SIZE", "original_size", "size"),
    Column("STORED", "compressed_size", "size"),
    Column("COMPLETED", "completed_dir_path"),
)
PLAN = (
    Column("TARGET", "target"),
    Column("FILES", "files", "count"),
    Column("SIZE", "size", "size"),
    Column("OBJECT", "object"),
    Column("REQUESTS", "requests", "count"),
    Column("LEFT OUT", "left_out", "count"),
    Column("MOVED TO", "moved_to"),
)


@click.command("upload", cls=Command)
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--all",
    "all_of",
    is_flag=False,
    flag_value=".",
    metavar="[DIR]",
    help="Everything in DIR (here), except completed/ and what mgmt itself needs.",
)
@click.option("--files-from", type=click.File("rb"), metavar="FILE|-", help="Read paths from FILE, one a line.")
@click.option("-0", "--null", is_flag=True, help="The paths in FILE are separated by NUL.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only what matches.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not what matches.")
@click.option("--key", help="The key of the archive; by default NAME.tar.gz.")
@click.option("--storage-class", type=click.Choice(STORAGE_CLASSES), help="The storage class of the archive.")
@tag
@click.option("--level", type=click.Choice(LEVELS), help="Compression.")
@click.option("--proof", type=click.Choice(PROOFS), help="How the archive is proven.")
@click.option("--on-conflict", type=click.Choice(ON_CONFLICT), help="What to do when the key is taken.")
@click.option("--keep", is_flag=True, help="Leave the original where it is.")
@click.option("--keep-archive", metavar="DIR", help="Put a copy of the tar.gz into DIR, too.")
@click.option("--xattrs", is_flag=True, help="Archive extended attributes, too.")
@click.option("--owners", is_flag=True, help="Archive owners and groups, too.")
@click.option("--bwlimit", type=Size(), metavar="RATE", help="At most so many bytes a second, as 8M.")
@dry_run
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    all_of: str | None,
    files_from: BinaryIO | None,
    null: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    key: str | None,
    storage_class: str | None,
    tags: dict[str, str],
    level: str | None,
    proof: str | None,
    on_conflict: str | None,
    keep: bool,
    keep_archive: str | None,
    xattrs: bool,
    owners: bool,
    bwlimit: int | None,
    dry_run: bool,
) -> None:
    """Archive each PATH, prove that the store holds it, record it, and move the original to completed/.

    \b
    Example:
      mgmt upload ~/Videos/holiday
      mgmt upload --all ~/Videos --exclude '*.tmp' -n
    """
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.steps.overlaps import needed
    from mgmt.services.steps.plan import UploadOptions
    from mgmt.services.upload import upload

    app: App = ctx.obj
    settings = app.settings
    own = needed(settings.store, settings.catalog_file(), keep_archive)
    targets = _targets(paths, all_of, files_from, settings.completed_dir, own, null=null)
    if key is not None and len(targets) > 1:
        raise ConfigurationError("--key names one archive, but there are several targets", next_step="leave it out")
    options = UploadOptions.from_settings(
        settings,
        include=include,
        exclude=exclude,
        key=key,
        storage_class=storage_class,
        tags=tags,
        level=level,
        proof=proof,
        on_conflict=on_conflict,
        keep=keep,
        keep_archive=keep_archive,
        xattrs=xattrs,
        owners=owners,
        bandwidth=bwlimit,
    )
    if dry_run:
        from mgmt.services.steps.plan import preview

        looked_at = app.store_to_look_at()
        app.render.many([preview(each, options, looked_at) for each in targets], PLAN)
        return
    store = app.store()
    arguments = {name: getattr(options, name) for name in DECIDED if getattr(options, name)} | given(ctx, RECORDED)
    if files_from is not None:
        arguments["files_from"] = files_from.name
    outcomes = run_batch(
        targets,
        lambda target, parent: upload(
            target,
            options,
            store=store,
            catalog=app.catalog,
            progress=app.progress,
            command_args=arguments,
            parent=parent,
        ),
        app.catalog,
        name=all_of or f"{len(targets)} uploads",
        command_args=arguments,
    )
    show_outcomes(app, outcomes, COLUMNS, several=len(targets) > 1, sentences=_sentences)


def _targets(
    paths: Sequence[str],
    all_of: str | None,
    files_from: BinaryIO | None,
    completed_dir: str,
    own: "Sequence[Needed]",
    *,
    null: bool,
) -> list[str]:
    """The paths that the command line means, each once, in their order."""
    from mgmt.services.steps.plan import expand_all, read_list

    if list(paths) == ["all"] and not os.path.lexists("all"):
        paths, all_of = [], "."
    elif all_of is not None and paths:
        raise ConfigurationError("--all and paths exclude each other", next_step="mgmt upload --all=DIR")
    targets = list(paths)
    if all_of is not None:
        targets += expand_all(all_of, completed_dir, own)
    if files_from is not None:
        targets += read_list(files_from.read(), nul=null)
    if not targets and all_of is None:
        raise ConfigurationError("nothing to upload was named", next_step="mgmt upload PATH   (or: --all DIR)")
    return _once_each(targets)


def _once_each(paths: Sequence[str]) -> list[str]:
    """`paths` without those that mean the same target as one before: `s`, `./s` and `s/`."""
    from mgmt.paths import canonical

    targets: dict[str, str] = {}
    for path in paths:
        try:
            meant = canonical(path)
        except MgmtError:  # reported when its turn comes, as with any other target
            meant = path
        targets.setdefault(meant, path)
    return list(targets.values())


def _sentences(record: object) -> list[str]:
    """What happened to one target, for people."""
    from mgmt.catalog import UploadRecord

    assert isinstance(record, UploadRecord)  # noqa: S101
    if record.proof is None:
        return []
    count = f"{record.parts} part{'' if record.parts == 1 else 's'}"
    parts = f", {count}" if record.proof.startswith("server-checksum") else ""
    lines = [f"verified  sha256:{record.checksum_original}  {record.proof}{parts}"]
    if record.details.get("already_archived"):
        lines.append(f"already archived as {record.s3_object_key}; nothing was uploaded")
    lines += [f"left out  {each['path']}: {each['reason']}" for each in record.details.get("skipped", [])[:20]]
    if record.completed_dir_path:
        lines.append(f"moved     {record.target_path} -> {record.completed_dir_path}")
    return lines
