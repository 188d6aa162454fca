"""``RemovalRecord``: nodes of a layer or blocks of a network that were removed by hand, without a search."""

from __future__ import annotations

from dataclasses import dataclass, field

from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import Refusal

__all__ = ["RemovalRecord"]


@dataclass(frozen=True, slots=True)
class RemovalRecord:
    """All that is known of a removal that the user named, as saved in ``result.json``.

    Attributes:
        model: name of the network.
        device: device that prices it.
        asked: what was asked for, in words.
        before: profile of the original.
        after: profile of the result.
        parameters: number of parameters, before and after.
        nodes: nodes of the named layer that went, in the original's numbers.
        blocks: blocks that went.
        kept: kept and original width by group of channels that was cut.
        refused: channels that have to stay.
        provenance: versions and seed.
    """

    model: str
    device: str
    asked: str
    before: EnergyProfile
    after: EnergyProfile
    parameters: tuple[int, int]
    nodes: tuple[int, ...] = ()
    blocks: tuple[str, ...] = ()
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
