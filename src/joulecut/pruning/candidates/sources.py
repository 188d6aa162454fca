"""Which kinds of candidates a search looks at: what its strategy names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from joulecut.errors import UsageError
from joulecut.pruning.candidates.channels import ChannelOptions
from joulecut.pruning.candidates.option import Source
from joulecut.pruning.coupling.groups import Group

if TYPE_CHECKING:
    from joulecut.pruning.state import Run

__all__ = ["sources"]


def sources(run: Run) -> tuple[Source, ...]:
    """The sources of a run's strategy.

    Raises:
        UsageError: no group of channels belongs to the layer that is named.
    """
    strategy, layer = run.settings.strategy, run.settings.layer
    found: list[Source] = []
    if strategy in ("channels", "auto"):
        found.append(ChannelOptions(run.settings))
    if strategy == "nodes":
        wanted = partial(_writes, layer=layer)
        if layer and not any(wanted(group) for group in run.folded.coupling.groups()):
            known = ", ".join(group.name for group in run.folded.coupling.groups()[:8])
            raise UsageError(f"no channels of {layer[:120]} can be removed.", hint=f"Groups: {known}.")
        found.append(ChannelOptions(run.settings, wanted))
    return tuple(found)


def _writes(group: Group, layer: str) -> bool:
    """Whether a layer writes a group; any layer where none is named."""
    names = {part.parameter for part in group.of_role("writer")}
    return not layer or bool({layer, f"{layer}.weight"} & names) or group.name == layer
