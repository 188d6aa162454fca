"""The author's own module cut in place, or refused with the line of the size that stands against it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread, random_kept  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import JoulecutError, ModelError, UsageError
from joulecut.pruning.coupling import Coupling, couple
from joulecut.pruning.user_module import cut_in_place


def coupled(factory: Callable[[], nn.Module], *shape: int) -> tuple[Any, Coupling, Tensor]:
    model, x = build(factory), torch.randn(1, *shape)
    return model, couple(model, x), x


def state(model: nn.Module) -> tuple[dict[str, Tensor], str]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, repr(model)


def assert_untouched(model: nn.Module, before: tuple[dict[str, Tensor], str]) -> None:
    after = state(model)
    assert after[1] == before[1]
    assert after[0].keys() == before[0].keys()
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in after[0].items())


IN_PLACE = [
    "residual", "separable", "dense concat", "grouped", "depth multiplier", "attention", "shuffle",
    "transposed", "conv1d", "conv3d", "perceptron", "called twice", "scaled", "pyramid",
]  # fmt: skip
"""Networks without a size in their code, or with sizes taken from the shape of a tensor."""


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_module_cut_in_place_is_the_cut_graph(name: str) -> None:
    model, coupling, _ = coupled(EXACT[name].build, *EXACT[name].shape)
    names = list(model.state_dict())
    kept = random_kept(coupling, 1)
    cut = coupling.apply(kept)
    model.train()
    cut_in_place(model, coupling, kept, torch.zeros(1, *EXACT[name].shape))
    assert model.training
    assert list(model.state_dict()) == names
    model.eval()
    x = torch.randn(3, *EXACT[name].shape)
    with torch.no_grad():
        assert torch.allclose(model(x), cut(x), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in cut.parameters())
    model.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_layers_of_torch_show_their_new_sizes() -> None:
    model, coupling, x = coupled(EXACT["separable"].build, *EXACT["separable"].shape)
    cut_in_place(model, coupling, {"stem": [0, 2, 3], "point": [1, 4]}, x)
    assert (model.stem.out_channels, model.bn0.num_features) == (3, 3)
    assert (model.depth.in_channels, model.depth.out_channels, model.depth.groups) == (3, 3, 3)
    assert (model.point.in_channels, model.point.out_channels, model.head.in_features) == (3, 2, 2)
    again = couple(model, x)  # and it is a network like any other
    cut_in_place(model, again, {"stem": [0]}, x)
    assert model.depth.groups == 1


class Vision(nn.Module):
    """A vision transformer's layer as it is often written, with heads and width in a reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 4, 4
        self.embed, self.position = nn.Linear(6, 16), nn.Parameter(torch.randn(1, 5, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.project = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.head = nn.Linear(16, 24), nn.Linear(24, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        batch, tokens, _ = x.shape
        y = self.qkv(self.norm1(x))
        q, k, v = y.reshape(batch, tokens, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.project(y.transpose(1, 2).reshape(batch, tokens, -1))
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        logits: Tensor = self.head(x.mean(1))
        return logits


def test_hidden_units_of_a_transformer_go_in_place() -> None:
    model, coupling, x = coupled(Vision, 5, 6)
    cut_in_place(model, coupling, {"up": range(0, 24, 3)}, x)
    assert (model.up.out_features, model.down.in_features) == (8, 8)


def test_heads_of_a_transformer_are_refused_with_the_line() -> None:
    model, coupling, x = coupled(Vision, 5, 6)
    heads = next(
        (g for g in coupling.all_groups() if any("qkv" in p.parameter for p in g.of_role("writer"))), None
    )
    if heads is None:
        pytest.skip("the engine keeps these heads")
    before = state(model)
    with pytest.raises(
        ModelError, match=r"Vision cannot be cut in place: reshape at test_user_module.py:\d+"
    ):
        cut_in_place(model, coupling, {heads.name: range(heads.size - 1)}, x)
    assert_untouched(model, before)


def test_a_size_in_the_code_is_refused_with_the_line() -> None:
    model, coupling, x = coupled(EXACT["flatten"].build, *EXACT["flatten"].shape)
    before = state(model)
    line = r"view at pruning_networks.py:\d+ holds a size that the cut changes\. Take the size"
    with pytest.raises(ModelError, match="Flattening cannot be cut in place: " + line):
        cut_in_place(model, coupling, {"conv": [0, 1, 5]}, x)
    assert_untouched(model, before)
    cut_in_place(model, coupling, {"hidden": [0, 1, 5]}, x)


class Silent(nn.Module):
    """At other sizes it still runs, and gives something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        rest = x[:, 8:]
        logits: Tensor = self.b(torch.cat([x[:, :8], rest.sigmoid()], 1))
        return logits


def test_a_result_that_silently_differs_is_refused() -> None:
    model, coupling, x = coupled(Silent, 4)
    before = state(model)
    with pytest.raises(ModelError, match=r"slice at test_user_module.py:\d+"):
        cut_in_place(model, coupling, {"a": range(4)}, x)
    assert_untouched(model, before)


def test_a_split_in_unequal_parts_is_refused_with_the_line() -> None:
    """A chunk in halves cannot cut 5 and 8 channels where one half loses three."""
    model, coupling, x = coupled(EXACT["halves"].build, *EXACT["halves"].shape)
    before = state(model)
    with pytest.raises(ModelError, match=r"split(_with_sizes)? at pruning_networks.py:\d+ holds a size"):
        cut_in_place(model, coupling, {"a": range(5)}, x)
    assert_untouched(model, before)


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.c.weight = self.b.weight
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.c(self.b(self.a(x).relu()).relu()).relu())
            return logits

    model, coupling, x = coupled(Tied, 4)
    (group,) = coupling.all_groups()
    cut_in_place(model, coupling, {group.name: [0, 5]}, x)
    assert model.c.weight is model.b.weight
    assert model.c.weight.shape == (2, 2)


def test_constants_and_strangers_are_refused() -> None:
    model, coupling, x = coupled(EXACT["perceptron"].build, 12)
    other = nn.Sequential(*copy.deepcopy(list(model)))
    other[3] = nn.Linear(16, 11)
    with pytest.raises(UsageError, match=re.escape("3.weight has shape [11, 16], not [10, 16].")):
        cut_in_place(other, coupling, {"3": [1]}, x)
    with pytest.raises(JoulecutError, match=r"0\.weight is neither a parameter nor a buffer"):
        cut_in_place(nn.Linear(2, 2), coupling, {"0": [1]}, x)
    with pytest.raises(UsageError, match="no group of channels is called 'zero'"):
        cut_in_place(model, coupling, {"zero": [1]}, x)
    with pytest.raises(ModelError, match="a captured graph is not cut in place"):
        cut_in_place(coupling.module, coupling, {"0": [1]}, x)
