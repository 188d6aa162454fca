"""From the operations of a network to its layers: what is folded at inference, and what costs something.

Shared by all readers. Folded, and so without a layer of their own:

- views, and what hands on its input (dropout);
- functions of one value at a time (activations, scaling, casts; also when written out, as
  ``x * sigmoid(x)``), unless they read the network's input: they are computed as the layer before writes;
- batch norm after a convolution or linear layer that nothing else reads, and a bias added to its result;
- zero padding that only a convolution reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from joulecut.workload.channels import input_axis, result_axis
from joulecut.workload.counting import ARITHMETIC, FREE, IDENTITY, PADS, POINTWISE, rule_for
from joulecut.workload.layer import LayerWork, Uncounted
from joulecut.workload.naming import Paths
from joulecut.workload.operation import Count, NotCounted, Operand, Operation, Value

__all__ = ["Network", "assemble", "merged", "uncounted"]

_NO_RULE = "no counting rule; its bytes are counted, its arithmetic is not"


@dataclass(frozen=True, slots=True)
class Network:
    """A graph of operations in the order of execution.

    Attributes:
        inputs: shape and type of the network's inputs, by name.
        operations: all that depends on the inputs.
        outputs: names of the operations (or inputs) that make the outputs.
    """

    inputs: Mapping[str, Value]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """What is known of each value, by the name of its operation."""

    network: Network
    readers: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[str, Operation] = field(default_factory=dict)
    root: dict[str, str] = field(default_factory=dict)  # the layer or input whose values these are
    same: dict[str, str] = field(default_factory=dict)  # the value that this is a pointwise function of
    axis: dict[str, int | None] = field(default_factory=dict)
    stored: dict[str, Value] = field(default_factory=dict)  # folded padding: what is read from memory
    folded: set[str] = field(default_factory=set)
    counts: dict[str, Count] = field(default_factory=dict)
    biases: dict[str, Operand] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def sole_source(self, call: Operation) -> str:
        """The layer whose result only this operation reads, handed on unchanged; "" if there is none."""
        if len(call.activations) != 1:
            return ""
        source = call.activations[0].source
        while len(self.readers[source]) == 1:
            if source in self.counts:
                return source
            if source not in self.calls or self.calls[source].op not in IDENTITY:
                break
            source = self.calls[source].activations[0].source
        return ""


def assemble(network: Network) -> tuple[dict[str, LayerWork], dict[str, str]]:
    """The layers of a network.

    Returns:
        One layer for each operation that costs something, by the operation's name, with ``calls`` 1;
        and why operations are not counted, by name.
    """
    walk = _Walk(network)
    for call in network.operations:
        walk.calls[call.name] = call
        for operand in call.activations:
            walk.readers.setdefault(operand.source, []).append(call.name)
    for name in network.outputs:
        walk.readers.setdefault(name, []).append("")
    for name, value in network.inputs.items():
        walk.root[name] = walk.same[name] = name
        walk.axis[name] = input_axis(value.shape)
        walk.readers.setdefault(name, [])
    for call in network.operations:
        walk.readers.setdefault(call.name, [])
        _visit(walk, call)
    paths = Paths()
    layers = {name: _layer(walk, walk.calls[name], paths) for name in walk.counts}
    return layers, walk.reasons


def _visit(walk: _Walk, call: Operation) -> None:
    name, read = call.name, _largest(call)
    walk.axis[name] = result_axis(call, walk.axis[read.source], read.value)
    passes = call.op in FREE
    if call.op in IDENTITY:
        walk.same[name] = walk.same[read.source]
    elif passes:
        walk.same[name] = name
    elif _is_pointwise(walk, call):
        walk.folded.add(name)
        walk.same[name] = walk.same[read.source]
    elif _is_folded_norm(walk, call) or _is_bias(walk, call):
        walk.folded.add(name)
        walk.same[name] = name
    elif _is_folded_pad(walk, call):
        walk.stored[name] = walk.stored.get(read.source, read.value)
        walk.folded.add(name)
        walk.same[name] = name
    else:
        walk.root[name] = walk.same[name] = name
        walk.counts[name] = _count(walk, call)
        return
    walk.root[name] = walk.root[read.source]


def _count(walk: _Walk, call: Operation) -> Count:
    rule = rule_for(call.op)
    if rule is None and call.op in POINTWISE:
        return Count("elementwise")
    if rule is None:
        walk.reasons[call.name] = _NO_RULE
        return Count("elementwise")
    try:
        return rule(call)
    except NotCounted as error:
        walk.reasons[call.name] = f"{error}; its bytes are counted, its arithmetic is not"
        return Count("elementwise")


def _largest(call: Operation) -> Operand:
    return max(call.activations, key=lambda operand: operand.value.numel)


def _is_pointwise(walk: _Walk, call: Operation) -> bool:
    scalars = all(o.value.numel == 1 for o in call.weights)
    if call.op not in POINTWISE and not (call.op in ARITHMETIC and scalars):
        return False
    of = {walk.same[o.source] for o in call.activations}
    return len(of) == 1 and walk.root[of.pop()] not in walk.network.inputs


def _is_folded_norm(walk: _Walk, call: Operation) -> bool:
    source = walk.sole_source(call)
    return call.op == "batch_norm" and bool(source) and bool(walk.counts[source].out_channels)


def _is_bias(walk: _Walk, call: Operation) -> bool:
    """A vector of one value per channel added to the result of a layer without bias."""
    source = walk.sole_source(call)
    if call.op != "add" or not source or len(call.weights) != 1:
        return False
    count = walk.counts[source]
    if count.bias or source in walk.biases or not count.macs:
        return False
    if call.weights[0].value.numel != count.out_channels or call.results[0] != walk.calls[source].results[0]:
        return False
    walk.biases[source] = call.weights[0]
    return True


def _is_folded_pad(walk: _Walk, call: Operation) -> bool:
    readers = walk.readers[call.name]
    if call.op not in PADS or len(readers) != 1 or readers[0] not in walk.calls:
        return False
    zeros = call.settings.get("mode", "constant") == "constant" and not call.settings.get("value")
    return zeros and walk.calls[readers[0]].op.startswith("conv")


def _layer(walk: _Walk, call: Operation, paths: Paths) -> LayerWork:
    count = walk.counts[call.name]
    read = [walk.stored.get(o.source, o.value) for o in call.activations]
    written = [replace(value, dtype=_written_dtype(walk, call.name, value.dtype)) for value in call.results]
    weights = call.weights
    bias = count.bias + ((walk.biases[call.name],) if call.name in walk.biases else ())
    weight_bytes = count.weight_bytes
    if weight_bytes is None:
        weight_bytes = sum(o.value.nbytes for o in {*weights, *bias})
    largest = max((o.value for o in weights), key=lambda v: v.numel, default=Value((), read[0].dtype))
    channels = _channels(walk, call, count)
    return LayerWork(
        path=paths.of(call),
        op=call.op,
        kind=count.kind,
        macs=count.macs,
        weight_bytes=weight_bytes,
        in_bytes=sum(value.nbytes for value in read),
        out_bytes=sum(value.nbytes for value in written),
        in_shape=read[0].shape,
        out_shape=written[0].shape,
        weight_shape=largest.shape,
        in_channels=channels[0],
        out_channels=channels[1],
        groups=count.groups,
        dtype=largest.dtype,
        bias_bytes=sum(o.value.nbytes for o in bias),
        reads_input=any(walk.root[o.source] in walk.network.inputs for o in call.activations),
        writes_output=any(walk.root[name] == call.name for name in walk.network.outputs),
    )


def _channels(walk: _Walk, call: Operation, count: Count) -> tuple[int, int]:
    """Channels in and out: the rule's, or of an elementwise operation those that its values carry."""
    if count.out_channels or count.kind not in ("elementwise", "data_movement"):
        return count.in_channels, count.out_channels
    read, out_axis = _largest(call), walk.axis[call.name]
    in_axis = walk.axis[read.source]
    if in_axis is None or out_axis is None:
        return 0, 0
    out = call.results[0].shape[out_axis]
    return (out if call.op in ("cat", "concat") else read.value.shape[in_axis]), out


def _written_dtype(walk: _Walk, name: str, dtype: str) -> str:
    """The type in which a layer's result reaches memory: casts and quantisation after it are folded."""
    while len(walk.readers[name]) == 1 and walk.readers[name][0] in walk.folded:
        name = walk.readers[name][0]
        dtype = walk.calls[name].results[0].dtype
    return dtype


def merged(layers: Iterable[LayerWork]) -> tuple[LayerWork, ...]:
    """Calls of one layer as one record: MACs and activations are summed, weights are stored once."""
    by_path: dict[str, LayerWork] = {}
    for layer in layers:
        known = by_path.get(layer.path)
        by_path[layer.path] = layer if known is None else replace(
            known,
            macs=known.macs + layer.macs,
            in_bytes=known.in_bytes + layer.in_bytes,
            out_bytes=known.out_bytes + layer.out_bytes,
            calls=known.calls + layer.calls,
            reads_input=known.reads_input or layer.reads_input,
            writes_output=known.writes_output or layer.writes_output,
        )  # fmt: skip
    return tuple(by_path.values())


def uncounted(layers: Mapping[str, LayerWork], reasons: Mapping[str, str]) -> tuple[Uncounted, ...]:
    """The operations that no rule counts, one record a layer."""
    found: dict[str, Uncounted] = {}
    for name, reason in reasons.items():
        layer = layers[name]
        known = found.get(layer.path)
        found[layer.path] = Uncounted(layer.op, layer.path, 1 if known is None else known.calls + 1, reason)
    return tuple(found.values())
