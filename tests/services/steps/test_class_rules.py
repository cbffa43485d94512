"""Rules for storage classes: the first that fits decides; an option beats it, and it beats the setting."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgmt.config import load
from mgmt.errors import ConfigurationError
from mgmt.services.steps.class_rules import class_rules, decide
from tests.moving import Mover
from tests.program import Program
from tests.quirks import BUCKET, quirky

RULES = """
[[rules]]
match = "*.mov"
larger_than = "1 KiB"
storage_class = "DEEP_ARCHIVE"

[[rules]]
match = "*.mov"
storage_class = "GLACIER_IR"

[[rules]]
smaller_than = 10
storage_class = "STANDARD_IA"
"""


def rules_in(text: str, tmp_path: Path) -> Any:
    (tmp_path / "config.toml").write_text(text)
    return class_rules(load({}, tmp_path / "config.toml", {}))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("a.mov", 1025, "DEEP_ARCHIVE"),
        ("a.mov", 1024, "GLACIER_IR"),
        ("a.MOV", 1025, None),
        ("a.txt", 9, "STANDARD_IA"),
        ("a.txt", 10, None),
    ],
)
def test_the_first_rule_that_fits_decides(name: str, size: int, expected: str | None, tmp_path: Path) -> None:
    rule = decide(rules_in(RULES, tmp_path), name, size)
    assert (rule and rule.storage_class) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[rules]]\nmatch = "*"\n', "'storage_class' must be one of"),
        ('[[rules]]\nstorage_class = "COLD"\n', "'storage_class' must be one of"),
        ('[[rules]]\nstorage_class = "GLACIER"\nmatch = ""\n', "'match' must be"),
        ('[[rules]]\nstorage_class = "GLACIER"\nlarger_than = "much"\n', "'larger_than' must be a size"),
        ('[[rules]]\nstorage_class = "GLACIER"\nsmaller_than = true\n', "'smaller_than' must be a size"),
        ('[[rules]]\nstorage_class = "GLACIER"\nsmaller_than = -1\n', "'smaller_than' must be a size"),
        ('[[rules]]\nstorage_class = "GLACIER"\nlarger_than = 5\nsmaller_than = 6\n', "nothing is larger"),
        ('[[rules]]\nstorage_class = "GLACIER"\nholds = "*"\n', "there is no 'holds'"),
        ('[rules]\nstorage_class = "GLACIER"\n', "must be written as [[rules]]"),
    ],
)
def test_an_invalid_rule_ends_every_command(text: str, why: str, tmp_path: Path, on_directory: Program) -> None:
    with pytest.raises(ConfigurationError) as raised:
        rules_in(text, tmp_path)
    assert why in raised.value.message
    done = on_directory.run("--config", tmp_path / "config.toml", "ls")
    assert (done.returncode, why in done.stderr) == (2, True)


@pytest.fixture
def mover() -> Iterator[Mover]:
    with quirky(Mover) as endpoint:
        yield endpoint


@pytest.fixture
def ruled(tmp_path: Path, mover: Mover) -> Program:
    folder = tmp_path / "config" / "mgmt"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'storage_class = "ONEZONE_IA"\n{RULES}')
    return Program(tmp_path, f"s3://{BUCKET}/archive", mover.environment)


def test_an_option_beats_a_rule_and_a_rule_the_setting(ruled: Program, mover: Mover) -> None:
    sizes = {"big.mov": 2000, "small.mov": 20, "tiny": 5, "other": 20, "chosen.mov": 2000}
    for name, size in sizes.items():
        (ruled.work / name).write_bytes(name.encode() + b"x" * (size - len(name)))
    names = [name for name in sizes if name != "chosen.mov"]
    plans = ruled.json("upload", "-n", *names) + ruled.json("upload", "-n", "chosen.mov", "--storage-class", "STANDARD")
    ruled.ok("upload", *names)
    ruled.ok("upload", "chosen.mov", "--storage-class", "STANDARD")
    expected = {
        "big.mov": ("DEEP_ARCHIVE", "rule 1 (match *.mov, larger_than 1024)"),
        "small.mov": ("GLACIER_IR", "rule 2 (match *.mov)"),
        "tiny": ("STANDARD_IA", "rule 3 (smaller_than 10)"),
        "other": ("ONEZONE_IA", "setting"),
        "chosen.mov": ("STANDARD", "option"),
    }
    done = {each["target_name"]: each for each in ruled.json("log", "--type", "upload")}
    for plan in plans:
        name = Path(plan["target"]).name
        assert (plan["storage_class"], plan["storage_class_by"]) == expected[name]
        upload, stored = done[name], mover.objects[f"archive/{name}.tar.gz"]
        assert (upload["s3_storage_class"], upload["metadata"]["storage_class_by"]) == expected[name]
        assert stored.headers["x-amz-storage-class"] == expected[name][0]
    indexes = [stored for key, stored in mover.objects.items() if key.endswith(".index.jsonl.gz")]
    assert {each.headers["x-amz-storage-class"] for each in indexes} == {"STANDARD"}


def test_the_settings_name_the_rules(ruled: Program) -> None:
    shown = [each for each in ruled.json("config", "show") if each["name"].startswith("rules")]
    assert [each["value"] for each in shown] == ["DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA"]
    assert shown[0]["description"] == "rule 1 (match *.mov, larger_than 1024)"


def test_an_upload_that_is_repeated_follows_the_rules_again(ruled: Program, mover: Mover) -> None:
    (ruled.work / "a.mov").write_bytes(b"x" * 2000)
    mover.tell("^PUT .*a.mov.tar.gz$", "403 AccessDenied", "no", times=1)
    assert ruled.run("upload", "a.mov").returncode == 1
    [failed] = ruled.json("log", "--type", "upload")
    ruled.ok("retry", failed["operation_id"])
    assert mover.objects["archive/a.mov.tar.gz"].headers["x-amz-storage-class"] == "DEEP_ARCHIVE"
