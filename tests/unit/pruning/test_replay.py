"""A recipe replayed on the author's class gives the pruned network; one of another network is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, random_kept, relative  # noqa: F401
from safetensors.torch import save
from torch import nn

from joulecut.codec import from_json, to_json
from joulecut.errors import ModelError, UsageError
from joulecut.pruning.blocks import removable_blocks, without_blocks
from joulecut.pruning.coupling import couple
from joulecut.pruning.recipe import Recipe, recipe
from joulecut.pruning.replay import replay
from joulecut.workload.trace import trace
from joulecut.workload.weights_file import load_weights


def cut(name: str, *, blocks: bool = False) -> tuple[torch.fx.GraphModule, Recipe]:
    """A network of the fixed set, cut at random, and its recipe as it comes back from a file."""
    example = torch.zeros(1, *EXACT[name].shape)
    graph = trace(build(EXACT[name].build), example)
    gone = [block.name for block in removable_blocks(graph)] if blocks else []
    coupling = couple(without_blocks(graph, gone))
    kept = random_kept(coupling, 2)
    made = recipe(
        name,
        graph.module,
        device="",
        budget="",
        seed=2,
        groups={group: tuple(channels) for group, channels in kept.items()},
        indices=coupling.indices(kept),
        blocks=gone,
        inputs=[example],
    )
    return coupling.apply(kept), from_json(to_json(made), Recipe)


@pytest.mark.parametrize("name", ["residual", "separable", "grouped", "attention", "scaled", "perceptron"])
def test_a_recipe_cuts_the_authors_class(name: str) -> None:
    pruned, made = cut(name)
    model = build(EXACT[name].build)
    again = replay(made, model)
    assert again is model
    x = torch.randn(3, *EXACT[name].shape)
    with torch.no_grad():
        assert relative(again(x), pruned(x)) < 1e-5


def test_weights_that_were_refitted_load_into_it(tmp_path: Path) -> None:
    pruned, made = cut("residual")
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.mul_(1.5)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(save({name: tensor.contiguous() for name, tensor in pruned.state_dict().items()}))
    model = build(EXACT["residual"].build, seed=5)  # other weights: only the class is the same
    replay(made, model)
    load_weights(model, file)
    x = torch.randn(3, *EXACT["residual"].shape)
    with torch.no_grad():
        assert relative(model(x), pruned(x)) < 1e-5
    with pytest.raises(UsageError, match=r"weights.safetensors has no 0\.weight: it is not of Sequential"):
        load_weights(build(EXACT["perceptron"].build), file)
    said = r"a.weight has the shape \[.*\] in .* and \[6, 8, 3, 3\] in the network"
    with pytest.raises(UsageError, match=said):
        load_weights(build(EXACT["residual"].build), file)
    with pytest.raises(UsageError, match="cannot read"):
        load_weights(model, tmp_path / "none.safetensors")


def test_where_the_code_holds_a_size_the_graph_comes_back() -> None:
    pruned, made = cut("flatten")
    model = build(EXACT["flatten"].build)
    names = {name: tensor.shape for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match=r"view at pruning_networks.py:\d+ .* Give an example input"):
        replay(made, model)
    again = replay(made, model, torch.zeros(1, *EXACT["flatten"].shape))
    assert isinstance(again, torch.fx.GraphModule)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == names
    x = torch.randn(3, *EXACT["flatten"].shape)
    with torch.no_grad():
        assert relative(again(x), pruned(x)) < 1e-6


def test_blocks_are_left_out_again() -> None:
    pruned, made = cut("residual", blocks=True)
    assert len(made.blocks) == 1
    model = build(EXACT["residual"].build)
    with pytest.raises(ModelError, match="its code calls the block"):
        replay(made, model)
    x = torch.randn(3, *EXACT["residual"].shape)
    with torch.no_grad():
        assert relative(replay(made, model, x[:1])(x), pruned(x)) < 1e-6
    with pytest.raises(UsageError, match="no block 'layer9'"):
        replay(replace(made, blocks=("layer9",)), model)


def changed(made: Recipe, parameter: str, dims: dict[str, tuple[int, ...]]) -> Recipe:
    return replace(made, kept={**made.kept, parameter: dims})


HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "beyond": ("0.weight", {"0": (0, 99)}, "dimension 0 of 0.weight has 16 indices, and it keeps number 99"),
    "negative": ("0.weight", {"0": (-1, 2)}, "does not keep 0.weight in ascending order"),
    "twice": ("0.weight", {"0": (2, 2)}, "does not keep 0.weight in ascending order"),
    "nothing": ("0.weight", {"0": ()}, "does not keep 0.weight in ascending order"),
    "no dimension": ("0.weight", {"7": (0,)}, "0.weight has no dimension '7'"),
    "huge dimension": ("0.weight", {"9" * 5000: (0,)}, "0.weight has no dimension '999"),
    "a word": ("0.weight", {"__class__": (0,)}, "0.weight has no dimension '__class__'"),
    "a path": ("../../etc/passwd", {"0": (0,)}, "no weight '../../etc/passwd'"),
    "an attribute": ("0.__class__", {"0": (0,)}, "no weight '0.__class__'"),
    "torn apart": ("0.weight", {"0": (1, 3)}, "does not go together with the rest"),
    "not a channel": ("6.weight", {"0": (0, 1)}, "what it keeps of 6.weight does not go together"),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_a_recipe_that_does_not_fit_is_refused_and_changes_nothing(case: str) -> None:
    _, made = cut("perceptron")
    parameter, dims, says = HOSTILE[case]
    model = build(EXACT["perceptron"].build)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UsageError) as refused:
        replay(changed(made, parameter, dims), model)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_that_is_cut_already_is_told_apart() -> None:
    _, made = cut("perceptron")
    model = build(EXACT["perceptron"].build)
    replay(made, model)
    with pytest.raises(UsageError, match="at its original widths"):
        replay(made, model)
    with pytest.raises(UsageError, match=r"does not fit Linear, which has no weight '0.weight'"):
        replay(made, nn.Linear(2, 2))
    with pytest.raises(UsageError, match="give an example input"):
        replay(replace(made, inputs=""), build(EXACT["perceptron"].build))
