"""Removals by name on the command line, and what strangers get wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import DEVICE, STRANGERS, Cli, assert_refused
from jsonschema import Draft202012Validator

from joulecut.schemas import schema_path

NETWORK = """
import torch
from torch import nn


class Block(nn.Linear):
    def forward(self, x):
        return x + super().forward(x).relu()


def residual():
    return nn.Sequential(nn.Linear(4, 8), Block(8, 8), nn.Linear(8, 2))


def on_meta():
    return residual().to("meta")


class Listing(nn.Module):
    def forward(self, x):
        return torch.tensor([max(row) for row in x.tolist()])


def unexportable():
    return Listing()
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


def nodes(
    out: Path, model: object = f"{STRANGERS}:tiny", *choice: str, given: str = "1x1x4x4"
) -> tuple[object, ...]:
    named = choice or ("--layer", "first", "--count", "3")
    return ("prune", model, "--strategy", "nodes", *named, "--input", given, "--device", DEVICE, "-o", out)


def test_nodes_of_a_layer_go_and_the_folder_is_the_usual_one(cli: Cli, tmp_path: Path) -> None:
    small = tmp_path / "small"
    code, printed, said = cli(*nodes(small), "--json")
    assert code == 0, said
    record = json.loads(printed)
    Draft202012Validator(json.loads(schema_path("removal_record").read_text())).validate(record)
    assert record["kept"] == {"first": [5, 8]}
    assert json.loads((small / "result.json").read_text()) == record
    assert {path.name for path in small.iterdir()} == {
        "result.json", "recipe.json", "weights.safetensors", "model.pt2", "model.onnx", "report.html",
        "before.onnx",
    }  # fmt: skip
    shown = cli("report", small)[1]
    assert "3 of 8 nodes of first, lowest l2 first" in shown
    assert cli("profile", small / "model.onnx", "--device", DEVICE)[0] == 0
    code, _, said = cli(
        *nodes(tmp_path / "smaller", small / "model.pt2", "--layer", "second", "--share", "25%")
    )
    assert code == 0, said


def test_blocks_go(cli: Cli, network: Path, tmp_path: Path) -> None:
    argv = ("prune", f"{network}:residual", "--strategy", "blocks", "--input", "1x4", "--device", DEVICE)
    code, printed, said = cli(*argv, "--block", "1", "-o", tmp_path / "small")
    assert code == 0, said
    assert "without 1" in printed
    assert_refused(
        cli(*argv, "--block", "layer9", "-o", tmp_path / "other"), 2, "no block 'layer9' that can be removed"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--strategy", "nodes", "--layer", "first"),
            "--data, or without them --count, --share or --threshold",
        ),
        (("--strategy", "blocks"), "required: --budget, --device, --data, or without them --block"),
        (("--strategy", "blocks", "--count", "1", "--block", "2"), "--block names what goes"),
        (("--strategy", "nodes", "--block", "body"), "--block belongs to --strategy blocks"),
        (("--strategy", "auto", "--layer", "first", "--budget", "50%"), "--layer belongs to channels, nodes"),
        (("--share", "30%", "--budget", "50%"), "a budget is searched for"),
        (("--pattern", "2:4"), "--pattern belongs to --strategy weights"),
        (("--strategy", "weights"), "needs --pattern, or one of --threshold, --share, --count"),
        (("--strategy", "channels"), "required: --budget, --device, --data"),
        (("--strategy", "nodes", "--layer", "first", "--count", "1", "--share", "0.5"), "not allowed with"),
        (
            ("--count", "1", "--fit-labels", "--effort", "quick"),
            "searched or trained: leave out --effort, --fit-",
        ),
        (("--share", "0.5", "--finetune", "2", "--sensor", "rapl"), "leave out --sensor, --finetune"),
        (("--strategy", "magic"), "invalid choice: 'magic'"),
    ],
)
def test_options_that_are_missing(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli("prune", f"{STRANGERS}:tiny", *options, "-o", tmp_path / "small")
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("branching", 6, "strangers.py:38: Could not guard on data-dependent"),
        ("failing", 6, "strangers.py:43: Odd: not today. Check"),
        ("rigid", 2, "has no channel that can be removed: it is an output of the network. Give a network"),
    ],
)
def test_networks_that_cannot_be_pruned(cli: Cli, tmp_path: Path, name: str, code: int, says: str) -> None:
    assert_refused(cli(*nodes(tmp_path / "small", f"{STRANGERS}:{name}")), code, says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("on_meta", 6, "are on several devices (cpu, meta). Move both to one device"),
        ("unexportable", 6, "torch.export cannot capture Listing at net.py:"),
    ],
)
def test_networks_that_cannot_be_captured(
    cli: Cli, network: Path, tmp_path: Path, name: str, code: int, says: str
) -> None:
    outcome = cli(*nodes(tmp_path / "small", f"{network}:{name}", given="1x4"))
    assert_refused(outcome, code, says)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("choice", "code", "says"),
    [
        (
            ("--layer", "classifier", "--count", "1"),
            6,
            "no node of classifier can be removed: it is an output",
        ),
        (
            ("--layer", "frist", "--count", "1"),
            2,
            "no layer 'frist' whose nodes can be removed. Layers that have: first",
        ),
        (("--layer", "first", "--count", "8"), 2, "no node of first would be left: remove fewer"),
        (("--layer", "first", "--threshold", "0"), 2, "no node of first is chosen"),
        (("--layer", "first", "--threshold", "nan"), 2, "no node of first is chosen"),
    ],
)
def test_choices_that_cannot_be(
    cli: Cli, tmp_path: Path, choice: tuple[str, ...], code: int, says: str
) -> None:
    assert_refused(cli(*nodes(tmp_path / "small", f"{STRANGERS}:tiny", *choice)), code, says)
    assert list(tmp_path.iterdir()) == []
