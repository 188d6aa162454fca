"""Parameters with several names: a weight that the author tied is one tensor under each of them."""

from __future__ import annotations

from operator import attrgetter

from torch import Tensor, fx

__all__ = ["canonical_names", "tensors"]


def tensors(module: fx.GraphModule) -> dict[str, Tensor]:
    """All parameters, buffers and constants of a captured network by name, tied ones under each name."""
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found |= dict(module.named_buffers(remove_duplicate=False))
    read = {name: attrgetter(name)(module) for name in _read(module) if name not in found}
    return found | {name: value for name, value in read.items() if isinstance(value, Tensor)}


def canonical_names(module: fx.GraphModule) -> dict[str, str]:
    """For every name the one that stands for its tensor: the first that the graph reads.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    >>> net[1].weight = net[0].weight
    >>> canonical_names(fx.symbolic_trace(net))["1.weight"]
    '0.weight'
    """
    named, first = tensors(module), dict[int, str]()
    for name in (*_read(module), *named):
        first.setdefault(id(named.get(name)), name)
    return {name: first[id(tensor)] for name, tensor in named.items()}


def _read(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "get_attr" and node.users]
