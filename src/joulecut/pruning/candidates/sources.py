"""Which kinds of candidates a search looks at: what its strategy names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.errors import UsageError
from joulecut.pruning.blocks import Removable
from joulecut.pruning.candidates.blocks import BlockOptions, Parts, parts_of
from joulecut.pruning.candidates.channels import ChannelOptions, chunk
from joulecut.pruning.candidates.option import Source
from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.weights.options import WeightOptions

if TYPE_CHECKING:
    from joulecut.pruning.state import Run

__all__ = ["narrowest", "sources", "wanted_groups", "wanted_parts"]

_ALONE, _BESIDE = 8, 2
"""Blocks and layers measured at one step, alone and beside other kinds."""


def sources(run: Run) -> tuple[Source, ...]:
    """The sources of a run's strategy.

    Raises:
        UsageError: no channels of the layer that is named can go, the network has no block to leave out, or
            zero weights save nothing.
    """
    found: list[Source] = []
    if run.settings.strategy in ("channels", "nodes", "auto"):
        groups = frozenset(group.name for group in wanted_groups(run))
        found.append(ChannelOptions(run.settings, groups, run.zeroing))
    if run.settings.strategy in ("blocks", "auto"):
        most = _ALONE if run.settings.strategy == "blocks" else _BESIDE
        found.append(BlockOptions(wanted_parts(run), run.refit, most))
    if run.zeroing:
        layer = run.settings.layer
        found.append(WeightOptions(run.settings, frozenset([f"{layer}.weight"] if layer else [])))
    elif run.settings.strategy == "weights":
        raise UsageError(
            f"zero weights save 0 J on {run.device.name}, whose file declares nothing that skips them.",
            hint="Give a threshold, a share or a pattern to set weights to zero for the size.",
        )
    return tuple(found)


def wanted_groups(run: Run) -> tuple[Group, ...]:
    """The groups of channels that a run's strategy may cut."""
    strategy, layer = run.settings.strategy, run.settings.layer
    groups = run.folded.coupling.all_groups()
    if strategy not in ("channels", "nodes", "auto"):
        return ()
    wanted = tuple(group for group in groups if not layer or _writes(group, layer))
    if not wanted:
        known = ", ".join(group.name for group in groups[:8])
        raise UsageError(f"no channels of {layer[:120]} can be removed.", hint=f"Those of {known} can.")
    return wanted


def wanted_parts(run: Run) -> Parts:
    """The blocks and layers that a run's strategy may leave out."""
    if run.settings.strategy not in ("blocks", "auto"):
        return {}
    parts = parts_of(run.folded)
    if not parts and run.settings.strategy == "blocks":
        raise UsageError(
            "the network has no block or layer that can be left out.",
            hint="Cut channels: --strategy channels.",
        )
    return parts


def narrowest(run: Run) -> tuple[dict[str, int], tuple[Removable, ...]]:
    """The narrowest widths that a run's strategy can reach, and all parts that it can leave out."""
    widths = dict(run.pricer.sizes)
    for group in wanted_groups(run):
        while taken := chunk(widths[group.name], run.device.channel_step):
            widths[group.name] -= taken
    return widths, tuple(wanted_parts(run).values())


def _writes(group: Group, layer: str) -> bool:
    """Whether a layer writes a group."""
    names = {part.parameter for part in group.of_role("writer")}
    return bool({layer, f"{layer}.weight"} & names) or group.name == layer
