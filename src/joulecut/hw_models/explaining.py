"""``explain``: where the joules of a layer or a network come from, coefficient by coefficient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from joulecut.errors import UsageError
from joulecut.hw_models.catalogue import device as device_by_name
from joulecut.hw_models.energy import LayerCost, layer_cost, overhead_cost
from joulecut.hw_models.modelling import OVERHEAD_PATH, ZERO_WEIGHTS
from joulecut.hw_models.profile import EnergyProfile, LayerEnergy
from joulecut.hw_models.spec import DeviceSpec, Figure
from joulecut.hw_models.terms import Term, energy_terms
from joulecut.workload.layer import Kind, LayerWork, Workload

__all__ = ["Explanation", "Term", "explain", "profiled_work"]

_WHOLE: Final = ""
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Explanation:
    """The energy of a layer or a whole network, taken apart.

    Attributes:
        subject: path of the layer, or the network's name.
        device: ``chip/runtime/dtype``.
        boundary: where the energy is counted.
        mode: mode of the estimate.
        formula: the sum in words.
        terms: add up to ``energy_j`` / ``scale``.
        power: the figures that turn energy into time and static energy.
        energy_j: joules, static part included.
        static_j: the static part of them.
        duration_s: seconds; 0 where the device has no time.
        scale: energy with the measured latency over the modelled one (1 without a measured latency).
        notes: padding, conversion of the number type and other things to know.
    """

    subject: str
    device: str
    boundary: str
    mode: str
    formula: str
    terms: tuple[Term, ...]
    power: tuple[Figure, ...]
    energy_j: float
    static_j: float
    duration_s: float
    scale: float
    notes: tuple[str, ...]


def explain(
    subject: EnergyProfile | Workload, path: str = _WHOLE, *, device: DeviceSpec | str | None = None
) -> Explanation:
    """Take the modelled energy of a layer, or of the whole network, apart.

    Args:
        subject: a modelled profile (fresh or loaded from a file), or a workload with its device.
        path: path of the layer; "" for the whole network.
        device: what it runs on; by default the device that the profile names.

    Raises:
        UsageError: no layer of that path, a profile that was measured, a workload without a device.
        UnknownDevice: the profile's device is not bundled: give it as ``device``.

    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> found = explain(Workload("tiny", (fc,)), "fc", device="reference/edge/float32")
    >>> [(term.name, term.quantity) for term in found.terms]
    [('MACs', 32.0), ('weight bytes', 128.0), ('activation bytes', 48.0)]
    """
    spec = _device(subject, device)
    rows = _rows(subject)
    if path and path not in {row.path for row in rows} | {OVERHEAD_PATH}:
        raise UsageError(f"there is no layer {path[:80]!r} in this network.", hint=_close(path, rows))
    chosen = [row for row in rows if path in (_WHOLE, row.path)]
    constant = path in (_WHOLE, OVERHEAD_PATH)
    costs = [layer_cost(spec, row) for row in chosen] + ([overhead_cost(spec)] if constant else [])
    modelled_j = math.fsum(cost.total_j for cost in costs)
    scale, notes = _scale(subject, path, modelled_j)
    terms = energy_terms(spec, chosen, constant=constant)
    static_j, duration_s = _static_and_time(subject, path, costs, scale)
    return Explanation(
        subject=path or _name(subject),
        device=spec.name,
        boundary=spec.boundary,
        mode=subject.mode if isinstance(subject, EnergyProfile) else spec.mode,
        formula=_formula(terms, scale),
        terms=terms,
        power=tuple(
            spec.figures[key]
            for key in ("active_w", "idle_w", "ps_per_mac", "us_per_layer")
            if key in spec.figures
        ),
        energy_j=modelled_j * scale,
        static_j=static_j,
        duration_s=duration_s,
        scale=scale,
        notes=(*notes, *_notes(spec, chosen)),
    )


def _device(subject: EnergyProfile | Workload, device: DeviceSpec | str | None) -> DeviceSpec:
    if isinstance(subject, EnergyProfile) and subject.mode == "measured":
        raise UsageError(
            f"the profile of {subject.model} was measured; only a modelled energy has a formula.",
            hint="Profile it with --sensor model.",
        )
    if isinstance(device, DeviceSpec):
        return device
    if device is None and isinstance(subject, EnergyProfile):
        device = subject.device
    if device is None:
        raise UsageError(f"the work of {_name(subject)} has no energy without a device.")
    return device_by_name(device)


def _name(subject: EnergyProfile | Workload) -> str:
    return subject.model if isinstance(subject, EnergyProfile) else subject.name


def _rows(subject: EnergyProfile | Workload) -> tuple[LayerWork, ...]:
    if isinstance(subject, Workload):
        return subject.layers
    return profiled_work(subject)


def profiled_work(profile: EnergyProfile) -> tuple[LayerWork, ...]:
    """The work behind the rows of a profile, without the constant of one inference."""
    return tuple(_work(row) for row in profile.layers if row.path != OVERHEAD_PATH)


def _work(row: LayerEnergy) -> LayerWork:
    """The work behind a row of a profile."""
    return LayerWork(
        path=row.path,
        op=row.op,
        kind=cast(Kind, row.kind),
        macs=row.macs,
        weight_bytes=row.weight_bytes,
        in_bytes=row.in_bytes,
        out_bytes=row.out_bytes,
        in_shape=row.in_shape,
        out_shape=row.out_shape,
        weight_shape=row.weight_shape,
        in_channels=row.in_channels,
        out_channels=row.out_channels,
        groups=row.groups,
        dtype=row.dtype,
        calls=row.calls,
        bias_bytes=row.bias_bytes,
        reads_input=row.reads_input,
        writes_output=row.writes_output,
    )


def _close(path: str, rows: Iterable[LayerWork]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(path[:200], [row.path for row in rows], n=3, cutoff=0.4)
    return f"Close names: {', '.join(close)}." if close else "`joulecut profile` lists its layers."


def _scale(subject: EnergyProfile | Workload, path: str, modelled_j: float) -> tuple[float, tuple[str, ...]]:
    """Saved over modelled energy: 1 but for a measured latency, or when the device's data changed since."""
    if isinstance(subject, Workload) or not modelled_j:
        return 1.0, ()
    saved_j = math.fsum(
        row.energy.value + row.static_j for row in subject.layers if path in (_WHOLE, row.path)
    )
    scale = saved_j / modelled_j
    if subject.mode == "latency-measured":
        return scale, ()
    if abs(scale - 1) > _SAME and ZERO_WEIGHTS in subject.provenance:
        return 1.0, (f"explained as if dense; zero weights save: {subject.provenance[ZERO_WEIGHTS]}",)
    if abs(scale - 1) > _SAME:
        return 1.0, ("the device's data changed since this profile was saved: explained with today's",)
    return 1.0, ()


def _static_and_time(
    subject: EnergyProfile | Workload, path: str, costs: Iterable[LayerCost], scale: float
) -> tuple[float, float]:
    """Static joules and seconds: as saved where the latency was measured, else as modelled."""
    if scale != 1 and isinstance(subject, EnergyProfile):
        rows = [row for row in subject.layers if path in (_WHOLE, row.path)]
        return math.fsum(row.static_j for row in rows), math.fsum(row.time.value for row in rows)
    found = list(costs)
    return math.fsum(cost.static_j for cost in found), math.fsum(cost.duration_s for cost in found)


def _formula(terms: Iterable[Term], scale: float) -> str:
    products = [" x ".join((term.name, *(figure.key for figure in term.coefficients))) for term in terms]
    text = f"energy = {' + '.join(products) or '0'}"
    return text if scale == 1 else f"({text.removeprefix('energy = ')}) x scale by the measured latency"


def _notes(device: DeviceSpec, layers: Iterable[LayerWork]) -> tuple[str, ...]:
    chosen = tuple(layers)
    found = []
    if device.pads:
        padded = [layer.path for layer in chosen if _is_padded(device, layer)]
        if padded:
            found.append(f"channels padded to multiples of {device.channel_step}: {', '.join(padded)}")
    if any(layer.dtype != device.dtype for layer in chosen):
        found.append(f"bytes counted as {device.dtype}, the device's number type")
    if device.prior_only:
        found.append("no joule of this device was measured; the figures make a prior")
    if device.note:
        found.append(device.note)
    return tuple(found)


def _is_padded(device: DeviceSpec, layer: LayerWork) -> bool:
    step = device.channel_step
    grows_in = "in" in device.pads and not layer.reads_input and layer.in_channels % step
    grows_out = "out" in device.pads and not layer.writes_output and layer.out_channels % step
    return bool(grows_in or grows_out)
