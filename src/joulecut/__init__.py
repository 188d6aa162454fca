"""joulecut: joules per layer of a neural network, and pruning to a budget in joules.

The names below are loaded when they are first used (PEP 562): ``import joulecut`` imports neither torch
nor numpy and takes a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from joulecut import errors as errors
    from joulecut.api import (
        PruneResult,
        apply,
        battery,
        benchmark,
        calibrate,
        compare,
        device,
        devices,
        explain,
        explain_steps,
        load,
        measure,
        profile,
        prune,
        prune_nodes,
        prune_weights,
        remove_blocks,
        report,
        save,
    )
    from joulecut.benchmarks.records import Comparison
    from joulecut.estimate import Estimate
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.hw_models.spec import DeviceSpec
    from joulecut.profiler.measure import Meter
    from joulecut.profiler.records import Measurement
    from joulecut.profiler.training import TrainingMeter
    from joulecut.pruning.records import Budget, PruneRecord

    __version__: str

__all__ = [
    "Budget",
    "Comparison",
    "DeviceSpec",
    "EnergyProfile",
    "Estimate",
    "Measurement",
    "Meter",
    "PruneRecord",
    "PruneResult",
    "TrainingMeter",
    "__version__",
    "apply",
    "battery",
    "benchmark",
    "calibrate",
    "compare",
    "device",
    "devices",
    "errors",
    "explain",
    "explain_steps",
    "load",
    "measure",
    "profile",
    "prune",
    "prune_nodes",
    "prune_weights",
    "remove_blocks",
    "report",
    "save",
]

_HOMES: Final[dict[str, str]] = {
    "Budget": "joulecut.pruning.records",
    "Comparison": "joulecut.benchmarks.records",
    "DeviceSpec": "joulecut.hw_models.spec",
    "EnergyProfile": "joulecut.hw_models.profile",
    "Estimate": "joulecut.estimate",
    "Measurement": "joulecut.profiler.records",
    "Meter": "joulecut.profiler.measure",
    "PruneRecord": "joulecut.pruning.records",
    "TrainingMeter": "joulecut.profiler.training",
}
"""Where the records live; every other public name is one of ``joulecut.api``."""


if not TYPE_CHECKING:  # so that type checkers still report a misspelt name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return import_module("importlib.metadata").version("joulecut")
        if name == "errors":
            return import_module("joulecut.errors")
        if name not in __all__:
            raise AttributeError(f"module 'joulecut' has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "joulecut.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
