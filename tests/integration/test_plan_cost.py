"""What commands would cost, and the limit for that."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.glacier import Glacier
from tests.program import Program
from tests.quirks import BUCKET, quirky


@pytest.fixture
def glacier() -> Iterator[Glacier]:
    with quirky(Glacier) as endpoint:
        yield endpoint


@pytest.fixture
def priced(tmp_path: Path, glacier: Glacier) -> Program:
    """A program whose store has the prices of us-east-1."""
    return Program(tmp_path, f"s3://{BUCKET}/archive", {**glacier.environment, "MGMT_PRICE_REGION": "us-east-1"})


def write(program: Program, name: str, size: int) -> None:
    (program.work / name).write_bytes(os.urandom(size))


def test_a_plan_says_what_an_upload_costs(priced: Program) -> None:
    write(priced, "clip", 3 << 20)
    [plan] = priced.json("upload", "clip", "-n", "--storage-class", "DEEP_ARCHIVE")
    cost = plan["cost"]
    assert (cost["currency"], cost["unknown"]) == ("USD", [])
    assert cost["once"] == pytest.approx(0.00005 + 0.000005, abs=1e-6)
    assert 0 < cost["monthly"] < 0.0001


def test_a_plan_in_a_folder_costs_nothing(on_directory: Program) -> None:
    write(on_directory, "clip", 100)
    [plan] = on_directory.json("upload", "clip", "-n")
    assert (plan["cost"]["once"], plan["cost"]["monthly"], plan["cost"]["unknown"]) == (0, 0, [])


def test_an_unknown_price_is_named(priced: Program, glacier: Glacier) -> None:
    write(priced, "clip", 100)
    assert priced.run("upload", "clip").returncode == 0
    [plan] = priced.json("download", "clip", "-n", "--to", "back")
    assert plan["cost"]["unknown"] == ["transfer"]
    refused = priced.run("download", "clip", "--to", "back", "--max-cost", "1")
    assert refused.returncode == 7
    assert "transfer" in refused.stderr
    assert not (priced.work / "back").exists()
    done = priced.run("download", "clip", "--to", "back", "--max-cost", "1", "--allow-unknown-price")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("most", "status"), [("0.00001", 7), ("0.001", 0), ("0", 7)])
def test_max_cost_refuses_before_anything_is_sent(most: str, status: int, priced: Program, glacier: Glacier) -> None:
    write(priced, "a", 100)
    write(priced, "b", 100)
    done = priced.run("upload", "a", "b", "--storage-class", "DEEP_ARCHIVE", "--max-cost", most)
    assert done.returncode == status, done.stderr
    assert bool(glacier.objects) == (status == 0)
    assert (priced.work / "a").exists() == (status == 7)


def test_max_cost_refuses_a_thaw(priced: Program, glacier: Glacier) -> None:
    write(priced, "clip", 100)
    assert priced.run("upload", "clip", "--storage-class", "GLACIER").returncode == 0
    assert priced.run("restore", "clip", "--tier", "Expedited", "--max-cost", "0.001").returncode == 7
    assert glacier.count("POST .*restore") == 0
    [restore] = priced.json("restore", "clip", "--tier", "Expedited", "--max-cost", "0.02")
    assert restore["estimated_cost_micros"] == 10_000
    assert restore["currency"] == "USD"


def test_a_frozen_download_says_the_price_of_its_thaw(priced: Program, glacier: Glacier) -> None:
    write(priced, "clip", 100)
    assert priced.run("upload", "clip", "--storage-class", "DEEP_ARCHIVE").returncode == 0
    look = priced.run("download", "clip", "-n")
    assert look.returncode == 6
    assert "0.0001 USD" in look.stderr
    assert glacier.count("POST .*restore") == 0
    assert "the restore costs about 0.0001 USD" in priced.run("download", "clip").stderr


def test_a_deletion_pays_for_the_rest_of_the_minimum_duration(priced: Program, glacier: Glacier) -> None:
    write(priced, "clip", 3 << 20)
    assert priced.run("upload", "clip", "--storage-class", "DEEP_ARCHIVE").returncode == 0
    [plan] = priced.json("delete", "clip", "-n")
    assert 0 < plan["cost"]["once"] < 0.001


def test_verify_says_what_it_would_read(priced: Program, glacier: Glacier) -> None:
    write(priced, "clip", 3 << 20)
    assert priced.run("upload", "clip").returncode == 0
    [trusting] = priced.json("verify", "clip", "-n")
    [reading] = priced.json("verify", "clip", "-n", "--read-back")
    assert (trusting["size"], trusting["cost"]["unknown"]) == (0, [])
    assert reading["size"] == len(glacier.objects["archive/clip.tar.gz"].body)
    assert reading["cost"]["unknown"] == ["transfer"]
    assert priced.json("log", "--type", "verify") == []


def test_cost_names_its_prices(priced: Program) -> None:
    write(priced, "clip", 3 << 20)
    assert priced.run("upload", "clip", "--storage-class", "DEEP_ARCHIVE").returncode == 0
    done = priced.run("cost", "--if", "STANDARD")
    assert done.returncode == 0, done.stderr
    assert "An estimate in USD, by prices of us-east-1" in done.stdout
    assert "infracost" in done.stdout
    assert priced.run("cost", "--by", "colour").returncode == 2


@pytest.mark.parametrize("command", [["download", "clip", "--to", "back"], ["class", "clip", "STANDARD", "--yes"]])
def test_max_cost_refuses_a_thaw_that_another_command_would_ask_for(
    command: list[str], priced: Program, glacier: Glacier
) -> None:
    write(priced, "clip", 3 << 20)
    assert priced.run("upload", "clip", "--storage-class", "DEEP_ARCHIVE").returncode == 0
    assert priced.run(*command, "--max-cost", "0").returncode == 7
    assert glacier.count("POST .*restore") == 0


def test_a_dry_run_ends_as_the_limit_does(priced: Program) -> None:
    write(priced, "clip", 100)
    assert priced.run("upload", "clip", "-n", "--max-cost", "0").returncode == 7
    assert priced.run("upload", "clip", "-n", "--max-cost", "1").returncode == 0


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_amazon_s_prices_do_not_count_for_other_endpoints(name: str, tmp_path: Path, glacier: Glacier) -> None:
    environment = {**glacier.environment, name: glacier.endpoint_url, "AWS_REGION": "us-east-1"}
    program = Program(tmp_path, f"s3://{BUCKET}/archive", environment)
    write(program, "clip", 100)
    [plan] = program.json("upload", "clip", "-n")
    assert "STANDARD storage" in plan["cost"]["unknown"]


def test_the_region_of_the_aws_tools_counts(tmp_path: Path) -> None:
    program = Program(tmp_path, "s3://bucket/archive")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nregion = us-east-1\n")
    assert "by prices of us-east-1" in program.run("cost").stdout
