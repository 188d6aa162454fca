"""What a network costs on a device: device data with sources, and the model that turns work into joules.

    >>> from joulecut.hw_models import device
    >>> device("reference/edge/float32").channel_step
    4

Names are loaded on first use, so that importing this package costs next to nothing; nothing here needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from joulecut.hw_models.calibrating import calibrate
    from joulecut.hw_models.catalogue import describe, device, names
    from joulecut.hw_models.comparing import total_of
    from joulecut.hw_models.energy import LayerCost, layer_cost, overhead_cost
    from joulecut.hw_models.explaining import Explanation, explain
    from joulecut.hw_models.modelling import estimate, total_estimate
    from joulecut.hw_models.new_board import BoardFacts, on_board
    from joulecut.hw_models.operating_point import at_operating_point
    from joulecut.hw_models.spec import DeviceSpec, Figure, Source
    from joulecut.hw_models.writing import to_toml

__all__ = [
    "BoardFacts",
    "DeviceSpec",
    "Explanation",
    "Figure",
    "LayerCost",
    "Source",
    "at_operating_point",
    "calibrate",
    "describe",
    "device",
    "estimate",
    "explain",
    "layer_cost",
    "names",
    "on_board",
    "overhead_cost",
    "to_toml",
    "total_estimate",
    "total_of",
]

_MODULES: Final[dict[str, str]] = {
    "BoardFacts": "new_board",
    "DeviceSpec": "spec",
    "Explanation": "explaining",
    "Figure": "spec",
    "LayerCost": "energy",
    "Source": "spec",
    "at_operating_point": "operating_point",
    "calibrate": "calibrating",
    "describe": "catalogue",
    "device": "catalogue",
    "estimate": "modelling",
    "explain": "explaining",
    "layer_cost": "energy",
    "names": "catalogue",
    "on_board": "new_board",
    "overhead_cost": "energy",
    "to_toml": "writing",
    "total_estimate": "modelling",
    "total_of": "comparing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
