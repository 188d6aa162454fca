"""The network of the search, cut step by step, against the graph that is cut once."""

from __future__ import annotations

import functools

import pytest
import torch
from pruning_networks import EXACT, captured, one_thread, random_kept, relative  # noqa: F401
from torch import Tensor

from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network


@functools.cache
def network(name: str) -> Network:
    return Network.whole(Coupling(fold(captured(name)[1].module)[0]))


def samples(name: str, count: int = 6) -> Tensor:
    return torch.randn(count, *EXACT[name].shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(EXACT))
def test_cutting_group_by_group_and_in_halves_gives_the_graph_cut_at_once(name: str) -> None:
    whole, x = network(name), samples(name)
    kept = random_kept(whole.coupling, 3)
    cut = whole
    for group in whole.coupling.all_groups():
        gone = [c for c in range(group.size) if c not in kept[group.name]]
        cut = cut.cut(group, gone[::2]).cut(group, gone[1::2])
        assert cut.width(group) == len(kept[group.name])
    with torch.no_grad():
        assert relative(cut(x), whole.coupling.apply(kept)(x)) < 1e-6


@pytest.mark.parametrize("name", sorted(EXACT))
def test_folded_and_unfolded_networks_have_the_same_groups(name: str) -> None:
    assert [(g.name, g.size) for g in captured(name)[2].all_groups()] == [
        (g.name, g.size) for g in network(name).coupling.all_groups()
    ]


@pytest.mark.parametrize("name", ["residual", "split", "attention", "pyramid"])
def test_values_kept_from_a_run_stay_and_can_be_cut(name: str) -> None:
    """What a candidate leaves unchanged is cut from the values at hand, and equals running it anew."""
    whole, x = network(name), samples(name)
    with torch.no_grad():
        logits, values = whole.run(x, keep=None)
        copies = {key: value.clone() for key, value in values.items() if isinstance(value, Tensor)}
        for group in whole.coupling.all_groups():
            smaller = whole.cut(group, [0, 2])
            _, fresh = smaller.run(x, keep=None)
            stem = [n for n in whole.coupling.module.graph.nodes if n.name == "conv2d"]
            cut = whole.sliced_values(values, smaller, stem)
            assert relative(cut["conv2d"], fresh["conv2d"]) < 1e-6
        assert torch.equal(whole.run(x, known=values)[0], logits)
    assert all(torch.equal(values[key], value) for key, value in copies.items())


def test_positions_follow_the_channels_through_a_flatten() -> None:
    """Six channels of 4 x 4: channel c fills columns 16 c to 16 c + 15; without 0 and 3 they close up."""
    whole = network("flatten")
    group = next(g for g in whole.coupling.all_groups() if g.name == "conv")
    (part,) = (s for s in group.slices if s.parameter == "hidden.weight")
    cut = whole.cut(group, [0, 3])
    assert cut.kept["conv"] == (1, 2, 4, 5)
    assert cut.weights["hidden.weight"].shape == (10, 64)
    assert cut.positions(part, group).tolist() == [list(range(16 * i, 16 * i + 16)) for i in range(4)]
