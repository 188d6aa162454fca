"""JSON schemas of the records that joulecut saves and prints.

``python -m joulecut.schemas.generate`` writes them again after a record has changed.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

__all__ = ["RECORDS", "record_type", "schema_path"]

RECORDS: Final[dict[str, str]] = {
    "battery_life": "joulecut.hw_models.battery:BatteryLife",
    "comparison": "joulecut.benchmarks.records:Comparison",
    "device_description": "joulecut.hw_models.catalogue:DeviceDescription",
    "diagnosis": "joulecut.profiler.doctor:Diagnosis",
    "energy_comparison": "joulecut.hw_models.comparing:EnergyComparison",
    "energy_profile": "joulecut.hw_models.profile:EnergyProfile",
    "explanation": "joulecut.hw_models.explaining:Explanation",
    "measurement": "joulecut.profiler.records:Measurement",
    "prune_explanation": "joulecut.pruning.explaining:PruneExplanation",
    "prune_record": "joulecut.pruning.records:PruneRecord",
    "recipe": "joulecut.pruning.recipe:Recipe",
    "removal_record": "joulecut.pruning.removal:RemovalRecord",
    "simulated_run": "joulecut.profiler.simulate.tree:SimulatedRun",
    "trace": "joulecut.profiler.records:Trace",
    "training_energy": "joulecut.profiler.training_records:TrainingEnergy",
    "weight_recipe": "joulecut.pruning.weights.records:WeightRecipe",
    "weight_record": "joulecut.pruning.weights.records:WeightRecord",
}
"""Every record with a schema, by the name that is in the ``schema`` key of its file."""


def record_type(name: str) -> type:
    """The type of the record that is saved under a name.

    Raises:
        KeyError: no record of that name.

    >>> record_type("comparison").__name__
    'Comparison'
    """
    module, attribute = RECORDS[name].split(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, type)
    return found


def schema_path(name: str) -> Path:
    """The JSON schema of a record, a file of this package.

    >>> schema_path("comparison").name
    'comparison.json'
    """
    return Path(__file__).parent / f"{name}.json"
