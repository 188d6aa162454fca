"""The profile job: a network's joules by layer on a device, modelled where no sensor answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from joulecut.errors import UsageError
from joulecut.hw_models.catalogue import device as find_device
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.source import loaded, traced
from joulecut.workload.layer import Workload

if TYPE_CHECKING:
    from joulecut.workload.sources import LoadedModel

__all__ = ["profile", "provenance", "resolve_device"]

_SENSORS: Final = ("auto", "model")


def profile(
    model: Any,
    example: Any = None,
    *,
    device: str | DeviceSpec = "auto",
    sensor: str = "auto",
    batch: int | None = None,
    per_filter: bool = False,
    name: str = "",
) -> EnergyProfile:
    """Joules of one inference, layer by layer.

    Args:
        model: a torch module, or its name: ``package.module:callable``, ``file.py:callable``, an .onnx or
            .pt2 file.
        example: example inputs, or their shapes as ``"1x3x224x224"``; the batch comes first.
        device: a device, its name, a device file, or ``"auto"``: a generic host with a wide interval.
        sensor: ``"auto"`` or ``"model"``; this version measures with no sensor and says so in the provenance.
        batch: samples in one inference; by default as many as in the example.
        per_filter: also the joules freed by removing filters, for every group of channels.
        name: what to call the network.

    Raises:
        UsageError: no such model, device or sensor, or no example.
        ModelError: the network cannot be captured or read.

    >>> import torch
    >>> print(profile(torch.nn.Linear(4, 8), torch.zeros(1, 4), device="reference/edge/float32").total)
    4.29 nJ (assumed)
    """
    if sensor not in _SENSORS:
        raise UsageError(
            f"this version of joulecut does not measure, with {sensor[:40]!r} or any other sensor.",
            hint="Use --sensor model.",
        )
    spec = resolve_device(device)
    network = loaded(model, name)
    if network.onnx_path is not None:
        found = _from_onnx(network, example, spec, batch, per_filter)
    else:
        found = _from_torch(network, example, spec, batch, per_filter)
    notes = {"sensor": "none: every figure comes from the device model", **provenance()}
    return replace(found, provenance={**found.provenance, **notes})


def resolve_device(device: str | DeviceSpec) -> DeviceSpec:
    """A device by name or file, or as it is."""
    return device if isinstance(device, DeviceSpec) else find_device(device)


def _from_onnx(
    network: LoadedModel, example: Any, spec: DeviceSpec, batch: int | None, per_filter: bool
) -> EnergyProfile:
    from joulecut.workload.from_onnx import workload
    from joulecut.workload.inputs import parse_inputs

    if per_filter:
        raise UsageError(
            "filters are priced on a torch network, not on an .onnx file.", hint="Leave --per-filter out."
        )
    if not isinstance(example, str | None):
        raise UsageError(
            "the example of an .onnx file is a shape, not a tensor.", hint='Write it as "1x3x224x224".'
        )
    assert network.onnx_path is not None
    work = workload(network.onnx_path, batch=batch or 1, inputs=parse_inputs(example) if example else ())
    return estimate(work, spec, batch=batch or work.batch)


def _from_torch(
    network: LoadedModel, example: Any, spec: DeviceSpec, batch: int | None, per_filter: bool
) -> EnergyProfile:
    from joulecut.workload.from_torch import layer_works, workload

    graph = traced(network, example)
    work: Workload = workload(graph, name=network.name)
    found = estimate(work, spec, batch=batch or work.batch)
    if not per_filter:
        return found
    from joulecut.pruning.coupling.engine import couple
    from joulecut.pruning.pricing import pricer
    from joulecut.pruning.staircase import staircases

    coupling = couple(graph)
    return replace(found, filters=staircases(coupling, pricer(coupling, layer_works(graph), spec)))


def provenance() -> dict[str, str]:
    """Versions and machine, for every report."""
    import platform
    from importlib.metadata import (
        version,  # late: both cost as much as everything else that listing devices needs
    )

    return {
        "joulecut": version("joulecut"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
