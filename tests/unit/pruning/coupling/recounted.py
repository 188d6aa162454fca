"""Small networks of every construct, and the work of each node of a network that is really cut."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from coupling_networks import NETWORKS, randomised
from torch import fx

from joulecut.pruning.coupling.engine import Coupling
from joulecut.workload.from_torch import layer_works
from joulecut.workload.layer import LayerWork
from joulecut.workload.trace import Traced, trace

__all__ = ["network", "recounted"]


@functools.cache
def network(name: str) -> tuple[Traced, Coupling]:
    """Once for all tests: to be read, not changed."""
    inputs = NETWORKS[name].inputs(2)
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    graph = trace(randomised(NETWORKS[name].build).float(), inputs)
    return graph, Coupling(graph.module)


class _Shapes(fx.Interpreter):
    """Notes the value of each node anew."""

    def run_node(self, n: fx.Node) -> Any:
        n.meta["val"] = super().run_node(n)
        return n.meta["val"]


def recounted(name: str, kept: Mapping[str, Sequence[int]]) -> dict[str, LayerWork]:
    """Work by node of the network that is really cut, counted by the rules on the shapes that it then has."""
    graph, coupling = network(name)
    module = coupling.apply(kept)
    with torch.no_grad():
        _Shapes(module).run(*graph.inputs)
    return layer_works(replace(graph, module=module))
