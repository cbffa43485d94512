"""`mgmt config`."""

import sys

import click

from mgmt.choices import DEFAULT_PART_SIZE
from mgmt.cli.app import App
from mgmt.cli.parameters import Group, asking
from mgmt.cli.render import Column
from mgmt.config import DESCRIPTIONS, NAMES, RULES, check_name, redact
from mgmt.errors import NotFoundError, RefusedError

_MIB = 1 << 20

COLUMNS = (
    Column("NAME", "name"),
    Column("VALUE", "value"),
    Column("FROM", "origin", "long", leaves=1),
    Column("DESCRIPTION", "description", "sentence", leaves=2),
)

TEMPLATES = (
    Column("NAME", "name"),
    Column("EXTENDS", "extends", leaves=1),
    Column("OPTIONS", lambda each: [f"--{name}" for name in each["options"]], "long"),
)
TEMPLATE = (
    Column("OPTION", lambda each: f"--{each['name']}"),
    Column("VALUE", lambda each: _as_typed(each["value"]), "long"),
    Column("FROM", "template", leaves=1),
)


@click.group("config", cls=Group)
def command() -> None:
    """Show and change settings.

    A flag overrides the environment variable MGMT_<NAME>, which overrides the configuration file, which overrides the
    default.

    \b
    Example:
      mgmt config set store s3://my-bucket/archive
      mgmt config show
    """


def _value(app: App, name: str) -> object:
    """The value that is used, also if it is a default."""
    if name == "catalog":
        return app.settings.catalog_url()
    if name == "part_size":
        return app.settings.part_size or DEFAULT_PART_SIZE
    return getattr(app.settings, name)


def _shown(name: str, value: object) -> str | None:
    """A value for people, as the configuration file and the variables have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if name == "part_size" and isinstance(value, int) and value % _MIB == 0:
        return f"{value // _MIB} MiB"
    return None if value is None else str(value)


def _rows(app: App) -> list[dict[str, object]]:
    rows = []
    for name in NAMES:
        value = _value(app, name)
        rows.append(
            {
                "name": name,
                "value": redact(value) if isinstance(value, str) else value,
                "origin": app.settings.origins.get(name, "default"),
                "description": DESCRIPTIONS[name],
            }
        )
    return rows


def _rule_rows(app: App) -> list[dict[str, object]]:
    """The rules for the storage classes of new archives, in their order."""
    if app.settings.class_rules is None:
        return []
    from mgmt.services.steps.class_rules import class_rules

    return [
        {
            "name": f"rules[{each.number}]",
            "value": each.storage_class,
            "origin": app.settings.origins[RULES],
            "description": str(each),
        }
        for each in class_rules(app.settings)
    ]


@command.command()
@click.pass_obj
def show(app: App) -> None:
    """List all settings, and where each value comes from.

    \b
    Example:
      mgmt config show
    """
    rows = [*_rows(app), *_rule_rows(app)]
    if app.render.for_people:
        rows = [{**each, "value": _shown(str(each["name"]), each["value"])} for each in rows]
    app.render.many(rows, COLUMNS)


@command.command()
@click.argument("name")
@click.pass_obj
def get(app: App, name: str) -> None:
    """Print the value of a setting.

    \b
    Example:
      mgmt config get store
    """
    name = check_name(name)
    row = next(each for each in _rows(app) if each["name"] == name)
    if row["value"] is None:
        raise NotFoundError(f"{name} is not set", next_step=f"mgmt config set {name} VALUE")
    if app.render.for_people:
        app.render.line(str(_shown(name, row["value"])))
    else:
        app.render.one(row)


@command.command("set")
@click.argument("name")
@click.argument("value")
@click.pass_obj
def set_(app: App, name: str, value: str) -> None:
    """Set a setting in the configuration file.

    \b
    Example:
      mgmt config set storage_class DEEP_ARCHIVE
    """
    _change(app, name, value)


@command.command()
@click.argument("name")
@click.pass_obj
def unset(app: App, name: str) -> None:
    """Remove a setting from the configuration file.

    \b
    Example:
      mgmt config unset storage_class
    """
    _change(app, name, None)


@command.command()
@click.pass_obj
def path(app: App) -> None:
    """Print the path of the configuration file.

    \b
    Example:
      mgmt config path
    """
    if app.render.for_people:
        app.render.line(str(app.config_path))
    else:
        app.render.one({"path": str(app.config_path), "exists": app.config_path.exists()})


def _as_typed(value: object) -> object:
    """The value of a template's option for people: as on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return [f"{key}={each}" for key, each in value.items()] if isinstance(value, dict) else value


@command.group("template", cls=Group)
def template_() -> None:
    """Show templates, which are named options of commands.

    \b
    Example:
      mgmt config template show raw
      mgmt upload --template raw ~/Pictures/2026
    """


@template_.command("ls")
@click.pass_obj
def template_ls(app: App) -> None:
    """List templates.

    \b
    Example:
      mgmt config template ls
    """
    from mgmt.templates import resolved, template_names

    found = [resolved(name, app.config_file) for name in template_names(app.config_file)]
    rows = [
        {"name": each.name, "extends": each.extends, "options": {o.name: o.value for o in each.options.values()}}
        for each in found
    ]
    app.render.many(rows, TEMPLATES, empty="there is no template")


@template_.command("show")
@click.argument("name")
@click.pass_obj
def template_show(app: App, name: str) -> None:
    """Show the options of a template, also those it inherits.

    \b
    Example:
      mgmt config template show raw
    """
    from mgmt.templates import resolved

    found = resolved(name, app.config_file)
    rows = [{"name": each.name, "value": each.value, "template": each.template} for each in found.options.values()]
    app.render.many(rows, TEMPLATE, empty="the template has no options")


@command.command()
@click.pass_obj
def init(app: App) -> None:
    """Ask for the main settings, and save them.

    \b
    Example:
      mgmt config init
    """
    app.creates_config = True
    if not sys.stdin.isatty():
        raise RefusedError(
            "config init asks questions, but there is no terminal",
            next_step="mgmt config set store s3://BUCKET/PREFIX",
        )
    for name in ("store", "endpoint_url", "region", "aws_profile", "completed_dir"):
        current = getattr(app.settings, name) or ""
        with asking():
            answer = click.prompt(f"{name} - {DESCRIPTIONS[name]}", default=current, err=True)
        if answer and answer != current:
            _change(app, name, answer)


def _change(app: App, name: str, value: str | None) -> None:
    from mgmt.services.configure import configure

    app.creates_config = True
    configure(app.config_path, name, value, open_catalog=lambda: app.catalog, progress=app.progress)
    shown = redact(value) if value is not None else None
    changed = {"name": check_name(name), "value": shown, "path": str(app.config_path)}
    if app.render.for_people:
        app.render.line(f"{changed['name']} = {shown}" if shown is not None else f"{changed['name']} is unset")
    else:
        app.render.one(changed)
