"""Regions of a captured graph: what lies between two values, who reads it, and what it overwrites."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, fx

from joulecut.workload.trace import operation, schema_of

__all__ = ["Regions", "live_nodes", "overwrites"]


class Regions:
    """Answers which nodes of a graph hang together.

    Attributes:
        module: the captured network.
        nodes: its nodes in order.
        place: where each stands, by name.
        live: nodes that the output needs.
        constant: nodes that depend on no data: parameters, sizes, and what is computed from these alone.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self.nodes: list[fx.Node] = list(module.graph.nodes)
        self.place = {node.name: i for i, node in enumerate(self.nodes)}
        self.live = live_nodes(module.graph)
        self.constant: set[fx.Node] = set()
        for node in self.nodes:
            fixed = node.op == "call_function" and all(n in self.constant for n in node.all_input_nodes)
            if node.op == "get_attr" or fixed or (node.op == "call_function" and not _is_tensor(node)):
                self.constant.add(node)

    def order(self, node: fx.Node) -> int:
        """Where a node stands."""
        return self.place[node.name]

    def between(self, start: fx.Node, branch: fx.Node) -> set[fx.Node] | None:
        """What ``branch`` is computed by, back to ``start``; None where it reads other inputs too."""
        found, stack = set(), [branch]
        while stack:
            node = stack.pop()
            if node is start or node in self.constant or node in found:
                continue
            if node.op != "call_function":
                return None
            found.add(node)
            stack += node.all_input_nodes
        return found

    def closed(self, region: set[fx.Node], output: fx.Node) -> set[fx.Node] | None:
        """A region with what only hangs on it; None where more than its output is needed, or it overwrites.

        What hangs on it are sizes that it alone reads, and operations whose results nobody reads.
        """
        stack = [node for node in region if node is not output]
        region = set(region)
        while stack:
            for user in stack.pop().users:
                if user in region:
                    continue
                if user in self.live and (_is_tensor(user) or not set(user.users) <= region):
                    return None
                region.add(user)
                stack.append(user)
        return None if overwrites(region - {output}, region) else region


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, (Tensor, tuple, list)) or value is None


def live_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Every node that the output needs."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in found:
            found.update((node, *node.all_input_nodes))
    return found


def overwrites(nodes: set[fx.Node], region: set[fx.Node]) -> bool:
    """Whether some nodes of a region overwrite values from outside it."""
    return any(_base(value, region) not in region for node in nodes for value in _overwritten(node))


def _overwritten(node: fx.Node) -> Iterator[fx.Node]:
    schema = schema_of(node)
    for argument, given in zip(schema.arguments if schema is not None else (), node.args, strict=False):
        info = argument.alias_info
        if info is not None and info.is_write and isinstance(given, fx.Node):
            yield given


def _base(node: fx.Node, region: set[fx.Node]) -> fx.Node:
    """The value whose memory a node may share, as far back as operations can return views."""
    while node in region and _shares(node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _shares(node: fx.Node) -> bool:
    schema = schema_of(node)
    named = operation(node) in ("reshape", "contiguous", "flatten", "to", "getitem")
    return named or (schema is not None and any(r.alias_info is not None for r in schema.returns))
