"""Checks of the lifecycle rules of a bucket. The rules that are advised are shown, and never applied."""

import json
from collections.abc import Iterator

from mgmt.choices import FROZEN_CLASSES
from mgmt.errors import MgmtError, StoreUnavailableError
from mgmt.services.doctor.finding import Finding
from mgmt.storage import ObjectStore
from mgmt.storage.lifecycle import LifecycleRule

ABORT_DAYS = 7
TAG = ("class", "DEEP_ARCHIVE")
"""The tag by which the advised rule selects archives: an index has none."""


def check_lifecycle(store: ObjectStore) -> Iterator[Finding]:
    """Report rules that freeze indexes or remove what mgmt has stored, and whether one removes abandoned parts.

    A store that does not tell its rules is no problem.
    """
    try:
        found = store.lifecycle()
    except StoreUnavailableError:
        raise
    except MgmtError as error:
        yield Finding(area="store", what="lifecycle", detail=f"the rules of the bucket cannot be seen: {error.message}")
        return
    if found is None:
        return
    prefix, rules = found
    ours = [each for each in rules if each.concerns(prefix)]
    warnings = [why for each in ours for why in _harm(each)]
    for each in warnings:
        yield Finding(area="store", what="lifecycle", state="warning", detail=each, next=_advice(prefix))
    aborting = [each for each in ours if each.aborts_parts is not None and prefix.startswith(each.prefix)]
    if not aborting:
        detail = "no rule of the bucket aborts incomplete multipart uploads, whose parts are billed for ever"
        yield Finding(area="store", what="parts", state="warning", detail=detail, next=_advice(prefix))
    elif not warnings:
        days = min(each.aborts_parts or 0 for each in aborting)
        detail = f"incomplete uploads are aborted after {days} days; no rule freezes indexes or removes archives"
        yield Finding(area="store", what="lifecycle", detail=detail)


def _harm(rule: LifecycleRule) -> Iterator[str]:
    """What a rule does to indexes or archives that nobody may want."""
    which = f"rule {rule.name!r} of the bucket"
    if rule.expires is not None:
        what = "archives with its tags" if rule.tags else "archives and indexes"
        yield f"{which} removes {what} {rule.expires}"
    for storage_class, when in rule.moves.items():
        if storage_class in FROZEN_CLASSES and not rule.tags:
            yield (
                f"{which} moves all objects to {storage_class} {when}: it freezes the indexes, without which no single"
                " file can be found or read"
            )


def _advice(prefix: str) -> str:
    """The rules to add to those that the bucket has."""
    key, value = TAG
    selected = {"Prefix": prefix, "Tags": [{"Key": key, "Value": value}]}
    rules = [
        {
            "ID": "mgmt-abort-parts",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
        },
        {
            "ID": "mgmt-move-tagged",
            "Status": "Enabled",
            "Filter": {"And": selected},
            "Transitions": [{"Days": 1, "StorageClass": value}],
        },
    ]
    return (
        f"# rules to have in the bucket; the second moves what mgmt tag NAME {key}={value} --sync-tags has marked\n"
        f"{json.dumps({'Rules': rules})}"
    )
