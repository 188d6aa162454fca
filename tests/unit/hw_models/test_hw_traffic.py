"""Bytes over the edge of the chip: tilings worked out by hand, and monotone in everything."""

from __future__ import annotations

import pytest
from hw_networks import conv, linear
from hypothesis import given, settings
from hypothesis import strategies as st

from joulecut.hw_models import device, layer_cost
from joulecut.hw_models.traffic import offchip_bytes, tiled_bytes


def test_a_layer_that_fits_moves_once() -> None:
    assert tiled_bytes(100, 50, 60, 210, rows=(5, 5)) == 210


def test_weights_outer() -> None:
    # 40 bytes for weights beside one row in (10) and one row out (10): 100 bytes of weights in 3 groups
    assert tiled_bytes(100, 100, 100, 60, rows=(10, 10), channels=(1, 100)) == 100 + 3 * 100 + 100


def test_inputs_outer() -> None:
    # one channel's weights (10) and a halo of 2 rows of 100 leave 190 of 400: 1100 bytes in 6 bands, whose
    # 5 seams read 200 bytes again; the weights 6 times. Weights outer would read the input 12 times.
    found = tiled_bytes(1000, 1000, 100, 400, rows=(10, 10), kernel_rows=3, channels=(1, 100))
    assert found == 6 * 1000 + 1000 + 5 * 200 + 100


def test_partial_sums_spill() -> None:
    # the same with 8 input channels: weights and window (1300) beside a row of the output (10) in 4 groups
    found = tiled_bytes(1000, 1000, 100, 400, rows=(10, 10), kernel_rows=3, channels=(8, 100))
    assert found == 1000 + 1000 + 7 * 100


def test_nothing_is_kept_where_nothing_fits() -> None:
    assert tiled_bytes(100, 100, 100, 1, rows=(4, 4), kernel_rows=3) == 4 * 100 + 3 * 100 + 100


def test_calls_and_shapes_of_a_layer() -> None:
    once, twice = conv("c", 8, 8, 16, 32, 3), conv("c", 8, 8, 16, 32, 3, calls=2)
    moved = offchip_bytes(once, once.weight_bytes, once.in_bytes, once.out_bytes, 4096)
    again = offchip_bytes(twice, twice.weight_bytes, twice.in_bytes, twice.out_bytes, 4096)
    assert again == 2 * moved
    assert moved > once.weight_bytes + once.in_bytes + once.out_bytes
    fc = linear("f", 1000, 10)
    assert offchip_bytes(fc, 10_000, 1000, 10, 1e9) == 11_010


def test_a_device_that_prices_traffic() -> None:
    spec = device("edge-tpu-like/tiled/int8")
    fc = linear("f", 1000, 10)
    cost = layer_cost(spec, fc)
    assert cost.total_j == pytest.approx((10_000 * 0.04 + 11_010 * 87.5) * 1e-12, rel=1e-12)
    assert cost.bound_by == "off-chip bytes"


sizes = st.integers(1, 10_000)


@settings(max_examples=500, deadline=None)
@given(
    weights=sizes, reads=sizes, writes=sizes, onchip=st.integers(1, 40_000), more=st.integers(0, 5000),
    rows=st.integers(1, 64), kernel=st.integers(1, 7),
    channels=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)  # fmt: skip
def test_more_work_moves_no_less_and_more_memory_moves_no_more(
    weights: int,
    reads: int,
    writes: int,
    onchip: int,
    more: int,
    rows: int,
    kernel: int,
    channels: tuple[int, int],
) -> None:
    def moved(w: float, i: float, o: float, s: float) -> float:
        return tiled_bytes(w, i, o, s, rows=(rows, rows), kernel_rows=min(kernel, rows), channels=channels)

    base = moved(weights, reads, writes, onchip)
    assert base >= weights + reads + writes
    assert moved(weights + more, reads, writes, onchip) >= base
    assert moved(weights, reads + more, writes, onchip) >= base
    assert moved(weights, reads, writes + more, onchip) >= base
    assert moved(weights, reads, writes, onchip + more) <= base
