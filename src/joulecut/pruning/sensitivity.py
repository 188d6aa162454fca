"""How much each row of a least-squares problem matters to the loss: the gradient that reaches it.

Labels are drawn from the network's own predictions, so the squares of these gradients are those of the true
Fisher information; with the true labels of fitted training data they would vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.groups import ParameterSlice
from joulecut.pruning.network import Network
from joulecut.pruning.solvable import Rows, sample_rows, targets

__all__ = ["Sampled", "gate_costs", "output_gradients", "sampled", "sampled_loss"]

_BATCH: Final = 256
_TOGETHER: Final = 8
"""Samples whose gradients are added before they are squared."""


def sampled_loss(logits: Tensor, seed: int) -> Tensor:
    """Cross-entropy with labels drawn from the predictions, summed over all samples (and tokens, pixels).

    Classes lie along the last dimension, of maps [samples, classes, height, width] along the second.
    """
    classes = (logits.movedim(1, -1) if logits.ndim > 3 else logits).reshape(-1, _classes(logits))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(classes.detach().softmax(-1), 1, generator=generator)[:, 0]
    return torch.nn.functional.cross_entropy(classes, labels, reduction="sum")


def _classes(logits: Tensor) -> int:
    return logits.shape[1] if logits.ndim > 3 else logits.shape[-1]


def output_gradients(
    network: Network,
    inputs: Tensor,
    names: frozenset[str],
    draws: int,
    seed: int,
    take: Callable[[str, Tensor], None],
    see: Callable[[str, Tensor], None] | None = None,
) -> None:
    """Gradients of the cross-entropy at the outputs of some nodes, with labels drawn from the predictions.

    Args:
        network: gives logits.
        inputs: samples, treated in batches of 256 at most.
        names: the nodes.
        draws: labels drawn for each sample.
        seed: of the drawing.
        take: called with a node's name and its gradient, for every batch and draw, in the samples' order.
        see: called with a node's name and its value, for every batch.
    """
    size = _batch(network, names, len(inputs))
    for start in range(0, len(inputs), size):
        watched: dict[str, Tensor] = {}

        def watch(node: fx.Node, value: object, watched: dict[str, Tensor] = watched) -> None:
            if node.name in names and isinstance(value, Tensor):
                watched[node.name] = value if value.requires_grad else value.requires_grad_(True)
                if see is not None:
                    see(node.name, value.detach())

        with torch.enable_grad():
            logits, _ = network.run(inputs[start : start + size], after=watch)
            for draw in range(draws):
                loss = sampled_loss(logits, seed + start * draws + draw)
                found = torch.autograd.grad(
                    loss, list(watched.values()), retain_graph=draw + 1 < draws, allow_unused=True
                )
                for name, gradient in zip(watched, found, strict=True):
                    if gradient is not None:
                        take(name, gradient)


def gate_costs(
    network: Network,
    inputs: Tensor,
    slices: Mapping[str, Sequence[tuple[ParameterSlice, Tensor]]],
    seed: int,
) -> dict[str, Tensor]:
    """Rise of the loss when a channel's weights become 0, to second order: half the Fisher information.

    A gate on a channel multiplies its slices of some parameters; its derivative is the sum of weight x
    gradient. With labels drawn from the predictions these derivatives have mean 0 and samples are
    independent, so the square of a sum over eight samples is, on average, the sum of their squares. It works
    whatever reads the weights: recurrent layers, transposed convolutions, einsum.

    Args:
        network: gives logits.
        inputs: samples.
        slices: by group, the slices with the positions of the living channels in each, int64 [width, k].
        seed: of the drawing.

    Returns:
        By group, nats for each living channel, float64 [width].
    """
    names = sorted({part.parameter for parts in slices.values() for part, _ in parts})
    if not names:
        return {}
    open_weights = {name: network.weights[name].detach().clone().requires_grad_(True) for name in names}
    open_network = network.with_weights(open_weights)
    total: dict[str, Tensor] = {}
    for start in range(0, len(inputs), _TOGETHER):
        with torch.enable_grad():
            logits, _ = open_network.run(inputs[start : start + _TOGETHER])
            found = torch.autograd.grad(
                sampled_loss(logits, seed + start), list(open_weights.values()), allow_unused=True
            )
        gradients = dict(zip(names, found, strict=True))
        for group, parts in slices.items():
            derivative = sum(_derivatives(network, parts, gradients), torch.zeros((), dtype=torch.float64))
            total[group] = total.get(group, torch.zeros((), dtype=torch.float64)) + derivative.square()
    return {group: 0.5 * squares / len(inputs) for group, squares in total.items()}


def _derivatives(
    network: Network,
    parts: Iterable[tuple[ParameterSlice, Tensor]],
    gradients: Mapping[str, Tensor | None],
) -> Iterator[Tensor]:
    """Weight x gradient of each slice, summed by channel: float64 [width]."""
    for part, positions in parts:
        gradient = gradients[part.parameter]
        if gradient is not None:
            product = (network.weights[part.parameter] * gradient).movedim(part.dim, 0)
            yield product.reshape(len(product), -1).double().sum(1)[positions].sum(1)


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Rows of the outputs of some nodes, by node name.

    Attributes:
        samples: which rows.
        rows: float [rows, channels].
        scales: square roots of the rows' weights, float [rows, 1].
    """

    samples: dict[str, Rows]
    rows: dict[str, Tensor]
    scales: dict[str, Tensor]


def sampled(
    network: Network,
    inputs: Tensor,
    linear: Mapping[str, bool],
    caps: Mapping[str, int],
    *,
    share: float,
    draws: int,
) -> Sampled:
    """Sample rows of the outputs of some nodes, and weigh them by the loss gradient that reaches them.

    Args:
        network: gives logits where rows are weighed.
        inputs: calibration samples.
        linear: by node, whether its channels lie along its last dimension (else along the second).
        caps: most rows by node.
        share: how far a row's weight follows the gradient, 0 to 1: a row weighs
            (1 - share) + share x g / mean(g), with g the norm of the loss gradient at its output, root mean
            square over the draws.
        draws: labels drawn for each sample.
    """
    samples: dict[str, Rows] = {}
    seen: dict[str, int] = dict.fromkeys(linear, 0)
    rows: dict[str, list[Tensor]] = {name: [] for name in linear}
    squares: dict[str, list[Tensor]] = {name: [] for name in linear}
    size = _batch(network, frozenset(linear), len(inputs))

    def see(name: str, value: Tensor) -> None:
        if name not in samples:
            total = len(value) * len(inputs) // min(size, len(inputs))
            samples[name] = sample_rows((total, *value.shape[1:]), linear[name], caps[name])
        inside = samples[name].between(seen[name], seen[name] + len(value))
        rows[name].append(targets(value, inside, linear[name]))
        seen[name] += len(value)

    def take(name: str, gradient: Tensor) -> None:
        squares[name].append(gradient.pow(2).sum(-1 if linear[name] else 1, keepdim=True))

    if share:
        output_gradients(network, inputs, frozenset(linear), draws, 0, take, see)
    else:
        for start in range(0, len(inputs), size):
            with torch.no_grad():
                network.run(inputs[start : start + size], after=_only(frozenset(linear), see))
    scales = {
        name: _scale(squares[name], found, linear[name], share, draws) for name, found in samples.items()
    }
    return Sampled(samples, {name: torch.cat(pieces) for name, pieces in rows.items() if pieces}, scales)


def _batch(network: Network, names: frozenset[str], samples: int) -> int:
    """Samples that run together."""
    return min(network.axes.size, _BATCH, samples) if network.axes.splits(names) else samples


def _only(names: frozenset[str], see: Callable[[str, Tensor], None]) -> Callable[[fx.Node, object], None]:
    def after(node: fx.Node, value: object) -> None:
        if node.name in names and isinstance(value, Tensor):
            see(node.name, value)

    return after


def _scale(parts: list[Tensor], rows: Rows, linear: bool, share: float, draws: int) -> Tensor:
    """From squared gradients of each batch and draw to the square roots of the weights of some rows."""
    if not parts:
        return torch.ones(len(rows.sample), 1)
    energy = torch.cat([sum(parts[i : i + draws], torch.zeros(())) for i in range(0, len(parts), draws)])
    norm = targets(energy, rows, linear).sqrt()
    return ((1 - share) + share * norm / norm.mean().clamp_min(1e-12)).sqrt()
