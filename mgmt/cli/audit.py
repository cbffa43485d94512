"""`mgmt audit`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mgmt.cli.app import App
from mgmt.cli.parameters import Group
from mgmt.cli.render import Column
from mgmt.errors import IntegrityError

if TYPE_CHECKING:
    from mgmt.catalog import Anchor, Finding, Verification

FINDINGS = (
    Column("PROBLEM", "problem"),
    Column("OPERATION", "operation_id"),
    Column("NUMBER", "seq", "count"),
    Column("SEAL", "seal", "count"),
    Column("DETAIL", "detail"),
)


@click.group("audit", cls=Group)
def command() -> None:
    """The history of operations: whether it is as it was sealed, and a note of that which the catalog cannot reach.

    \b
    Example:
      mgmt audit verify
      mgmt audit anchor
    """


@command.command()
@click.option("--no-anchors", is_flag=True, help="Do not compare with the anchors in the store.")
@click.pass_obj
def verify(app: App, no_anchors: bool) -> None:
    """Hold every finished operation against its seal, the seals against one another, and all against the anchors.

    \b
    Example:
      mgmt audit verify
      mgmt -o jsonl audit verify --no-anchors
    """
    verification = app.catalog.audit.verification(() if no_anchors else _anchors(app))
    seen: list[Finding] = []

    def looking() -> "Iterator[Finding]":
        for finding in verification.findings():
            seen.append(finding)
            yield finding

    match app.render.output:
        case "json":
            app.render.one({**_counted(app, verification, list(looking())), "problems": seen})
        case "jsonl":
            app.render.many(looking(), FINDINGS)
            app.render.one(_counted(app, verification, seen))
        case _:
            app.render.many(looking(), FINDINGS, empty="nothing was edited, removed, inserted or moved")
            app.render.line(_sentence(verification, sound=not seen))
    if seen:
        raise IntegrityError(
            f"the history in {app.catalog.database.name} is not what was sealed: {len(seen)} findings",
            next_step="keep this catalog as evidence, and compare it with a backup",
        )


@command.command()
@click.pass_obj
def anchor(app: App) -> None:
    """Write the digest of the history into the store, where it is never overwritten; `verify` compares with it.

    \b
    Example:
      mgmt audit anchor
    """
    from mgmt.services.history import anchor

    written = anchor(app.store(), app.catalog)
    if app.render.for_people:
        app.render.line(f"seal {written.sequence} is anchored in {written.location}")
    else:
        app.render.one(written)


def _anchors(app: App) -> "Iterator[Anchor]":
    from mgmt.services.history import anchors_in

    if app.settings.store is None:
        app.progress.note("note: no store is configured: there are no anchors to compare with")
        return iter(())
    return anchors_in(app.store())


def _counted(app: App, verification: "Verification", seen: "list[Finding]") -> dict[str, object]:
    head = verification.head
    return {
        "type": "history",
        "catalog": app.catalog.database.name,
        "sound": not seen,
        "operations": verification.operations,
        "seals": verification.seals,
        "pruned": verification.pruned,
        "unsealed": verification.unsealed,
        "running": verification.live,
        "anchors": verification.anchors,
        "head": None if head is None else {"sequence": head.sequence, "digest": head.digest},
    }


def _sentence(verification: "Verification", *, sound: bool) -> str:
    counted = (
        f"{verification.operations} operations in {verification.seals} seals, {verification.anchors} anchors, "
        f"{verification.unsealed} not sealed yet" + (f", {verification.pruned} pruned" if verification.pruned else "")
    )
    return f"the history is {'sound' if sound else 'NOT sound'}: {counted}"
