"""``estimate``: the energy profile of a network on a device, from the device's data alone.

Of every figure's interval one part is common to the device and one the network's own. The own parts of
layers add up in quadrature, so each layer's is chosen as wide as makes their sum the network's: the data
pins totals down, not the split among layers, and one layer is less sure than all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from joulecut.errors import UsageError
from joulecut.estimate import CERTAIN, Estimate, Origin, Spread, exact, total
from joulecut.hw_models.catalogue import device as device_by_name
from joulecut.hw_models.energy import INSIDE_OTHERS, LayerCost, layer_cost, overhead_cost
from joulecut.hw_models.fitness import network_interval
from joulecut.hw_models.intervals import DATASHEET, Interval, interval
from joulecut.hw_models.profile import EnergyProfile, LayerEnergy
from joulecut.hw_models.sparsity import SparsePrice, Zeros, sparse_price
from joulecut.hw_models.spec import EVIDENCE, DeviceSpec
from joulecut.hw_models.timing import at_latency
from joulecut.workload.layer import LayerWork, Workload

__all__ = ["OVERHEAD_PATH", "ZERO_WEIGHTS", "estimate", "rebatched", "total_estimate"]

OVERHEAD_PATH = "(per inference)"
"""Path of the row that holds the constant of one inference."""
ZERO_WEIGHTS = "zero weights"
"""Key of the provenance that says what zero weights save."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What all rows of one estimate share."""

    device: DeviceSpec
    mode: str
    interval: Interval
    spread_share: float

    def joules(self, value: float, *, unsure: bool = False, method: str = "") -> Estimate:
        own = interval("datasheet", own_90=DATASHEET).own(value) if unsure else self.own(value)
        return self.figure(value, "J", own, method or f"{self.mode} model")

    def seconds(self, value: float) -> Estimate:
        return self.figure(value, "s", self.own(value), f"{self.mode} model")

    def own(self, value: float) -> Spread:
        return self.interval.own(value, self.spread_share)

    def figure(self, value: float, unit: str, own: Spread, method: str) -> Estimate:
        common = self.interval.common(value)
        return Estimate(
            value,
            unit,
            _origin(self.device),
            method,
            common=common,
            own=CERTAIN if self.mode == "definition" else _above_nothing(value, own, common),
            common_with=self.device.name,
        )


def _above_nothing(value: float, own: Spread, common: Spread) -> Spread:
    """The own spread, as far below the value as leaves both parts together above 0."""
    left_50, left_90 = (
        math.sqrt(max(value * value - below * below, 0.0)) for below in (common.below_50, common.below_90)
    )
    return replace(own, below_50=min(own.below_50, left_50), below_90=min(own.below_90, left_90))


def _origin(device: DeviceSpec) -> Origin:
    return "assumed" if device.mode == "definition" else "modelled"


def estimate(
    workload: Workload,
    device: DeviceSpec | str,
    *,
    batch: int = 1,
    latency_s: float | None = None,
    zeros: Mapping[str, Zeros] | None = None,
) -> EnergyProfile:
    """The modelled energy of one inference, layer by layer.

    Args:
        workload: what the network does.
        device: a device or its name.
        batch: samples in one inference; MACs and activations go with it, weights are read once.
        latency_s: measured seconds of one inference. Where the device's active power is known, that power
            times this time is joined with the modelled energy (mode ``latency-measured``, see
            ``timing.at_latency``); elsewhere it gives the time only.
        zeros: zero weights by path of the layer; they save what the device file declares for them.

    Returns:
        ``total`` = the layers' energies + ``idle``; ``unattributed`` is exactly 0. The constant of one
        inference is a row of its own, ``(per inference)``. ``provenance`` holds sources and warnings.

    Raises:
        UsageError: no layers, a batch below 1, a latency that is not a positive time.
        UnknownDevice: no device of that name.

    >>> fc = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
    >>> str(estimate(Workload("tiny", (fc,)), "reference/edge/float32").total)
    '3.65 nJ (assumed)'
    """
    spec = device if isinstance(device, DeviceSpec) else device_by_name(device)
    _check(workload, batch, latency_s)
    layers = tuple(rebatched(layer, workload.batch, batch) for layer in workload.layers)
    sparse = _sparse(spec, layers, zeros or {})
    costs = [sparse[e.path].cost if e.path in sparse else layer_cost(spec, e) for e in layers]
    costs.append(overhead_cost(spec))
    mode = spec.mode
    if latency_s is not None and spec.coefficients.active_w:
        mode = "latency-measured"
        modelled, _ = network_interval(spec, layers, batch=batch)
        costs = at_latency(spec, costs, latency_s, modelled)
    width, warnings = network_interval(spec, layers, batch=batch, mode=mode)
    idle_j = math.fsum(cost.static_j for cost in costs)
    model = _Model(spec, mode, width, _spread_share([*(cost.dynamic_j for cost in costs), idle_j]))
    rows = _rows(model, workload, layers, costs)
    idle = model.joules(
        idle_j, method="idle power x time" if spec.coefficients.idle_w else "idle power not known"
    )
    energy = total((*(row.energy for row in rows), idle), unit="J", method=f"{mode} model")
    return EnergyProfile(
        model=workload.name,
        device=spec.name,
        boundary=spec.boundary,
        mode=mode,
        batch=batch,
        total=energy,
        idle=idle,
        unattributed=exact(0.0, "J", "modelled", "a model attributes every joule"),
        duration=_duration(rows, latency_s, model),
        layers=_with_shares(rows, energy.value),
        uncounted=workload.uncounted,
        provenance=_provenance(spec, workload, costs, layers, warnings) | _zeros_told(sparse),
    )


def total_estimate(device: DeviceSpec, energy_j: float, width: Interval | None = None) -> Estimate:
    """A whole network's joules with the interval of the device (or ``width``), without its layers.

    >>> from joulecut.hw_models.catalogue import device
    >>> total_estimate(device("reference/edge/float32"), 2.0).bounds(0.9)
    (2.0, 2.0)
    """
    chosen = width or device.interval
    return _Model(device, device.mode, chosen, 1.0).joules(energy_j)


def rebatched(layer: LayerWork, batch: int, wanted: int) -> LayerWork:
    """A layer's work for another batch: MACs and activations go with it, weights do not.

    >>> layer = LayerWork("a", "add", "elementwise", 0, 0, 64, 32, (2, 8), (2, 8))
    >>> rebatched(layer, 2, 1).in_bytes
    32
    """
    if batch == wanted:
        return layer
    return replace(
        layer,
        macs=round(layer.macs * wanted / batch),
        in_bytes=round(layer.in_bytes * wanted / batch),
        out_bytes=round(layer.out_bytes * wanted / batch),
        in_shape=_resized(layer.in_shape, batch, wanted),
        out_shape=_resized(layer.out_shape, batch, wanted),
    )


def _resized(shape: tuple[int, ...], batch: int, wanted: int) -> tuple[int, ...]:
    return (shape[0] * wanted // batch, *shape[1:]) if shape else shape


def _check(workload: Workload, batch: int, latency_s: float | None) -> None:
    if not workload.layers:
        unknown = ", ".join(dict.fromkeys(f"{item.op} ({item.reason})" for item in workload.uncounted))
        raise UsageError(
            f"{workload.name} has no layers to price{f'; not counted: {unknown[:200]}' if unknown else ''}.",
            hint="Check that the network was read whole.",
        )
    if batch < 1:
        raise UsageError(f"a batch of {batch} is below 1.")
    if latency_s is not None and not (math.isfinite(latency_s) and latency_s > 0):
        raise UsageError(f"a latency of {latency_s} s is not a positive time.")


def _spread_share(joules: Sequence[float]) -> float:
    """How much wider a part's own spread is than the whole's, so that in quadrature they make the whole's."""
    size = math.hypot(*joules)
    return math.fsum(joules) / size if size else 1.0


def _rows(
    model: _Model, workload: Workload, layers: Sequence[LayerWork], costs: Sequence[LayerCost]
) -> list[LayerEnergy]:
    uncounted = {each.path for each in workload.uncounted}
    rows = [
        LayerEnergy(
            path=layer.path,
            op=layer.op,
            kind=layer.kind,
            macs=layer.macs,
            weight_bytes=layer.weight_bytes,
            in_bytes=layer.in_bytes,
            out_bytes=layer.out_bytes,
            energy=model.joules(
                cost.dynamic_j,
                unsure=layer.path in uncounted,
                method="bytes only: no rule counts its arithmetic" if layer.path in uncounted else "",
            ),
            time=model.seconds(cost.duration_s),
            share=0.0,
            static_j=cost.static_j,
            bound_by=cost.bound_by,
            calls=layer.calls,
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            weight_shape=layer.weight_shape,
            bias_bytes=layer.bias_bytes,
            dtype=layer.dtype,
            reads_input=layer.reads_input,
            writes_output=layer.writes_output,
            in_shape=layer.in_shape,
            out_shape=layer.out_shape,
            groups=layer.groups,
        )
        for layer, cost in zip(layers, costs[:-1], strict=True)
    ]
    constant = costs[-1]
    if constant.total_j:
        rows.append(
            LayerEnergy(
                path=OVERHEAD_PATH,
                op="overhead",
                kind="overhead",
                macs=0,
                weight_bytes=0,
                in_bytes=0,
                out_bytes=0,
                energy=model.joules(constant.dynamic_j),
                time=model.seconds(constant.duration_s),
                share=0.0,
                static_j=constant.static_j,
                bound_by=constant.bound_by,
            )
        )
    return rows


def _with_shares(rows: Sequence[LayerEnergy], total_j: float) -> tuple[LayerEnergy, ...]:
    if not total_j:
        return tuple(rows)
    return tuple(replace(row, share=(row.energy.value + row.static_j) / total_j) for row in rows)


def _duration(rows: Sequence[LayerEnergy], latency_s: float | None, model: _Model) -> Estimate:
    if latency_s is not None:
        return exact(latency_s, "s", "measured", "given by the user")
    if not any(row.time.value for row in rows):
        return exact(0.0, "s", _origin(model.device), f"{model.device.name} has no time")
    return total((row.time for row in rows), unit="s", method=f"{model.mode} model")


def _sparse(
    device: DeviceSpec, layers: Sequence[LayerWork], zeros: Mapping[str, Zeros]
) -> dict[str, SparsePrice]:
    """Prices of the layers with zero weights, by path."""
    return {
        layer.path: sparse_price(device, layer, zeros[layer.path]) for layer in layers if layer.path in zeros
    }


def _zeros_told(prices: Mapping[str, SparsePrice]) -> dict[str, str]:
    """What zero weights save, layer by layer, in words."""
    told = [f"{path}: {price.told}" for path, price in prices.items()]
    return {ZERO_WEIGHTS: "; ".join(told)} if told else {}


def _provenance(
    device: DeviceSpec,
    workload: Workload,
    costs: Sequence[LayerCost],
    layers: Sequence[LayerWork],
    warnings: Sequence[str],
) -> dict[str, str]:
    found = {
        "core": device.core,
        "sources": "; ".join(f"{s.id} ({EVIDENCE[s.evidence]}): {s.text}" for s in device.sources),
    }
    if device.runtime_version:
        found["runtime"] = f"{device.runtime} {device.runtime_version}"
    if device.note:
        found["note"] = device.note
    if device.prior_only:
        found["prior"] = f"no joule of {device.name} was measured; its figures make a prior"
    free = [
        layer.path for layer, cost in zip(layers, costs[:-1], strict=True) if cost.bound_by == INSIDE_OTHERS
    ]
    if free:
        found["not priced apart"] = f"{INSIDE_OTHERS}: {', '.join(free)}"
    priced = {layer.path for layer, cost in zip(layers, costs[:-1], strict=True) if cost.total_j}
    lost = [f"{each.op} ({each.path})" for each in workload.uncounted if each.path not in priced]
    notes = [*warnings, *([f"operations without a price: {', '.join(lost)}"] if lost else [])]
    if not any(cost.total_j for cost in costs):
        notes.append(f"nothing in this network has a price on {device.name}")
    if notes:
        found["warning"] = "; ".join(notes)
    return found
