"""Which layers of a captured network have weights that can go, and which of them the user means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor, fx

from joulecut.errors import UsageError
from joulecut.pruning.folding import parameter
from joulecut.pruning.solvable import solvable_layers
from joulecut.workload.layer import LayerWork

__all__ = ["WeightLayer", "weight_layers"]

_WHOLE_BY_CHOICE = "it is not one of the layers that were named"


@dataclass(frozen=True, slots=True, eq=False)
class WeightLayer:
    """A layer whose weights can be set to zero one by one.

    Attributes:
        node: name of its node.
        name: name of its weight.
        weight: the weight, detached.
        work: what it does.
        whole: why it is left whole, or "".
    """

    node: str
    name: str
    weight: Tensor
    work: LayerWork
    whole: str = ""

    @property
    def path(self) -> str:
        """The layer's path."""
        return self.work.path


def weight_layers(
    module: fx.GraphModule, works: dict[str, LayerWork], wanted: Sequence[str]
) -> tuple[WeightLayer, ...]:
    """The layers of a network that have weights of their own, in the order of execution.

    Args:
        module: the captured network.
        works: its counted work by node (``workload.from_torch.layer_works``).
        wanted: paths of layers or names of weights; all where none is named.

    Raises:
        UsageError: no layer of a name, with those that there are.
    """
    layers = [
        WeightLayer(node, layer.weight, parameter(module, layer.weight).detach(), works[node])
        for node, layer in solvable_layers(module).items()
        if node in works
    ]
    if not layers:
        raise UsageError("the network has no layer whose weights can go one by one.")
    known = {name for layer in layers for name in _names(layer)}
    for name in wanted:
        if name not in known:
            paths = [layer.path for layer in layers]
            close = get_close_matches(name[:80], paths, n=3, cutoff=0.4) or paths[:5]
            raise UsageError(
                f"the network has no layer {name[:120]!r} whose weights can go.",
                hint=f"Layers that have: {', '.join(close)}.",
            )
    return tuple(
        layer
        if not wanted or _names(layer) & set(wanted)
        else WeightLayer(layer.node, layer.name, layer.weight, layer.work, _WHOLE_BY_CHOICE)
        for layer in layers
    )


def _names(layer: WeightLayer) -> set[str]:
    return {layer.path, layer.name, layer.name.rpartition(".")[0]}
