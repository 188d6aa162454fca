"""Rankings: what each channel of each group is worth, behind one protocol. The lowest score goes first.

A ranking whose scores are rises of the loss in nats can be divided by the joules that a removal saves. One
that knows only weights cannot: its scores compare channels of one group, and are scaled by the group's mean
so that groups can stand in one order at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from joulecut.errors import UsageError
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.gates import fisher_costs, gate_derivatives
from joulecut.pruning.network import Network
from joulecut.pruning.obs import removal_costs

__all__ = [
    "NORMS",
    "RANKINGS",
    "Context",
    "Ranking",
    "Scores",
    "WeightScore",
    "by_weights",
    "check_per_joule",
    "find_ranking",
]

Scores = Mapping[str, Tensor]
"""By group a score for each living channel: float64 [width]. A group that is missing stays whole."""

WeightScore = Callable[[Tensor], Tensor]
"""A score for each channel from the weights that write it: [channels, weights] to [channels]."""


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a ranking may look at.

    Attributes:
        network: the network now, its batch norms folded.
        inputs: calibration samples.
        labels: their classes, or None.
        seed: of everything drawn.
    """

    network: Network
    inputs: Tensor
    labels: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """A way to score channels.

    Attributes:
        name: as on the command line.
        scores: the scores in a context.
        nats: the scores are rises of the loss in nats when one channel goes, so joules can divide them.
    """

    name: str
    scores: Callable[[Context], Scores]
    nats: bool


def _random(context: Context) -> Scores:
    """Uniform scores: the floor that any ranking must beat."""
    generator = torch.Generator().manual_seed(context.seed)
    groups = context.network.coupling.all_groups()
    return {
        group.name: torch.rand(context.network.width(group), generator=generator, dtype=torch.float64)
        for group in groups
    }


def _taylor(context: Context) -> Scores:
    """First order of the loss in the gate: |mean over samples of value x gradient|.

    Molchanov et al. 2017 (Pruning Convolutional Neural Networks for Resource Efficient Inference, eq. 8),
    whose square is the criterion of Molchanov et al. 2019 (Importance Estimation for Neural Network
    Pruning, eq. 8). With labels drawn from the network's own predictions its mean is 0, so it needs labels.
    """
    if context.labels is None:
        raise UsageError(
            "the taylor ranking needs labelled calibration data:", hint="rank by fisher without labels."
        )
    found = gate_derivatives(context.network, context.inputs, context.labels, seed=context.seed)
    return {name: derivative.mean(0).abs() for name, derivative in found.items()}


def _fisher(context: Context) -> Scores:
    """Second order of the loss in the gate: half the mean over samples of (value x gradient)^2.

    Theis et al. 2018 (Faster gaze prediction with dense networks and Fisher pruning, eq. 7); for channels
    that go together Liu et al. 2021 (Group Fisher Pruning, eq. 6). Labels are drawn from the network's own
    predictions: with those of fitted training data the gradients vanish.
    """
    return fisher_costs(context.network, context.inputs, seed=context.seed)


def _obs(context: Context) -> Scores:
    """What is lost when one channel goes and all that read it are solved anew (Hassibi & Stork 1993).

    The Hessian of a layer is the Gram of its inputs times the covariance of the loss gradient at its output
    (Martens & Grosse 2015, K-FAC).
    """
    return removal_costs(context.network, context.inputs, seed=context.seed)


def by_weights(name: str, score: WeightScore) -> Ranking:
    """A ranking from a function of the weights that write each channel.

    All weights that write a channel are scored as one row, and the scores of a group are divided by their
    mean.

    Raises:
        UsageError: when scoring, where the function does not give one finite score for each channel.

    >>> from joulecut.pruning.coupling import couple
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1))
    >>> model[0].weight.data = torch.tensor([[3.0], [-1.0]])
    >>> x = torch.zeros(1, 1)
    >>> l1 = by_weights("l1", lambda weights: weights.abs().sum(1))
    >>> l1.scores(Context(Network.whole(couple(model, x)), x))["0"]
    tensor([1.5000, 0.5000], dtype=torch.float64)
    """

    def scores(context: Context) -> Scores:
        found: dict[str, Tensor] = {}
        for group in context.network.coupling.all_groups():
            of_group = checked(score(written(context.network, group)), context.network.width(group))
            mean = float(of_group.mean())
            found[group.name] = of_group / mean if mean > 0 else of_group
        return found

    return Ranking(name, scores, nats=False)


def written(network: Network, group: Group) -> Tensor:
    """The weights that write each living channel, one row a channel: float [width, weights]."""
    rows = []
    for part in group.of_role("writer"):
        weight = network.weights[part.parameter]
        if weight.ndim > 1:
            by_row = weight.movedim(part.dim, 0).flatten(1)
            rows.append(by_row[network.positions(part, group)].flatten(1))
    return torch.cat(rows, 1) if rows else torch.zeros(network.width(group), 0)


def checked(scores: object, count: int) -> Tensor:
    """Scores of a user's function: one finite number for each of ``count`` channels.

    Raises:
        UsageError: they are not.
    """
    if not isinstance(scores, Tensor) or scores.shape != (count,) or not bool(scores.isfinite().all()):
        raise UsageError(f"the ranking must give {count} finite scores, one for each channel.")
    return scores.detach().double()


NORMS: Final[dict[str, WeightScore]] = {
    "l1": lambda weights: weights.abs().sum(1),
    "l2": lambda weights: weights.square().sum(1).sqrt(),
}
"""Norms of the weights that write a channel (L1: Li et al. 2017, Pruning Filters for Efficient ConvNets)."""

RANKINGS: Final[dict[str, Ranking]] = {
    "random": Ranking("random", _random, nats=False),
    **{name: by_weights(name, norm) for name, norm in NORMS.items()},
    "taylor": Ranking("taylor", _taylor, nats=True),
    "fisher": Ranking("fisher", _fisher, nats=True),
    "obs": Ranking("obs", _obs, nats=True),
}
"""The rankings that the command line knows by name."""


def find_ranking(given: str | Ranking | WeightScore) -> Ranking:
    """The ranking of a name, of a function of weights, or the given one itself.

    Raises:
        UsageError: no such name.

    >>> find_ranking("fisher").nats, find_ranking("l2").nats
    (True, False)
    """
    if isinstance(given, Ranking):
        return given
    if not isinstance(given, str):
        return by_weights(getattr(given, "__name__", "the given function"), given)
    if given not in RANKINGS:
        raise UsageError(f"there is no ranking {given[:40]!r}.", hint=f"Rankings: {', '.join(RANKINGS)}.")
    return RANKINGS[given]


def check_per_joule(ranking: Ranking) -> None:
    """Refuse to divide scores that are no losses by joules.

    Raises:
        UsageError: the ranking does not speak of the loss.
    """
    if not ranking.nats:
        raise UsageError(
            f"the scores of {ranking.name} are no losses, so they cannot be divided by joules:",
            hint="rank globally, or by fisher, taylor or obs.",
        )
