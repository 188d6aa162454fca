"""One operation of a network, whatever framework it comes from, and what a rule says about it.

Readers (torch, ONNX) translate their graphs into ``Operation`` records with the names of torch's aten
operations; a rule of ``counting.py`` turns one of them into a ``Count``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joulecut.errors import ModelError
from joulecut.workload.layer import DTYPE_BITS, Kind

__all__ = ["Count", "NotCounted", "Operand", "Operation", "Rule", "Value"]


class NotCounted(Exception):
    """Raised by a rule for a form of its operation that it cannot count; the text says which."""


@dataclass(frozen=True, slots=True)
class Value:
    """Shape and type of a tensor.

    >>> Value((2, 3), "float16").nbytes
    12
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory; types of less than a byte are packed."""
        bits = DTYPE_BITS.get(self.dtype)
        if bits is None:
            raise ModelError(f"the type {self.dtype} has no known size.", hint="Convert the network.")
        return -(-self.numel * bits // 8)


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that an operation reads.

    Attributes:
        role: the argument's name in the aten schema, as ``input``, ``weight``, ``bias``.
        source: name of the operation, input or parameter that it comes from.
        value: its shape and type.
        constant: it does not depend on the network's input (a parameter, or computed from parameters).
    """

    role: str
    source: str
    value: Value
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one operation.

    Attributes:
        name: unique name in the graph.
        op: the aten operation without namespace and overload, as ``conv2d``.
        operands: tensors read, in order.
        results: tensors written that something reads.
        settings: the other arguments by name.
        module: dotted path of the module that makes the call; "" at the root.
        leaf: that module is one of torch's own layers, so that the call carries the module's name.
        call: tells apart several calls of one module.
    """

    name: str
    op: str
    operands: tuple[Operand, ...]
    results: tuple[Value, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""
    leaf: bool = False
    call: str = ""

    @property
    def activations(self) -> tuple[Operand, ...]:
        """Operands that depend on the network's input."""
        return tuple(o for o in self.operands if not o.constant)

    @property
    def weights(self) -> tuple[Operand, ...]:
        """Constant operands; initial states of recurrent layers (role ``hx``) are not among them."""
        return tuple(o for o in self.operands if o.constant and o.role != "hx")

    def operand(self, *roles: str) -> Operand:
        """The first operand with one of these roles.

        Raises:
            NotCounted: there is none.
        """
        for operand in self.operands:
            if operand.role in roles:
                return operand
        raise NotCounted(f"it has no tensor called {' or '.join(roles)}")


@dataclass(frozen=True, slots=True)
class Count:
    """What a rule says about an operation.

    Attributes:
        kind: dense, depthwise, elementwise or data_movement.
        macs: multiply-accumulate operations of this call.
        in_channels: channels or features read; 0 leaves them to be found from the graph (elementwise
            operations) or unknown.
        out_channels: channels written; 0 as above.
        groups: convolution groups.
        weight_bytes: bytes of weights read, where that is not all of them (embeddings).
        bias: the operands that are bias.
    """

    kind: Kind
    macs: int = 0
    in_channels: int = 0
    out_channels: int = 0
    groups: int = 1
    weight_bytes: int | None = None
    bias: tuple[Operand, ...] = ()


Rule = Callable[[Operation], Count]
"""From an operation to its count; raises ``NotCounted`` for a form that it does not know."""
