"""Layers whose channels follow from widths: those of groups of channels that a pruner removes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from joulecut.workload.layer import LayerWork

__all__ = ["ChannelCount", "PricedLayer", "Widths"]

Widths = Mapping[str, int]
"""Channels that each group keeps, by its name."""


@dataclass(frozen=True, slots=True)
class ChannelCount:
    """Channels of a layer as a function of the widths: ``fixed`` + sum of multiplicity x width.

    >>> ChannelCount(2, (("a", 1), ("b", 3))).at({"a": 4, "b": 5})
    21
    """

    fixed: int
    terms: tuple[tuple[str, int], ...]

    def at(self, widths: Widths) -> int:
        """The count at these widths."""
        return self.fixed + sum(multiplicity * widths[group] for group, multiplicity in self.terms)


@dataclass(frozen=True, slots=True)
class PricedLayer:
    """A layer with its channel counts.

    Attributes:
        node: name of its node.
        work: its work at full width.
        reads: channels read.
        writes: channels written.
        operands: where it reads several activations, bytes per channel and channels of each.
    """

    node: str
    work: LayerWork
    reads: ChannelCount
    writes: ChannelCount
    operands: tuple[tuple[int, ChannelCount], ...] = ()

    def at(self, widths: Widths) -> LayerWork:
        """Its work at these widths."""
        work = self.work.resized(self.reads.at(widths), self.writes.at(widths))
        read_bytes = self.read_bytes(widths)
        return work if read_bytes is None else replace(work, in_bytes=read_bytes)

    def read_bytes(self, widths: Widths) -> int | None:
        """Bytes of its operands at these widths; None where they go with the channels read."""
        if not self.operands:
            return None
        return sum(size * count.at(widths) for size, count in self.operands)
