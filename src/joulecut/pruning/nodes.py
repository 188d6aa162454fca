"""Node pruning: some nodes (output channels, units) of one given layer, with all that must go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

import torch
from torch import Tensor

from joulecut.errors import ModelError, UsageError
from joulecut.pruning.coupling import Coupling, Group, ParameterSlice
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.rankings import NORMS, Context, Ranking, WeightScore, checked, find_ranking
from joulecut.workload.trace import operation

__all__ = ["NodeChoice", "choose_nodes"]

_GATES: Final = {"lstm": 4, "gru": 3}
"""Rows of a weight that make one hidden unit."""


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """Which nodes of a layer go.

    Attributes:
        layer: path of the layer.
        width: its nodes before.
        removed: the nodes that go, in order.
        kept: kept channels by group, for ``Coupling.apply``.
    """

    layer: str
    width: int
    removed: tuple[int, ...]
    kept: dict[str, tuple[int, ...]]


def choose_nodes(
    coupling: Coupling,
    layer: str,
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
    indices: Sequence[int] | None = None,
    ranking: str | WeightScore | Ranking = "l2",
    inputs: Tensor | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> NodeChoice:
    """Choose nodes of a layer to remove; exactly one of ``count`` to ``indices`` says which or how many.

    Nodes that are coupled within the layer (a grouped convolution's) go together, and score their mean.

    Args:
        coupling: which channels of the network go together.
        layer: path of the layer, as ``features.3``, or the name of one of its weights.
        count: so many, the lowest ranked.
        share: at most that share of the layer's nodes, 0 to 1, the lowest ranked.
        threshold: all that score less.
        indices: these.
        ranking: a name of ``rankings.RANKINGS``, a ranking, or a function from weights [nodes, weights] to
            scores [nodes]. ``l1``, ``l2`` and functions see the nodes' own weights, as they are.
        inputs: samples, for rankings that look at the loss.
        labels: their classes.
        seed: of everything drawn.

    Raises:
        UsageError: no such layer, a choice that it does not have, or a ranking without the data it needs.
        ModelError: its nodes cannot be removed, with the reason and the line.

    >>> from joulecut.pruning.coupling import couple
    >>> network = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> network[0].weight.data = torch.tensor([[2.0], [-1.0], [3.0]])
    >>> choose_nodes(couple(network, torch.zeros(1, 1)), "0", count=1).removed
    (1,)
    """
    given = [value for value in (count, share, threshold, indices) if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"the nodes of {layer[:120]} need one choice:", hint="a count, a share or a threshold."
        )
    channels = _channels(coupling, layer)
    width = _width(coupling, channels[0])
    if indices is not None:
        gone = _by_index(coupling, layer, channels, indices)
    else:
        scores = _scores(coupling, channels, ranking, _Data(inputs, labels, seed))
        order = sorted(range(len(channels)), key=lambda i: scores[i])
        if threshold is not None:
            if ranking == "random":
                raise UsageError("a random ranking has no threshold:", hint="give a count or a share.")
            gone = [channels[i] for i in order if scores[i] < threshold]
        else:
            gone = _lowest([channels[i] for i in order], layer, width, count, share)
    return _choice(layer, width, channels, gone)


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """What a ranking may look at beside the weights."""

    inputs: Tensor | None
    labels: Tensor | None
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
    """One channel of a group that the layer writes, and the layer's nodes that it is."""

    group: Group
    number: int
    part: ParameterSlice
    nodes: tuple[int, ...]


def _channels(coupling: Coupling, layer: str) -> list[_Channel]:
    """Every channel of the layer that can go."""
    found: list[_Channel] = []
    for group in coupling.all_groups():
        part = next((p for p in group.of_role("writer") if _belongs(coupling, p, layer)), None)
        if part is not None:
            rows = _rows(coupling, part)
            for number, at in enumerate(part.positions.tolist()):
                nodes = tuple(sorted({position % rows for position in at}))
                found.append(_Channel(group, number, part, nodes))
    weights = list(dict.fromkeys(channel.part.parameter for channel in found))
    if len(weights) > 1:
        raise UsageError(f"{layer} has several weights:", hint=f"name one of {', '.join(weights[:8])}.")
    if not found:
        raise _none(coupling, layer)
    return found


def _belongs(coupling: Coupling, part: ParameterSlice, layer: str) -> bool:
    module = part.parameter.rpartition(".")[0]
    return layer in (part.parameter, module) and _weight(coupling, part.parameter).ndim > 1


def _weight(coupling: Coupling, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    found = getattr(coupling.module.get_submodule(path), leaf)
    assert isinstance(found, Tensor)
    return found.detach()


def _rows(coupling: Coupling, part: ParameterSlice) -> int:
    """Nodes of the layer: the rows of its weight, less where several make one unit."""
    node = next((n for n in coupling.module.graph.nodes if n.name == part.node), None)
    gates = _GATES.get(operation(node), 1) if node is not None else 1
    return _weight(coupling, part.parameter).shape[part.dim] // gates


def _width(coupling: Coupling, channel: _Channel) -> int:
    return _rows(coupling, channel.part)


def _none(coupling: Coupling, layer: str) -> UsageError | ModelError:
    """Why a layer has no node that can go."""
    refused = [r for r in coupling.refused() if r.path == layer or r.path == layer.rpartition(".")[0]]
    if refused:
        why = refused[0]
        where = f" ({why.op} at {why.source})" if why.source else f" ({why.op})"
        return ModelError(
            f"no node of {layer} can be removed: {why.reason}{where}.", hint="Choose another layer."
        )
    writers = {p.parameter for group in coupling.all_groups() for p in group.of_role("writer")}
    known = sorted({name.rpartition(".")[0] for name in writers if _weight(coupling, name).ndim > 1})
    close = get_close_matches(layer[:80], known, n=3, cutoff=0.4) or known[:5]
    hint = f"Layers that have: {', '.join(close)}." if close else "No layer of the network has."
    return UsageError(f"the network has no layer {layer[:120]!r} whose nodes can be removed.", hint=hint)


def _scores(
    coupling: Coupling, channels: list[_Channel], ranking: str | WeightScore | Ranking, context: _Data
) -> list[float]:
    """The score of each channel: the mean over its nodes, or what a ranking says of the channel."""
    norm = NORMS.get(ranking) if isinstance(ranking, str) else ranking
    rows = _width(coupling, channels[0])
    if ranking == "random":
        by_node = torch.rand(rows, generator=torch.Generator().manual_seed(context.seed))
    elif norm is not None and not isinstance(norm, Ranking):
        by_node = checked(norm(_own_weights(coupling, channels[0], rows)), rows)
    else:
        return _by_ranking(coupling, channels, find_ranking(ranking), context)
    return [float(by_node[list(channel.nodes)].mean()) for channel in channels]


def _own_weights(coupling: Coupling, channel: _Channel, rows: int) -> Tensor:
    """The weights of each node of the layer: [nodes, weights]."""
    weight = _weight(coupling, channel.part.parameter)
    by_row = weight.movedim(channel.part.dim, 0).flatten(1)
    return by_row.reshape(-1, rows, by_row.shape[1]).transpose(0, 1).flatten(1)


def _by_ranking(
    coupling: Coupling, channels: list[_Channel], ranking: Ranking, context: _Data
) -> list[float]:
    if context.inputs is None:
        raise UsageError(
            f"the {ranking.name} ranking needs calibration data.", hint="Give data, or rank by l2."
        )
    network = Network.whole(Coupling(fold(coupling.module)[0]))
    scores = ranking.scores(Context(network, context.inputs, context.labels, context.seed))
    missing = [channel.group.name for channel in channels if channel.group.name not in scores]
    if missing:
        raise UsageError(f"the {ranking.name} ranking has no scores for {missing[0]}:", hint="rank by l2.")
    return [float(scores[channel.group.name][channel.number]) for channel in channels]


def _lowest(
    ordered: list[_Channel], layer: str, width: int, count: int | None, share: float | None
) -> list[_Channel]:
    """The first channels that have so many nodes together."""
    if share is not None and not 0 < share < 1:
        raise UsageError(f"a share of nodes lies between 0 and 1, not {share}.")
    if count is not None and count < 1:
        raise UsageError(f"a count of nodes is 1 or more, not {count}.")
    wanted = count if count is not None else int((share or 0.0) * width + 1e-9)
    gone: list[_Channel] = []
    total = 0
    for channel in ordered:
        if total + len(channel.nodes) <= wanted:
            gone.append(channel)
            total += len(channel.nodes)
    if count is not None and total < count:
        several = max(len(channel.nodes) for channel in ordered)
        able = sum(len(channel.nodes) for channel in ordered)
        raise UsageError(
            f"{count} nodes of {layer} cannot be removed: {able} of its {width} can, "
            f"{'one by one' if several == 1 else f'up to {several} at once'}."
        )
    return gone


def _by_index(
    coupling: Coupling, layer: str, channels: list[_Channel], indices: Sequence[int]
) -> list[_Channel]:
    of = {node: channel for channel in channels for node in channel.nodes}
    for index in indices:
        if index not in of:
            width = _width(coupling, channels[0])
            if not 0 <= index < width:
                raise UsageError(f"{layer} has nodes 0 to {width - 1}, not {index}.")
            raise ModelError(f"node {index} of {layer} cannot be removed: it is not free to go.")
    return list({id(of[index]): of[index] for index in indices}.values())


def _choice(layer: str, width: int, channels: list[_Channel], gone: list[_Channel]) -> NodeChoice:
    removed = {(channel.group.name, channel.number) for channel in gone}
    kept = {}
    for group in dict.fromkeys(channel.group for channel in channels):
        stays = tuple(number for number in range(group.size) if (group.name, number) not in removed)
        if not stays:
            raise UsageError(
                f"no node of {layer} would be left{f' in {group.name}' if group.name != layer else ''}:",
                hint="remove fewer.",
            )
        if len(stays) < group.size:
            kept[group.name] = stays
    nodes = sorted(node for channel in gone for node in channel.nodes)
    return NodeChoice(layer, width, tuple(nodes), kept)
