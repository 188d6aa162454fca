"""Rankings: scores worked out by hand on networks of a few weights."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import one_thread  # noqa: F401
from torch import Tensor, nn

from joulecut.errors import UsageError
from joulecut.pruning.coupling import couple
from joulecut.pruning.network import Network
from joulecut.pruning.rankings import (
    RANKINGS,
    Context,
    Ranking,
    by_weights,
    check_per_joule,
    find_ranking,
    written,
)


def two_layers() -> Context:
    """One input, hidden (2, 1), logits (2, 2): a hidden channel's gate moves the logits by (2, 0) or (0, 2).

    At probabilities of one half each and label 0 the gates' derivatives are (-1, 1), at label 1 (1, -1).
    """
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 2, bias=False))
    for layer, rows in zip(model, ([[2.0], [1.0]], [[1.0, 0.0], [0.0, 2.0]]), strict=True):
        layer.weight.data = torch.tensor(rows)
    x = torch.ones(3, 1)
    return Context(Network.whole(couple(model, x[:1])), x, torch.tensor([0, 0, 1]))


class Sum(nn.Module):
    """Two layers write the same channels: rows (3, 0) and (4), then (0, 1) and (0)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(2, 2), nn.Linear(1, 2), nn.Linear(2, 2)
        self.a.weight.data = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        self.b.weight.data = torch.tensor([[4.0], [0.0]])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.a(x[:, :2]) + self.b(x[:, 2:]))
        return y


def summed() -> Context:
    x = torch.zeros(1, 3)
    return Context(Network.whole(couple(Sum(), x)), x)


def test_taylor_is_the_absolute_mean_of_the_derivatives() -> None:
    """(-1 - 1 + 1) / 3 and its negative."""
    assert RANKINGS["taylor"].scores(two_layers())["0"].tolist() == pytest.approx([1 / 3, 1 / 3])


def test_fisher_is_half_the_mean_square_whatever_labels_are_drawn() -> None:
    for seed in range(3):
        context = two_layers()
        scores = RANKINGS["fisher"].scores(Context(context.network, context.inputs, None, seed))
        assert scores["0"].tolist() == pytest.approx([0.5, 0.5])


def test_norms_see_all_that_writes_a_channel_and_are_scaled_by_the_mean() -> None:
    context = summed()
    group = context.network.coupling.all_groups()[0]
    assert sorted(map(sorted, written(context.network, group).tolist())) == [[0, 0, 1], [0, 3, 4]]
    assert RANKINGS["l1"].scores(context)[group.name].tolist() == pytest.approx([7 / 4, 1 / 4])
    assert RANKINGS["l2"].scores(context)[group.name].tolist() == pytest.approx([5 / 3, 1 / 3])


def test_scores_are_of_the_living_channels() -> None:
    context = two_layers()
    cut = context.network.cut(context.network.coupling.all_groups()[0], [0])
    for name in ("random", "l1", "l2", "fisher", "obs"):
        assert RANKINGS[name].scores(Context(cut, context.inputs))["0"].shape == (1,)


def test_random_scores_follow_the_seed() -> None:
    context = summed()

    def scores(seed: int) -> list[float]:
        return RANKINGS["random"].scores(Context(context.network, context.inputs, None, seed))["a"].tolist()

    assert scores(1) == scores(1) != scores(2)


def test_a_function_of_weights_is_a_ranking() -> None:
    def last(weights: Tensor) -> Tensor:
        return weights[:, -1] + 1

    found = find_ranking(last)
    assert (found.name, found.nats) == ("last", False)
    assert found.scores(summed())["a"].tolist() == pytest.approx([5 / 3, 1 / 3])


def test_a_ranking_of_the_users_own_sees_the_whole_context() -> None:
    def by_index(context: Context) -> dict[str, Tensor]:
        return {
            g.name: torch.arange(g.size) * len(context.inputs) for g in context.network.coupling.all_groups()
        }

    own = Ranking("by index", by_index, nats=True)
    assert find_ranking(own) is own
    check_per_joule(own)
    assert own.scores(two_layers())["0"].tolist() == [0, 3]


@pytest.mark.parametrize("name", ["random", "l1", "l2"])
def test_scores_that_are_no_losses_are_not_divided_by_joules(name: str) -> None:
    with pytest.raises(UsageError, match=f"the scores of {name} are no losses, so they cannot be divided"):
        check_per_joule(find_ranking(name))


def test_losses_are() -> None:
    for name in ("taylor", "fisher", "obs"):
        check_per_joule(find_ranking(name))


def test_what_does_not_make_sense() -> None:
    context = summed()
    with pytest.raises(UsageError, match=r"no ranking 'l3'. Rankings: random, l1, l2, taylor, fisher, obs\."):
        find_ranking("l3")
    with pytest.raises(UsageError, match="the taylor ranking needs labelled calibration data"):
        RANKINGS["taylor"].scores(context)
    for wrong in (lambda weights: weights, lambda weights: weights[:, 0] / 0, lambda _: [1.0, 2.0]):
        with pytest.raises(UsageError, match="must give 2 finite scores, one for each channel"):
            by_weights("wrong", wrong).scores(context)  # type: ignore[arg-type]
