"""`mgmt tag`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mgmt.cli.app import App
from mgmt.cli.archive_names import complete_name
from mgmt.cli.outcomes import show_outcomes, show_previews
from mgmt.cli.parameters import Command, as_tags, dry_run, given
from mgmt.cli.render import Column
from mgmt.cli.requests import requestable
from mgmt.errors import ConfigurationError

RECORDED = ("changes", "remove", "sync_tags")


def _text(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in tags.items())


COLUMNS = (
    Column("STATUS", "status"),
    Column("ARCHIVE", "target_path", "long"),
    Column("TAGS", lambda each: _text((getattr(each, "details", None) or {}).get("after", {})), "long"),
)
PLAN = (
    Column("OBJECT", "object", "long"),
    Column("BEFORE", lambda each: _text(each.before), "long", leaves=1),
    Column("AFTER", lambda each: _text(each.after), "long"),
)


class _TagCommand(Command):
    """A command that takes `-KEY` for `--remove KEY`, unless it is one of its own short options."""

    def make_parser(self, ctx: click.Context) -> Any:
        """The parser of any command, which first writes each `-KEY` in full."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args
        parser.parse_args = lambda args: parse(self._in_full(ctx, args))  # type: ignore[method-assign]
        return parser

    def _in_full(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        own = {opt for each in options for opt in each.opts}
        with_value = {opt for each in options if not each.is_flag for opt in each.opts}
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                return [*words, *args[number:]]
            is_value = bool(words) and words[-1] in with_value
            is_key = len(word) > 1 and word.startswith("-") and not word.startswith("--") and word not in own
            words.append(f"--remove={word[1:]}" if is_key and not is_value else word)
        return words


def _alone(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return (value,)


def check(_names: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless there is a tag to set or to remove."""
    if not values["changes"] and not values["remove"]:
        raise ConfigurationError("no tag was given", next_step="mgmt tag NAME KEY=VALUE\n# or, to remove one: -KEY")


@click.command("tag", cls=_TagCommand)
@click.argument("names", metavar="NAME", callback=_alone, shell_complete=complete_name)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE|-KEY]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove the tag KEY, as -KEY does; may be repeated.")
@click.option("--sync-tags", is_flag=True, help="Also give the object in the store these tags.")
@dry_run
@requestable(RECORDED, check=check)
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    changes: tuple[str, ...],
    remove: tuple[str, ...],
    sync_tags: bool,
    dry_run: bool,
) -> None:
    """Change the tags of an archive.

    KEY=VALUE sets a tag, -KEY removes it. `mgmt search --tag` finds the archive by its tags.

    \b
    Example:
      mgmt tag holiday year=2024 -draft
      mgmt tag holiday class=DEEP_ARCHIVE --sync-tags
    """
    from mgmt.services.steps.batch import run_batch
    from mgmt.services.tag import TagOptions, preview, tag

    app: App = ctx.obj
    options = TagOptions(
        tags=as_tags(ctx, ctx.command.params[1], changes),
        remove=remove,
        sync=sync_tags or app.settings.sync_tags,
    )
    if dry_run:
        show_previews(app, names, lambda name: preview(name, options, app.context()), PLAN)
        return
    outcomes = run_batch(
        names, lambda name, context: tag(name, options, context), app.context(given(ctx, RECORDED)), name="tag"
    )
    show_outcomes(app, outcomes, COLUMNS, several=False)
