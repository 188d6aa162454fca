"""Weights on the command line: patterns and thresholds by name, and zeros as candidates of a search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import DEVICE, Cli, assert_refused
from jsonschema import Draft202012Validator
from made_up_board import BOARD, two_of_four

from joulecut.schemas import schema_path

NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
x = torch.rand(300, 1, 8, 8)
y = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()


def net():
    torch.manual_seed(1)
    ends = nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 2)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), *ends)


def data():
    return x, y
"""
SPARSE = BOARD + two_of_four((8, 8, 1), 0.53125)


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "sparse.toml").write_text(SPARSE)
    return f"{tmp_path / 'net.py'}:net"


def weights(network: str, out: Path, *options: object, device: object = DEVICE) -> tuple[object, ...]:
    given = ("--input", "1x1x8x8", "--device", device, "-o", out)
    return ("prune", network, "--strategy", "weights", *options, *given)


def test_a_pattern_and_its_folder(cli: Cli, network: str, tmp_path: Path) -> None:
    out = tmp_path / "sparse"
    device = tmp_path / "sparse.toml"
    code, printed, said = cli(*weights(network, out, "--pattern", "2:4", device=device), "--json")
    assert code == 0, said
    assert f"saved the result in {out}" in said
    record = json.loads(printed)
    assert record == json.loads((out / "result.json").read_text())
    Draft202012Validator(json.loads(schema_path("weight_record").read_text())).validate(record)
    recipe = json.loads((out / "recipe.json").read_text())
    Draft202012Validator(json.loads(schema_path("weight_recipe").read_text())).validate(recipe)
    conv, wide, narrow = record["layers"]
    assert (wide["zeros"], wide["reason"]) == (512 * 32 // 2, "")
    assert wide["saved"]["value"] == pytest.approx((8192 * 10 + 65536 * 0.46875 * 100) * 1e-12)
    assert conv["reason"] == "no weight is zero"
    assert "from 8 x 8 x 1" in narrow["reason"]


def test_a_threshold_saves_no_joule_here_and_says_so(cli: Cli, network: str, tmp_path: Path) -> None:
    code, printed, said = cli(*weights(network, tmp_path / "small", "--threshold", "0.02", "--layer", "3"))
    assert code == 0, said
    words = " ".join(printed.split())
    assert "unstructured zeros below 0.02, in 3, on reference/edge/float32" in words
    assert "Energy saved 0 J no zero-skipping for linear/float32 on this device" in words
    assert "it is not one of the layers that were named" in words.replace(" │ ", " ")


def test_data_re_solve_what_stays(cli: Cli, network: str, tmp_path: Path) -> None:
    data = network.replace(":net", ":data")
    code, printed, said = cli(
        *weights(network, tmp_path / "small", "--pattern", "4x1", "--share", "50%", "--data", data), "--json"
    )
    assert code == 0, said
    record = json.loads(printed)
    assert [stage for stage, _ in record["rows"]] == [
        "as trained", "batch norm recalibrated", "weights set to zero", "the others re-solved",
    ]  # fmt: skip
    assert record["accuracy"]["split"] == "test (60 samples)"
    assert sum(layer["zeros"] for layer in record["layers"]) == pytest.approx(0.5 * 16520, abs=8)


def test_mistakes(cli: Cli, network: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = [
        (("--pattern", "4:2"), "'4:2' is no pattern of zeros"),
        (("--pattern", "4x1"), "4x1 zeros need one amount"),
        (("--pattern", "2:4", "--share", "0.5"), "the pattern 2:4 says itself how many weights go"),
        (("--share", "0.5", "--layer", "7"), "the network has no layer '7' whose weights can go"),
        (("--threshold", "-1"), "a threshold of magnitudes lies above 0"),
    ]
    for options, says in refused:
        assert_refused(cli(*weights(network, out, *options)), 2, says)
    assert not out.exists()


@pytest.mark.parametrize("strategy", ["weights", "auto"])
def test_a_search_takes_zeros_where_the_device_pays_for_them(
    cli: Cli, network: str, tmp_path: Path, strategy: str
) -> None:
    out, data = tmp_path / "searched", network.replace(":net", ":data")
    _, printed, said = cli(
        "prune", network, "--strategy", strategy, "--budget", "75%", "--data", data,
        "--device", tmp_path / "sparse.toml", "-o", out, "--json",
    )  # fmt: skip
    record = json.loads(printed)
    assert record["met"] == "yes", said
    kinds = [step["taken"]["kind"] for step in record["steps"]]
    assert "weights" in kinds
    assert strategy == "auto" or set(kinds) == {"weights"}
    assert record["after"]["total"]["value"] <= 0.75 * record["before"]["total"]["value"]
    assert "3: " in record["after"]["provenance"]["zero weights"]


def test_a_search_for_zeros_on_a_device_without_any(cli: Cli, network: str, tmp_path: Path) -> None:
    data = network.replace(":net", ":data")
    found = cli(
        "prune", network, "--strategy", "weights", "--budget", "75%", "--data", data, "--device", DEVICE,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert_refused(found, 2, f"zero weights save 0 J on {DEVICE}, whose file declares nothing")
