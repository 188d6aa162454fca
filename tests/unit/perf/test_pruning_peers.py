"""The peers of perf.pruning that choose widths, on networks small enough to try every width."""

from __future__ import annotations

import itertools

import pytest
import torch
from perf.pruning_halp import knapsack
from perf.pruning_refit import global_l2
from perf.pruning_widths import Space, best_channels, l2_scores, nearest
from perf.small_networks import small_mobilenet, small_transformer
from torch import nn

from joulecut.hw_models.catalogue import device
from joulecut.pruning.coupling.engine import couple
from joulecut.workload.trace import trace


@pytest.fixture(scope="module")
def space() -> Space:
    """Two groups in a chain, of 16 and 12 channels, and their steps of 4."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    graph = trace(nn.Sequential(*layers).eval(), torch.zeros(1, 1, 5, 5))
    return Space(graph, device("reference/edge/float32"))


def test_widths_are_steps_of_the_device(space: Space) -> None:
    assert space.options("0") == [4, 8, 12, 16]
    assert space.options("2") == [4, 8, 12]
    assert [nearest(space, "0", share) for share in (1.0, 0.9, 0.6, 0.1)] == [16, 16, 8, 4]


def test_best_channels_keep_the_highest_scores_in_order() -> None:
    scores = {"a": torch.tensor([3.0, 1.0, 2.0, 3.0])}
    assert best_channels({"a": 3}, scores) == {"a": [0, 2, 3]}


def test_l2_scores_are_squares_of_the_weights_that_write_and_read(space: Space) -> None:
    writes = space.coupling.module.get_parameter("0.weight").detach()
    reads = space.coupling.module.get_parameter("2.weight").detach()
    squares = [float(writes[c].square().sum() + reads[:, c].square().sum()) for c in range(16)]
    expected = [square / (sum(squares) / 16) for square in squares]
    assert l2_scores(space.coupling, space.coupling.module)["0"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.35])
def test_knapsack_meets_the_true_price_with_about_the_most_score(space: Space, share: float) -> None:
    scores = {"0": torch.rand(16), "2": torch.rand(12)}
    chosen = knapsack(space, space.sizes, scores, share)
    assert chosen is not None
    assert space.share(chosen) <= share

    def worth(widths: dict[str, int]) -> float:
        return sum(float(scores[name].sort(descending=True).values[:w].sum()) for name, w in widths.items())

    every = ({"0": a, "2": b} for a, b in itertools.product(space.options("0"), space.options("2")))
    best = max(worth(widths) for widths in every if space.share(widths) <= share)
    assert worth(chosen) >= 0.9 * best


def test_knapsack_says_when_no_width_is_narrow_enough(space: Space) -> None:
    assert knapsack(space, space.sizes, {"0": torch.rand(16), "2": torch.rand(12)}, 0.01) is None


def test_global_l2_takes_the_weakest_step_first(space: Space) -> None:
    scores = {"0": torch.ones(16), "2": torch.tensor([0.1] * 4 + [1.45] * 8)}
    kept = global_l2(space, scores, space.share({"0": 16, "2": 8}))
    assert kept == {"0": list(range(16)), "2": list(range(4, 12))}


@pytest.mark.parametrize("factory", [small_mobilenet, small_transformer])
def test_small_networks_can_be_cut(factory: type[nn.Module]) -> None:
    coupling = couple(factory().eval(), torch.zeros(1, 1, 28, 28))
    kept = {group.name: list(range(group.size // 2)) for group in coupling.all_groups()}
    assert len(kept) >= 7
    assert coupling.apply(kept)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
