"""The workload of a torch network, read from the graph that ``torch.export`` captures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import getitem
from typing import Any, Final

import torch
from torch import fx

from joulecut.errors import UsageError
from joulecut.workload.assemble import Network, assemble, merged, uncounted
from joulecut.workload.layer import LayerWork, Workload
from joulecut.workload.naming import is_leaf
from joulecut.workload.operation import Operand, Operation, Value
from joulecut.workload.trace import Traced, operation, rebatched, trace

__all__ = ["layer_works", "workload"]

_ALIASES: Final[dict[str, str]] = {
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "_scaled_dot_product_efficient_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "dequantize_per_tensor": "dequantize",
    "dequantize_per_channel": "dequantize",
    "quantize_per_tensor": "quantize",
    "quantize_per_channel": "quantize",
}
"""Operations that only decomposed or quantised graphs hold, by the name of their rule."""
_WHOLE: Final = frozenset(
    {"t", "numpy_T", "transpose", "permute", "view", "reshape", "detach", "alias", "to", "clone"}
)


def workload(
    model: torch.nn.Module | Traced,
    inputs: torch.Tensor | Sequence[torch.Tensor] | None = None,
    *,
    name: str = "",
    batch: int | None = None,
) -> Workload:
    """What a torch network does in one inference, layer by layer.

    Args:
        model: a module, or a network that ``trace`` has captured.
        inputs: example inputs of a module, the batch first; none for a captured network.
        name: what to call the network; its class name by default.
        batch: samples in one inference; by default as many as in the example.

    Raises:
        TraceError: the network cannot be captured, or not for that batch.
        UsageError: inputs are missing, given twice, or of the wrong kind.

    >>> work = workload(torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 10, 10))
    >>> work.macs, work.layers[0].weight_bytes, work.layers[0].out_shape
    (13824, 896, (1, 8, 8, 8))
    """
    traced = _traced(model, inputs, name)
    if batch is not None:
        traced = rebatched(traced, batch)
    network = _network(traced)
    layers, reasons = assemble(network)
    return Workload(
        name=name or traced.name,
        layers=merged(layers.values()),
        uncounted=uncounted(layers, reasons),
        batch=traced.batch,
        input_shapes=tuple(tuple(t.shape) for t in traced.inputs),
        parameters=sum(p.numel() for p in traced.module.parameters()),
    )


def layer_works(traced: Traced) -> dict[str, LayerWork]:
    """The work of each node of a captured graph that costs something, by the node's name.

    Each entry is one call. Entries with the same ``path`` are calls of one layer: ``workload`` sums their
    MACs and activations and takes their weights once.
    """
    return assemble(_network(traced))[0]


def _traced(
    model: torch.nn.Module | Traced, inputs: torch.Tensor | Sequence[torch.Tensor] | None, name: str
) -> Traced:
    if isinstance(model, Traced):
        if inputs is not None:
            raise UsageError(f"{model.name} is captured with its inputs.", hint="Leave `inputs` out.")
        return model
    if inputs is None:
        raise UsageError(
            f"{type(model).__name__} needs example inputs.", hint="Pass one tensor per argument."
        )
    return trace(model, inputs, name=name)


def _network(traced: Traced) -> Network:
    graph = traced.module.graph
    live = _live(graph)
    constant: dict[fx.Node, str] = {}
    inputs: dict[str, Value] = {}
    operations: list[Operation] = []
    outputs: list[str] = []
    for node in graph.nodes:
        if node.op == "output":
            outputs = [n.name for n in node.all_input_nodes if n not in constant]
        elif node not in live or not _tensors(node):
            continue
        elif node.op == "placeholder":
            inputs[node.name] = _tensors(node)[0]
        elif _is_constant(node, constant):
            constant[node] = _constant_source(node, constant)
        else:
            operations.append(_operation(node, constant, live))
    return Network(inputs, tuple(operations), tuple(outputs))


def _live(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that an output depends on, and the inputs."""
    live = {node for node in graph.nodes if node.op in ("output", "placeholder")}
    stack = list(live)
    while stack:
        for node in stack.pop().all_input_nodes:
            if node not in live:
                live.add(node)
                stack.append(node)
    return live


def _is_constant(node: fx.Node, constant: dict[fx.Node, str]) -> bool:
    return all(n in constant for n in node.all_input_nodes if _tensors(n))


def _constant_source(node: fx.Node, constant: dict[fx.Node, str]) -> str:
    """The parameter's name, also of one that is only looked at in another shape; else the node's."""
    if node.op == "get_attr":
        return str(node.target)
    sources = [n for n in node.all_input_nodes if n in constant]
    return constant[sources[0]] if operation(node) in _WHOLE and len(sources) == 1 else node.name


def _tensors(node: fx.Node) -> tuple[Value, ...]:
    """Shapes and types of what a node makes; () for sizes and other numbers."""
    found = node.meta.get("val")
    values = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(
        Value(tuple(int(size) for size in v.shape), str(v.dtype).removeprefix("torch."))
        for v in values
        if isinstance(v, torch.Tensor)
    )


def _operation(node: fx.Node, constant: dict[fx.Node, str], live: set[fx.Node]) -> Operation:
    arguments = dict(_arguments(node))
    operands = tuple(
        Operand(role, constant.get(source, source.name), _tensors(source)[0], source in constant)
        for role, argument in arguments.items()
        for source in _nodes(argument)
        if _tensors(source)
    )
    settings = {role: value for role, value in arguments.items() if not any(True for _ in _nodes(value))}
    op = _name(node, arguments)
    order = _order(op, settings, len(operands[0].value.shape))
    stack = [
        entry for entry in (node.meta.get("nn_module_stack") or {}).items() if not entry[0].startswith("_")
    ]
    key, (module, kind) = stack[-1] if stack else ("", ("", ""))
    return Operation(
        name=node.name,
        op=op,
        operands=operands,
        results=_results(node, live),
        settings=settings | ({"order": order} if order else {}),
        module=str(module),
        leaf=bool(module) and is_leaf(str(kind)),
        call=str(key),
    )


def _arguments(node: fx.Node) -> Iterator[tuple[str, Any]]:
    """Arguments by their names in the operation's schema."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    for index, argument in enumerate(node.args):
        yield (names[index] if index < len(names) else f"arg{index}"), argument
    yield from node.kwargs.items()


def _nodes(argument: Any) -> Iterator[fx.Node]:
    if isinstance(argument, fx.Node):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for item in argument:
            yield from _nodes(item)


def _results(node: fx.Node, live: set[fx.Node]) -> tuple[Value, ...]:
    """What is written: of several results those that something reads."""
    values = _tensors(node)
    if not isinstance(node.meta.get("val"), (tuple, list)):
        return values
    read = {int(user.args[1]) for user in node.users if user in live and user.target is getitem}  # type: ignore[arg-type]
    found = node.meta["val"]
    positions = [i for i, value in enumerate(found) if isinstance(value, torch.Tensor)]
    return tuple(value for i, value in zip(positions, values, strict=True) if i in read) or values[:1]


def _name(node: fx.Node, arguments: dict[str, Any]) -> str:
    name = operation(node)
    name = name if name.startswith("__") else name.rstrip("_")
    if name in ("contiguous", "clone"):
        return name if _moves(node) else "alias"
    if name == "convolution":
        kind = "conv_transpose" if arguments["transposed"] else "conv"
        return f"{kind}{len(_tensors(node)[0].shape) - 2}d"
    return _ALIASES.get(name, name)


def _moves(node: fx.Node) -> bool:
    """Whether a copy changes the order of values in memory; one that does not is left out at inference."""
    before, after = node.all_input_nodes[0].meta["val"], node.meta["val"]
    steps = zip(after.shape, before.stride(), after.stride(), strict=True)
    return any(old != new for size, old, new in steps if size > 1)


def _order(op: str, settings: dict[str, Any], dims: int) -> tuple[int, ...] | None:
    """The axes of the operand that a permutation puts at each place, or None."""
    if op == "permute":
        return tuple(int(d) % dims for d in settings["dims"])
    if op in ("transpose", "swapaxes", "swapdims", "t", "numpy_T") and dims > 1:
        order = list(range(dims))
        first, second = (int(d) % dims for d in list(settings.values())[:2]) if len(settings) > 1 else (0, 1)
        order[first], order[second] = order[second], order[first]
        return tuple(order)
    return None
