"""Whole layers and residual blocks of a captured network: which can go, and the network without them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from joulecut.errors import UsageError
from joulecut.pruning.regions import Regions, live_nodes, overwrites
from joulecut.workload.quiet import quiet_torch
from joulecut.workload.trace import Traced, module_path, operation, source_line

__all__ = ["Removable", "removable_blocks", "removable_layers", "without_blocks"]


@dataclass(frozen=True, slots=True)
class Removable:
    """A part of a network without which the rest still runs.

    Attributes:
        name: path of the module that adds the block to its skip, or of the layer; the second block of one
            module is called ``path#2``.
        input: node whose value stands in for the part once it is gone.
        output: node that it stands in for: the sum, or what the layer returns.
        nodes: names of the nodes that go.
        parameters: weights that go.
        source: ``file.py:line`` of the author's code, or "".
    """

    name: str
    input: str
    output: str
    nodes: tuple[str, ...]
    parameters: int
    source: str


def removable_blocks(traced: Traced) -> tuple[Removable, ...]:
    """Residual blocks that can be left out, so that only their skip is left.

    A block is what one operand of a sum is computed by, where that reads nothing but the other operand,
    parameters and sizes, is read by nothing else, and overwrites nothing beyond itself.

    >>> import torch
    >>> from joulecut.workload.trace import trace
    >>> class Block(torch.nn.Linear):
    ...     def forward(self, x):
    ...         return x + super().forward(x)
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 4), Block(4, 4), torch.nn.Linear(4, 2))
    >>> [(block.name, block.parameters) for block in removable_blocks(trace(network, torch.zeros(1, 2)))]
    [('1', 20)]
    """
    regions = Regions(traced.module)
    found = [
        _removable(regions, module_path(node) or node.name, skip, node, source_line(node))
        for node in regions.nodes
        for skip in _skip(regions, node)
    ]
    return _numbered(found)


def removable_layers(traced: Traced) -> tuple[Removable, ...]:
    """Modules with weights that can be left out, since they return a value of the shape that they read.

    Modules at every depth are looked at; of several around the same operations the innermost counts.
    """
    regions = Regions(traced.module)
    owned: dict[str, set[fx.Node]] = {}
    for node in regions.nodes:
        for path, *_ in (node.meta.get("nn_module_stack") or {}).values():
            if path and node.op == "call_function":
                owned.setdefault(str(path), set()).add(node)
    found: dict[tuple[str, str], Removable] = {}
    for path, nodes in owned.items():
        for read, returned in _ends(regions, nodes):
            line = source_line(min(nodes, key=regions.order))
            found[read.name, returned.name] = _removable(regions, path, read, returned, line)
    return tuple(sorted(found.values(), key=lambda part: regions.place[part.nodes[0]]))


def without_blocks(traced: Traced, parts: Iterable[Removable | str]) -> Traced:
    """The network without some of its blocks or layers; its weights are shared with the given one.

    Args:
        traced: a captured network.
        parts: blocks or layers of it, or their names; a block comes before a layer of the same name.

    Raises:
        UsageError: no such block.
    """
    named = {block.name: block for block in removable_blocks(traced)}
    named |= {layer.name: layer for layer in removable_layers(traced) if layer.name not in named}
    chosen = [_find(part, named, traced.name) if isinstance(part, str) else part for part in parts]
    with quiet_torch():  # torch warns about its own tree specs while copying
        graph = copy.deepcopy(traced.module.graph)
    nodes = {node.name: node for node in graph.nodes}
    live = {node.name for node in live_nodes(graph)}
    stand_ins: dict[str, str] = {}
    for part in chosen:
        if part.input not in nodes or part.output not in nodes:
            raise UsageError(f"{part.name[:120]} is no part of {traced.name}.")
        name = part.input
        while name in stand_ins:
            name = stand_ins[name]
        if part.output not in stand_ins and name != part.output:
            nodes[part.output].replace_all_uses_with(nodes[name])
            stand_ins[part.output] = name
    _erase(graph, live)
    return replace(traced, module=fx.GraphModule(traced.module, graph, traced.name))


def _find(name: str, named: dict[str, Removable], network: str) -> Removable:
    if name not in named:
        known = ", ".join(list(named)[:8]) or "none"
        raise UsageError(
            f"{network} has no block {name[:120]!r} that can be removed.",
            hint=f"Blocks and layers that can: {known}.",
        )
    return named[name]


def _removable(regions: Regions, name: str, start: fx.Node, output: fx.Node, line: str) -> Removable:
    """The record of the part from ``start`` to ``output``."""
    region = regions.between(start, output) or {output}
    gone = regions.closed(region, output) or region
    for node in reversed(regions.nodes):
        if node in regions.constant and node.users and set(node.users) <= gone:
            gone.add(node)
    own = {str(node.target) for node in gone if node.op == "get_attr"}
    weights = sum(p.numel() for path, p in regions.module.named_parameters() if path in own)
    names = tuple(node.name for node in regions.nodes if node in gone)
    return Removable(name, start.name, output.name, names, weights, line)


def _skip(regions: Regions, node: fx.Node) -> Iterator[fx.Node]:
    """The operand of a sum that can stand in for it, where the other one is a block on top of it."""
    operands = node.args[:2]
    if operation(node) not in ("add", "add_") or node not in regions.live or len(operands) < 2:
        return
    for branch, skip in (operands, operands[::-1]):
        if not isinstance(branch, fx.Node) or not isinstance(skip, fx.Node) or branch is skip:
            continue
        scaled = skip is operands[1] and node.kwargs.get("alpha", 1) != 1
        if scaled or skip in regions.constant or branch in regions.constant or not _alike(skip, node):
            continue
        region = regions.between(skip, branch)
        if region and regions.closed(region | {node}, node) and _parameters(region):
            yield skip
            return


def _ends(regions: Regions, nodes: set[fx.Node]) -> Iterator[tuple[fx.Node, fx.Node]]:
    """The only value that a module reads and the only one that it returns, where they are of one shape."""
    live = {node for node in nodes if node in regions.live and node not in regions.constant}
    read = {n for node in live for n in node.all_input_nodes if n not in nodes and n not in regions.constant}
    returned = {
        node for node in live if any(user not in nodes for user in node.users if user in regions.live)
    }
    if len(read) != 1 or len(returned) != 1:
        return
    start, output = read.pop(), returned.pop()
    region = regions.between(start, output)
    if not region or not _alike(start, output) or overwrites(region, region):
        return
    weighs = any(n.meta["val"].ndim > 1 for n in _parameters(region))  # a bare norm saves next to nothing
    if weighs and regions.closed(region, output):
        yield start, output


def _parameters(region: set[fx.Node]) -> list[fx.Node]:
    """Parameters and buffers that nodes of a region read."""
    return [n for node in region for n in node.all_input_nodes if n.op == "get_attr"]


def _alike(a: fx.Node, b: fx.Node) -> bool:
    first, second = a.meta.get("val"), b.meta.get("val")
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    return first.shape == second.shape and first.dtype == second.dtype


def _erase(graph: fx.Graph, live: set[str]) -> None:
    """Erase what the output no longer needs, and what reads only that; dead-code elimination would keep the
    operations that write in place.
    """
    needed = live_nodes(graph)
    gone = {n for n in graph.nodes if n.name in live and n not in needed and n.op != "placeholder"}
    stack = list(gone)
    while stack:
        for user in stack.pop().users:
            if user not in gone:
                gone.add(user)
                stack.append(user)
    for node in reversed(list(graph.nodes)):
        if node in gone:
            graph.erase_node(node)


def _numbered(parts: Sequence[Removable]) -> tuple[Removable, ...]:
    """With unique names."""
    seen: Counter[str] = Counter()
    out = []
    for part in parts:
        seen[part.name] += 1
        name = part.name if seen[part.name] == 1 else f"{part.name}#{seen[part.name]}"
        out.append(replace(part, name=name))
    return tuple(out)
