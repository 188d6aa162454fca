"""Networks and rows that no device was fitted to: nothing breaks, nothing is free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hw_devices import BOARD, CORE
from hw_networks import conv, depthwise, linear

from joulecut.hw_models import DeviceSpec, calibrate, estimate, layer_cost, overhead_cost
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.profile import EnergyProfile
from joulecut.workload.layer import LayerWork, Workload

PRICED = [spec for spec in all_devices() if spec.mode != "definition"]
Row = tuple[Workload, float | None, float | None]


def attention(path: str, tokens: int, width: int) -> tuple[LayerWork, ...]:
    """Projections and the two products of attention, which have MACs and no weights."""
    product = LayerWork(
        path=f"{path}.scores", op="matmul", kind="dense", macs=tokens * tokens * width, weight_bytes=0,
        in_bytes=8 * tokens * width, out_bytes=4 * tokens * tokens,
        in_shape=(1, tokens, width), out_shape=(1, tokens, tokens),
    )  # fmt: skip
    softmax = LayerWork(
        path=f"{path}.softmax", op="softmax", kind="elementwise", macs=0, weight_bytes=0,
        in_bytes=4 * tokens * tokens, out_bytes=4 * tokens * tokens,
        in_shape=(1, tokens, tokens), out_shape=(1, tokens, tokens),
    )  # fmt: skip
    return (linear(f"{path}.q", width, width), product, softmax, replace(product, path=f"{path}.values"))


def lstm(steps: int, width: int) -> LayerWork:
    """One cell that is called once a step; its weights are stored once."""
    weights = 8 * width * width
    return LayerWork(
        path="lstm", op="lstm", kind="dense", macs=weights * steps, weight_bytes=4 * weights,
        in_bytes=4 * width * steps, out_bytes=4 * width * steps,
        in_shape=(1, steps, width), out_shape=(1, steps, width), weight_shape=(4 * width, 2 * width),
        in_channels=width, out_channels=width, calls=steps,
    )  # fmt: skip


def wide(width: int) -> Workload:
    """A network of some width."""
    return Workload(
        f"width-{width}",
        (conv("a", 32, 32, 3, width, 3, reads_input=True), depthwise("b", 32, width), linear("c", width, 10)),
    )


NETWORKS = (
    Workload("depthwise", tuple(depthwise(f"dw{i}", 56, 128) for i in range(12))),
    Workload("fc", tuple(linear(f"fc{i}", 640, 128) for i in range(4))),
    Workload("attention", attention("block", 196, 192)),
    Workload("lstm", (lstm(100, 64),)),
    Workload("one-mac", (linear("one", 1, 1),)),
    Workload("huge", (conv("huge", 2048, 2048, 512, 512, 3),)),
    Workload("int8", (replace(linear("q", 64, 64), dtype="int8"),)),
    Workload("batch-of-4", (replace(conv("a", 32, 32, 3, 16, 3), macs=4 * 442368),), batch=4),
)


def sound(found: EnergyProfile) -> None:
    """No figure is 0, negative or not a number, and every bound is on its side."""
    for figure in (found.total, found.duration, *(row.energy for row in found.layers)):
        assert math.isfinite(figure.value)
        low_90, high_90 = figure.bounds(0.9)
        low_50, high_50 = figure.bounds(0.5)
        assert -1e-12 * figure.value <= low_90 <= low_50 <= figure.value <= high_50 <= high_90
    assert found.total.value > 0
    assert found.total.bounds(0.9)[0] > 0
    assert 0 <= found.idle.value <= found.total.value * (1 + 1e-12)


@pytest.mark.parametrize("spec", PRICED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("batch", [1, 7])
def test_every_device_prices_every_kind_of_network(spec: DeviceSpec, network: Workload, batch: int) -> None:
    found = estimate(network, spec, batch=batch)
    sound(found)
    if spec.coefficients.active_w:
        assert found.duration.value > 0


@pytest.mark.parametrize("spec", PRICED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("latency_s", [1e-9, 1e6])
def test_an_absurd_latency_gives_no_absurd_bounds(spec: DeviceSpec, latency_s: float) -> None:
    found = estimate(wide(16), spec, latency_s=latency_s)
    sound(found)
    assert found.duration.value == latency_s


def priced(network: Workload, device: DeviceSpec, factor: float = 1.0) -> float:
    """Joules of a network on a device, without interval."""
    layers = math.fsum(layer_cost(device, layer).total_j for layer in network.layers)
    return factor * (layers + overhead_cost(device).total_j)


def rows(device: DeviceSpec, count: int, *, timed: bool = True) -> list[Row]:
    """A true device of twice the prices, at 4 W, measured on some widths."""
    found: list[Row] = []
    for number in range(count):
        energy_j = priced(wide(8 + 5 * number), device, 2.0)
        found.append((wide(8 + 5 * number), energy_j, energy_j / 4 if timed else None))
    return found


@pytest.mark.parametrize("count", range(1, 17))
@pytest.mark.parametrize("prior", [BOARD, CORE], ids=lambda spec: spec.chip)
def test_one_network_at_several_widths_recovers_the_device(prior: DeviceSpec, count: int) -> None:
    mine = calibrate(prior, rows(prior, count), chip="mine")
    for width in (4, 50, 200):
        assert priced(wide(width), mine) == pytest.approx(priced(wide(width), prior, 2.0), rel=0.01)
    sound(estimate(wide(64), mine))


@pytest.mark.parametrize("prior", [BOARD, CORE], ids=lambda spec: spec.chip)
def test_rows_without_latencies(prior: DeviceSpec) -> None:
    found = estimate(wide(64), calibrate(prior, rows(prior, 3, timed=False)))
    sound(found)
    assert found.total.value == pytest.approx(priced(wide(64), prior, 2.0), rel=0.01)


def test_no_coefficient_leaves_the_prior_where_the_rows_say_little() -> None:
    """Near-equal MACs with 10 % of scatter: each price stays within a factor of 3 of twice the prior's."""
    nets = [wide(64), wide(65), wide(66), wide(67)]
    scattered = [
        (net, priced(net, BOARD, 2.0 * factor), None)
        for net, factor in zip(nets, (1.0, 1.1, 0.9, 1.05), strict=True)
    ]
    prices = _prices(calibrate(BOARD, scattered))
    for key, price in _prices(BOARD).items():
        assert 2 * price / 3 < prices[key] < 2 * price * 3


@pytest.mark.parametrize("spec", PRICED, ids=lambda spec: spec.name)
def test_three_odd_networks_calibrate_every_device(spec: DeviceSpec) -> None:
    odd = [NETWORKS[0], NETWORKS[1], NETWORKS[3]]
    factor = 1.0 if spec.coefficients.j_per_offchip_byte else 1.3  # traffic off the chip keeps its price
    mine = calibrate(spec, [(net, priced(net, spec, factor), None) for net in odd], chip="mine")
    for net in NETWORKS:
        sound(estimate(net, mine))
    before, after = _prices(spec), _prices(mine)
    assert set(after) == set(before)
    assert all(0 < after[key] < 10 * before[key] for key in before)


def _prices(device: DeviceSpec) -> dict[str, float]:
    c = device.coefficients
    named: Sequence[tuple[str, float]] = (
        ("dense", c.j_per_mac_dense),
        ("depthwise", c.j_per_mac_depthwise),
        ("weights", c.j_per_weight_byte),
        ("activations", c.j_per_activation_byte),
        ("elementwise", c.j_per_elementwise_byte),
        ("layer", c.j_per_layer),
        ("inference", c.j_per_inference),
    )
    return {key: price for key, price in named if price}
