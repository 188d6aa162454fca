"""Paths of layers: the author's module names, made unique for functional operations."""

from __future__ import annotations

from itertools import chain, count

from joulecut.workload.operation import Operand, Operation

__all__ = ["Paths", "is_leaf"]


def is_leaf(kind: str) -> bool:
    """Whether a module class is one of torch's own layers, whose first operation goes by the module's name.

    >>> is_leaf("torch.nn.modules.pooling.MaxPool2d"), is_leaf("torch.nn.modules.transformer.Transformer")
    (True, False)
    """
    return kind.startswith("torch.nn.") and not kind.startswith("torch.nn.modules.transformer.")


class Paths:
    """Gives each operation the path of its layer; calls of one layer get one path.

    - An operation with a weight is the module that owns the weight: ``b1.conv``. (Exporters fold batch norm
      into convolutions and say that it is the norm's; they store equal norm weights once.)
    - The first operation of one of torch's own modules is that module: ``pool``.
    - Any other one is its caller's path and its own name: ``b1.add``, then ``b1.add_1``.
    """

    def __init__(self) -> None:
        self._owner: dict[str, object] = {}
        self._seen: dict[object, str] = {}
        self._count: dict[tuple[str, str, str], int] = {}

    def of(self, call: Operation) -> str:
        """The path of an operation's layer; ask once for each operation, in order."""
        identity = self._identity(call)
        if identity not in self._seen:
            self._seen[identity] = self._new(call, identity)
        return self._seen[identity]

    def _identity(self, call: Operation) -> object:
        """Equal for calls of one layer: the same matrices, or the same place in each call of a module."""
        matrices = tuple(o.source for o in _stored(call) if len(o.value.shape) > 1)
        if matrices:
            return call.op, matrices
        place = (call.module, call.call, call.op)
        self._count[place] = self._count.get(place, 0) + 1
        return call.module, call.op, self._count[place]

    def _new(self, call: Operation, identity: object) -> str:
        base = f"{call.module}.{call.op}" if call.module else call.op
        wanted = _owner(call) or (call.module if call.leaf else "") or base
        candidates = chain((wanted, base), (f"{base}_{number}" for number in count(1)))
        path = next(path for path in candidates if path not in self._owner)
        self._owner[path] = identity
        return path


def _stored(call: Operation) -> tuple[Operand, ...]:
    return tuple(o for o in call.weights if o.role in ("weight", "params", "w_ih"))


def _owner(call: Operation) -> str:
    """The module that owns the operation's weight; a vector's only if it is the caller or inside it."""
    stored = _stored(call)
    if not stored:
        return ""
    owner = stored[0].source.rpartition(".")[0]
    inside = owner == call.module or owner.startswith(f"{call.module}." if call.module else "")
    return owner if inside or len(stored[0].value.shape) > 1 else ""
