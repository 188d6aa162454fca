"""How much each row of a least-squares problem matters to the loss: the gradient that reaches it.

Labels are drawn from the network's own predictions, so the squares of these gradients are those of the true
Fisher information; with the true labels of fitted training data they would vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, fx

from joulecut.pruning.network import Network
from joulecut.pruning.solvable import Rows, targets

__all__ = ["output_gradients", "row_scales"]

_BATCH = 256


def output_gradients(
    network: Network,
    inputs: Tensor,
    names: frozenset[str],
    draws: int,
    seed: int,
    take: Callable[[str, Tensor], None],
) -> None:
    """Gradients of the cross-entropy at the outputs of some nodes, with labels drawn from the predictions.

    Args:
        network: gives logits [samples, classes].
        inputs: samples, treated in batches of 256.
        names: the nodes.
        draws: labels drawn for each sample.
        seed: of the drawing.
        take: called with a node's name and its gradient, for every batch and draw, in the samples' order.
    """
    for start in range(0, len(inputs), _BATCH):
        watched: dict[str, Tensor] = {}

        def watch(node: fx.Node, value: object, watched: dict[str, Tensor] = watched) -> None:
            if node.name in names and isinstance(value, Tensor):
                watched[node.name] = value if value.requires_grad else value.requires_grad_(True)

        with torch.enable_grad():
            logits, _ = network.run(inputs[start : start + _BATCH], after=watch)
            chances = logits.detach().softmax(-1)
            for draw in range(draws):
                generator = torch.Generator().manual_seed(seed + start * draws + draw)
                labels = torch.multinomial(chances, 1, generator=generator)[:, 0]
                loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
                found = torch.autograd.grad(
                    loss, list(watched.values()), retain_graph=draw + 1 < draws, allow_unused=True
                )
                for name, gradient in zip(watched, found, strict=True):
                    if gradient is not None:
                        take(name, gradient)


def row_scales(
    network: Network,
    inputs: Tensor,
    samples: Mapping[str, Rows],
    linear: Mapping[str, bool],
    *,
    share: float,
    draws: int,
) -> dict[str, Tensor]:
    """Square roots of the weights of sampled rows: float [rows, 1] by node.

    A row weighs (1 - share) + share x g / mean(g), with g the norm of the loss gradient at its output,
    root mean square over the draws.
    """
    names = frozenset(samples)
    if share == 0:
        return {name: torch.ones(len(samples[name].sample), 1) for name in names}
    squares: dict[str, list[Tensor]] = {name: [] for name in names}

    def take(name: str, gradient: Tensor) -> None:
        dim = -1 if linear[name] else 1
        squares[name].append(gradient.pow(2).sum(dim, keepdim=True))

    output_gradients(network, inputs, names, draws, 0, take)
    scales: dict[str, Tensor] = {}
    for name, rows in samples.items():
        parts = squares[name]
        if not parts:
            scales[name] = torch.ones(len(rows.sample), 1)
            continue
        energy = torch.cat([sum(parts[i : i + draws], torch.zeros(())) for i in range(0, len(parts), draws)])
        norm = targets(energy, rows, linear[name]).sqrt()
        scales[name] = ((1 - share) + share * norm / norm.mean().clamp_min(1e-12)).sqrt()
    return scales
