"""Removals by name: the result, its folder, and the same through the public functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import joulecut as jc
from joulecut.errors import ModelError, UsageError
from joulecut.pruning.recipe import Recipe
from joulecut.pruning.removal import RemovalRecord

DEVICE = "reference/edge/float32"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.b(self.a(x).relu())
        return out


def network() -> nn.Sequential:
    torch.manual_seed(0)
    ends = nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 3)
    return nn.Sequential(ends[0], Block(), Block(), *ends[1:])


EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_three_nodes_less_are_worth_what_they_cost() -> None:
    """At least 9 x 64 x 4 multiplications each in both convolutions, its weights, and its map four times."""
    result = jc.prune_nodes(network(), EXAMPLE, "1.a", count=3, device=DEVICE)
    record = result.record
    assert record.asked == "3 of 6 nodes of 1.a, lowest l2 first"
    assert record.parameters[0] - record.parameters[1] == 3 * (4 * 9 + 1) + 3 * 4 * 9
    assert record.kept == {"1.a": (3, 6)}
    macs, weights, maps = 2 * 3 * 4 * 9 * 64, 3 * (4 * 9 + 1) + 3 * 4 * 9, 4 * 3 * 64
    saved = record.before.total.value - record.after.total.value
    assert saved >= 4e-12 * macs + 20e-12 * 4 * (weights + maps)
    assert record.refused


def test_blocks_go_and_what_they_cost() -> None:
    result = jc.remove_blocks(network(), EXAMPLE, ["2"], device=DEVICE)
    assert result.record.blocks == result.recipe.blocks == ("2",)
    assert not [name for name, _ in result.model.named_parameters() if name.startswith("2.")]
    model = network()
    model[2] = nn.Identity()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(result.model(x), model(x), atol=1e-6)


class Adding(nn.Module):
    """Adds a known share of what it reads."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4, 1, 1), share))

    def forward(self, x: Tensor) -> Tensor:
        return x + x * self.scale


@pytest.mark.parametrize(
    ("choice", "gone"),
    [
        ({"count": 2}, ("3", "1")),
        ({"share": 0.4}, ("3",)),
        ({"threshold": 0.25}, ("3", "1")),
    ],
)
def test_the_blocks_that_change_least_go(choice: dict[str, Any], gone: tuple[str, ...]) -> None:
    """Blocks that add 0.2, 0.5 and 0.1 of what they read."""
    blocks = (Adding(0.2), Adding(0.5), Adding(0.1))
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(4 * 64, 3))
    result = jc.remove_blocks(model, torch.ones(1, 1, 8, 8), **choice, device=DEVICE)
    assert result.record.blocks == gone
    below = " below 0.25" if "threshold" in choice else ""
    assert result.record.asked == f"{len(gone)} of 3 blocks, least change{below} on example inputs first"


RUN = """
import sys
sys.modules["joulecut"] = None
import numpy, onnxruntime, torch
from safetensors.numpy import load_file
folder = sys.argv[1]
io = load_file(folder + "/io.safetensors")
program = torch.export.load(folder + "/model.pt2").module()
found = program(torch.from_numpy(io["x"])).detach().numpy()
session = onnxruntime.InferenceSession(folder + "/model.onnx")
again = session.run(None, {session.get_inputs()[0].name: io["x"]})[0]
for output in (found, again):
    difference = numpy.abs(output - io["y"]).max()
    assert difference <= 1e-5 * numpy.abs(io["y"]).max(), difference
"""


@pytest.mark.parametrize("strategy", ["nodes", "blocks"])
def test_a_saved_result_runs_without_joulecut_and_loads_with_it(tmp_path: Path, strategy: str) -> None:
    from safetensors.torch import save_file

    if strategy == "nodes":
        result = jc.prune_nodes(network(), EXAMPLE, "2.a", share=0.5, ranking="random", seed=4, device=DEVICE)
    else:
        result = jc.remove_blocks(network(), EXAMPLE, ["1", "2"], device=DEVICE)
    folder = tmp_path / "small"
    jc.save(result, folder)
    files = {"before.onnx", "model.onnx", "model.pt2", "recipe.json", "report.html", "result.json"}
    assert {path.name for path in folder.iterdir()} == {*files, "weights.safetensors"}
    loaded = jc.load(folder)
    assert isinstance(loaded, RemovalRecord)
    assert loaded == result.record
    assert isinstance(jc.load(folder / "recipe.json"), Recipe)
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        expected = result.model(x)
    save_file({"x": x, "y": expected}, folder / "io.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    torch.manual_seed(9)
    example = x[:1] if strategy == "blocks" else None
    model = network()
    again = jc.apply(folder, model, example, weights=folder / "weights.safetensors")
    assert (again is model) == (strategy == "nodes")
    with torch.no_grad():
        assert torch.allclose(again(x), expected, atol=1e-6)


def test_what_is_no_recipe_and_no_module_is_told(tmp_path: Path) -> None:
    result = jc.prune_nodes(network(), EXAMPLE, "1.a", count=1, device=DEVICE)
    jc.save(result.record, tmp_path / "result.json")
    with pytest.raises(UsageError, match=r"a RemovalRecord is no recipe. Give recipe.json"):
        jc.apply(tmp_path / "result.json", network())
    with pytest.raises(UsageError, match="applies to a torch module, not to a str"):
        jc.apply(result.recipe, "net.py:network")
    with pytest.raises(UsageError, match="cannot read"):
        jc.apply(tmp_path / "none.json", network())
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="is not JSON"):
        jc.apply(tmp_path / "deep.json", network())
    recipe = json.loads((tmp_path / "result.json").read_text())
    recipe["schema"] = "joulecut/recipe/1"
    (tmp_path / "mixed.json").write_text(json.dumps(recipe))
    with pytest.raises(UsageError, match="is damaged"):
        jc.apply(tmp_path / "mixed.json", network())


def test_removals_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"no node of 1\.a is chosen"):
        jc.prune_nodes(network(), EXAMPLE, "1.a", threshold=0.0, device=DEVICE)
    with pytest.raises(
        UsageError, match=r"no block '0' that can be removed. Blocks and layers that can: 1, 2\."
    ):
        jc.remove_blocks(network(), EXAMPLE, ["0"], device=DEVICE)
    with pytest.raises(UsageError, match="the blocks that go need one choice"):
        jc.remove_blocks(network(), EXAMPLE, [], device=DEVICE)
    with pytest.raises(ModelError, match="no node of 4 can be removed: it is an output of the network"):
        jc.prune_nodes(network(), EXAMPLE, "4", count=1, device=DEVICE)
