"""Layers whose channels follow from widths: those of groups of channels that a pruner removes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from joulecut.workload.layer import LayerWork

__all__ = ["Amounts", "ChannelCount", "PricedLayer", "Widths", "product"]

Widths = Mapping[str, int]
"""Channels that each group keeps, by its name."""


@dataclass(frozen=True, slots=True)
class ChannelCount:
    """A count as a function of the widths: ``fixed`` + sum of multiplicity x product of widths.

    A layer that reads the channels of a group counts one of its widths; one that reads all heads of an
    attention counts heads x width of a head. Counts add up and multiply.

    >>> heads, width = ChannelCount.of("heads"), ChannelCount.of("width")
    >>> (heads * width * 3 + ChannelCount(2)).at({"heads": 4, "width": 5})
    62
    """

    fixed: int = 0
    terms: tuple[tuple[tuple[str, ...], int], ...] = ()

    @staticmethod
    def of(group: str) -> ChannelCount:
        """The width of a group."""
        return ChannelCount(0, (((group,), 1),))

    def at(self, widths: Widths) -> int:
        """The count at these widths."""
        total = self.fixed
        for groups, multiplicity in self.terms:
            for group in groups:
                multiplicity *= widths[group]
            total += multiplicity
        return total

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups that it depends on."""
        return frozenset(group for groups, _ in self.terms for group in groups)

    @property
    def is_linear(self) -> bool:
        """Whether one channel more of a group always adds the same."""
        return all(len(groups) == 1 for groups, _ in self.terms)

    def __add__(self, other: ChannelCount) -> ChannelCount:
        return _collected([*self._monomials(), *other._monomials()])

    def __mul__(self, other: ChannelCount | int) -> ChannelCount:
        factors = [((), other)] if isinstance(other, int) else other._monomials()
        return _collected(((*a, *b), m * n) for a, m in self._monomials() for b, n in factors)

    def _monomials(self) -> list[tuple[tuple[str, ...], int]]:
        return [((), self.fixed), *self.terms]


def _collected(monomials: Iterable[tuple[tuple[str, ...], int]]) -> ChannelCount:
    """Equal products once, in one order, so that equal counts compare equal."""
    found: Counter[tuple[str, ...]] = Counter()
    for groups, multiplicity in monomials:
        found[tuple(sorted(groups))] += multiplicity
    fixed = found.pop((), 0)
    return ChannelCount(fixed, tuple(sorted((groups, m) for groups, m in found.items() if m)))


def product(counts: Iterable[ChannelCount]) -> ChannelCount:
    """Of several counts: the elements of a value of these sizes.

    >>> product([ChannelCount(3), ChannelCount.of("a"), ChannelCount(0, ((("b",), 2),))])
    ChannelCount(fixed=0, terms=((('a', 'b'), 6),))
    """
    total = ChannelCount(1)
    for count in counts:
        total = total * count
    return total


@dataclass(frozen=True, slots=True)
class Amounts:
    """A layer's work where it does not follow from its channels in and out alone.

    Scores of an attention go with its heads, a layer over tokens costs as often as there are features, and an
    LSTM's weights go with the square of its width.

    Attributes:
        macs, weight_bytes, bias_bytes, in_bytes, out_bytes: as of ``LayerWork``.
        in_shape, out_shape: sizes of its first activation and of what it writes.
    """

    macs: ChannelCount
    weight_bytes: ChannelCount
    bias_bytes: ChannelCount
    in_bytes: ChannelCount
    out_bytes: ChannelCount
    in_shape: tuple[ChannelCount, ...]
    out_shape: tuple[ChannelCount, ...]


@dataclass(frozen=True, slots=True)
class PricedLayer:
    """A layer with its channel counts.

    Attributes:
        node: name of its node.
        work: its work at full width.
        reads: channels read.
        writes: channels written.
        operands: where it reads several activations, bytes per channel and channels of each.
        amounts: its work, where more than its channels decides it.
    """

    node: str
    work: LayerWork
    reads: ChannelCount
    writes: ChannelCount
    operands: tuple[tuple[int, ChannelCount], ...] = ()
    amounts: Amounts | None = None

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups that change it."""
        counts = [self.reads, self.writes, *(count for _, count in self.operands)]
        if (a := self.amounts) is not None:
            counts += (a.macs, a.weight_bytes, a.in_bytes, a.out_bytes, *a.in_shape, *a.out_shape)
        return frozenset().union(*(count.groups for count in counts))

    @property
    def is_linear(self) -> bool:
        """Whether one channel more of a group always adds the same channels, here and there."""
        counts = (self.reads, self.writes, *(count for _, count in self.operands))
        return self.amounts is None and all(count.is_linear for count in counts)

    def at(self, widths: Widths) -> LayerWork:
        """Its work at these widths."""
        if self.amounts is not None:
            return self._amounting(self.amounts, widths)
        if not self.work.in_channels or not self.work.out_channels:
            return self.work
        work = self.work.resized(self.reads.at(widths), self.writes.at(widths))
        read_bytes = self.read_bytes(widths)
        return work if read_bytes is None else replace(work, in_bytes=read_bytes)

    def read_bytes(self, widths: Widths) -> int | None:
        """Bytes of its operands at these widths; None where they go with the channels read."""
        if not self.operands:
            return None
        return sum(size * count.at(widths) for size, count in self.operands)

    def _amounting(self, amounts: Amounts, widths: Widths) -> LayerWork:
        work = self.work
        in_channels = self.reads.at(widths) if work.in_channels else 0
        return replace(
            work,
            macs=amounts.macs.at(widths),
            weight_bytes=amounts.weight_bytes.at(widths),
            bias_bytes=amounts.bias_bytes.at(widths),
            in_bytes=amounts.in_bytes.at(widths),
            out_bytes=amounts.out_bytes.at(widths),
            in_shape=tuple(size.at(widths) for size in amounts.in_shape),
            out_shape=tuple(size.at(widths) for size in amounts.out_shape),
            in_channels=in_channels,
            out_channels=self.writes.at(widths) if work.out_channels else 0,
            groups=in_channels if work.kind == "depthwise" else work.groups,
        )
