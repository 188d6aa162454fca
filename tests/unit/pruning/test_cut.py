"""Cut graphs: sizes rewritten, names kept, trainable, and saved to run without joulecut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, captured, one_thread, relative  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.export import export_pt2
from joulecut.benchmarks.training import finetune
from joulecut.errors import ModelError
from joulecut.pruning.coupling.cut import check_runs
from joulecut.pruning.coupling.engine import couple
from joulecut.workload.trace import operation


class Sizes(nn.Module):
    """Every operation whose arguments hold a channel count."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gain = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(12, 12)
        self.norm = nn.LayerNorm([8, 4, 4])
        self.left, self.right = nn.Linear(3 * 16, 5), nn.Linear(5, 5)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        x = x * self.gain(x.mean((2, 3))).view(-1, 12, 1, 1).expand(-1, 12, 4, 4)
        first = self.norm(x[:, :8])
        last = self.depth(x[:, 8:12])
        a, b = first.split([3, 5], 1)
        y = self.left(a.reshape(-1, 3 * 16)) + self.right(torch.unflatten(b.flatten(1), 1, (5, 16)).mean(2))
        return y + last.mean((1, 2, 3))[:, None]


def arguments(module: torch.fx.GraphModule, name: str) -> list[list[Any]]:
    """The plain arguments of each node of an operation."""
    return [
        [a for a in node.args if not isinstance(a, torch.fx.Node)]
        for node in module.graph.nodes
        if node.op == "call_function" and operation(node) == name
    ]


def test_every_size_in_the_graph_is_rewritten() -> None:
    """Of channels 0-2, 3-7 and 8-11 the first, fifth and last two go: 2, 4 and 2 are left."""
    model = build(Sizes)
    coupling = couple(model, torch.zeros(1, 3, 4, 4))
    sizes = {group.name: group.size for group in coupling.all_groups()}
    assert sizes == {"a": 3, "a#2": 5, "a#3": 4}
    cut = coupling.apply({"a": [1, 2], "a#2": [0, 1, 2, 3], "a#3": [0, 1]})
    assert [args[0][1] for args in arguments(cut, "reshape")] == [8, 2 * 16]
    assert arguments(cut, "expand") == [[[-1, 8, 4, 4]]]
    assert arguments(cut, "split_with_sizes") == [[[2, 4], 1]]
    assert [args for args in arguments(cut, "slice") if args[0] == 1] == [[1, 0, 6], [1, 6, 8]]
    assert arguments(cut, "layer_norm")[0][0] == [6, 4, 4]
    assert arguments(cut, "unflatten") == [[1, [4, 16]]]
    assert arguments(cut, "conv2d")[-1][-1] == 2  # groups of the depthwise convolution
    assert cut(torch.zeros(7, 3, 4, 4)).shape == (7, 5)
    assert list(cut.state_dict()) == list(couple(model, torch.zeros(1, 3, 4, 4)).module.state_dict())
    assert set(cut.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("name", sorted(EXACT))
def test_parameters_keep_their_names_and_the_original_is_left_alone(name: str) -> None:
    model, _, coupling = captured(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    kept = {group.name: [0] for group in coupling.all_groups()}
    cut = coupling.apply(kept)
    assert set(cut.state_dict()) == set(before)
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())
    indices = coupling.indices(kept)
    for key, tensor in cut.state_dict().items():
        expected = before[key]
        for dim, at in indices.get(key, {}).items():
            expected = expected.index_select(dim, torch.tensor(at))
        assert torch.equal(tensor, expected)
        assert key in indices or tensor.shape == before[key].shape


def easy(count: int, shape: tuple[int, ...]) -> Dataset:
    """Two classes, told apart by the sign of the mean."""
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
    labels = (x.flatten(1).mean(1) > 0).long()
    return Dataset("easy", x + labels.reshape(-1, *[1] * len(shape)), labels, 2)


@pytest.mark.parametrize("name", ["residual", "perceptron", "gated"])
def test_a_cut_graph_trains(name: str) -> None:
    _, _, coupling = captured(name)
    cut = coupling.apply({group.name: range(0, group.size, 2) for group in coupling.all_groups()})
    data = easy(256, EXACT[name].shape)
    before = {key: tensor.clone() for key, tensor in cut.state_dict().items()}
    with torch.no_grad():
        untrained = float(functional.cross_entropy(cut(data.inputs), data.labels))
    finetune(cut, data, epochs=20, lr=0.05, seed=0)
    with torch.no_grad():
        trained = float(functional.cross_entropy(cut(data.inputs), data.labels))
    assert trained < 0.5 * untrained
    for key, tensor in cut.named_parameters():
        assert not torch.equal(tensor, before[key]), key
    for key in (key for key in before if key.endswith("running_mean")):
        assert not torch.equal(cut.state_dict()[key], before[key]), key


RUN = """
import sys
sys.modules["joulecut"] = None
import torch
program = torch.export.load(sys.argv[1])
x, expected = torch.load(sys.argv[2], weights_only=True)
found = program.module()(x)
assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max()), found - expected
"""


def test_a_saved_cut_graph_runs_in_a_process_without_joulecut(tmp_path: Path) -> None:
    model = build(EXACT["residual"].build)
    example = (torch.zeros(1, 3, 8, 8),)
    coupling = couple(model, example)
    cut = coupling.apply({group.name: range(0, group.size, 2) for group in coupling.all_groups()})
    export_pt2(cut, example, tmp_path / "model.pt2")
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        torch.save((x, cut(x)), tmp_path / "io.pt")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "model.pt2"), str(tmp_path / "io.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_cut_is_told_in_one_sentence() -> None:
    coupling = couple(build(EXACT["perceptron"].build), torch.zeros(1, 12))
    with pytest.raises(ModelError, match=r"returns \(2, 4\) instead of \(2, 5\)"):
        check_runs(coupling.module, (torch.zeros(2, 12),), (2, 5))
    with pytest.raises(ModelError, match="not finite"):
        check_runs(coupling.module, (torch.full((2, 12), torch.nan),), (2, 4))
    with pytest.raises(ModelError, match="does not run"):
        check_runs(coupling.module, (torch.zeros(2, 13),), (2, 4))
