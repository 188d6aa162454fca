"""Traffic off the chip over arrays and through forms: to the bit what one layer at a time moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hw_networks import add, conv, depthwise, linear
from hypothesis import example, given, settings
from hypothesis import strategies as st

from joulecut.hw_models import device, layer_cost
from joulecut.hw_models.batched import LayerTable
from joulecut.hw_models.forms import energy_form
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.traffic_tables import TrafficTable
from joulecut.workload.layer import LayerWork

TILED = device("edge-tpu-like/tiled/int8")


def priced_at_one(onchip_bytes: float, dtype: str = "int8") -> DeviceSpec:
    """A device on which a byte off the chip costs one joule and nothing else costs anything."""
    own = replace(
        TILED.coefficients,
        onchip_bytes=onchip_bytes,
        j_per_offchip_byte=1.0,
        j_per_mac_dense=0.0,
        j_per_mac_depthwise=0.0,
    )
    return replace(TILED, dtype=dtype, coefficients=own)


@st.composite
def layers(draw: st.DrawFn) -> LayerWork:
    """Dense, strided, grouped and depthwise convolutions, linear layers, sums, views and an LSTM."""
    kind = draw(st.sampled_from(["dense", "grouped", "depthwise", "linear", "add", "view", "lstm"]))
    n_in, n_out = draw(st.integers(1, 48)), draw(st.integers(1, 48))
    calls = draw(st.integers(1, 3))
    kernel, side, stride = (
        draw(st.sampled_from([1, 2, 3, 5])),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 4)),
    )
    if kind in ("dense", "grouped"):
        groups = draw(st.integers(2, 6)) if kind == "grouped" else 1
        out = -(-side // stride)
        found = conv("c", side, out, n_in * groups, n_out * groups, kernel)
        return replace(
            found,
            macs=calls * found.macs // groups,
            weight_bytes=found.bias_bytes + (found.weight_bytes - found.bias_bytes) // groups,
            in_bytes=calls * found.in_bytes,
            out_bytes=calls * found.out_bytes,
            weight_shape=(n_out * groups, n_in, kernel, kernel),
            groups=groups,
            calls=calls,
        )
    if kind == "depthwise":
        return depthwise("d", side, n_in)
    if kind == "linear":
        return linear("f", n_in * side, n_out)
    if kind == "lstm":
        return LayerWork("l", "lstm", "dense", 900, 720, 80, 60, (1, 5, 4), (1, 5, 3), (12, 4), calls=calls)
    return (
        add("a", side, n_in)
        if kind == "add"
        else LayerWork("v", "view", "data_movement", 0, 0, 0, 0, (1, 4), (4,))
    )


counts = st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64)), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(works=st.lists(layers(), min_size=1, max_size=6), widths=counts, onchip=st.integers(1, 30_000))
def test_arrays_move_what_each_layer_moves_to_the_bit(
    works: Sequence[LayerWork], widths: list[tuple[int, int]], onchip: int
) -> None:
    spec = priced_at_one(onchip, "int8")
    forms = [energy_form(spec, work) for work in works]
    n_in, n_out = (np.array([[pair[axis]] * len(works) for pair in widths]) for axis in (0, 1))
    moved = TrafficTable(forms).joules(n_in, n_out)
    assert moved.tolist() == [[form.at(*pair) for form in forms] for pair in widths]
    own = [layer_cost(spec, work).total_j for work in works]
    assert LayerTable(spec, works).layer_j() == pytest.approx(own, rel=1e-12)


FITS_TO_THE_BYTE = conv("c", 3, 2, 23, 23, 2)
"""At 14 and 3 channels on 194 bytes a part fills the room to the byte, or misses it by a rounding."""


@settings(max_examples=400, deadline=None)
@example(work=FITS_TO_THE_BYTE, pair=(14, 3), onchip=194)
@given(work=layers(), pair=st.tuples(st.integers(1, 64), st.integers(1, 64)), onchip=st.integers(1, 30_000))
def test_a_form_moves_what_the_layer_moves(work: LayerWork, pair: tuple[int, int], onchip: int) -> None:
    spec = priced_at_one(onchip, "float32")  # float32 sizes are whole multiples: no rounding on either side
    assert energy_form(spec, work).at(*pair) == pytest.approx(
        layer_cost(spec, work, *pair).total_j, rel=1e-12
    )


@pytest.mark.parametrize(
    ("channels_in", "onchip", "moved"),
    [
        # 584 bytes of weights, 2048 in and out; a window is 384, a row of the output 128, a halo 256
        (8, 4680, 584 + 2048 + 2048),  # fits to the byte
        (8, 2500, 584 + 2048 + 2048),  # all weights stay
        (8, 700, 584 + 2048 + 3 * 2048),  # 968 bytes beside a row in 2 groups; weights outer would take 4
        (8, 400, 584 + 2048 + 7 * 2048),  # in 4 groups
        (8, 100, 16 * 584 + 3 * 2048 + 2048),  # nothing is kept
        # 80 bytes of weights, 256 in, 2048 out; a window is 48, a row of the output 128, a halo 32
        (1, 200, 80 + 4 * 256 + 2048),  # 24 bytes for weights: 4 groups
        (1, 186, 16 * 80 + 256 + 15 * 32 + 2048),  # 10 bytes of weights and the halo leave 144: 16 bands
    ],
)
def test_a_convolution_by_hand(channels_in: int, onchip: int, moved: int) -> None:
    form = energy_form(priced_at_one(onchip), conv("c", 16, 16, channels_in, 8, 3))
    assert TrafficTable([form]).joules(np.array([channels_in]), np.array([8])).tolist() == [moved]
    assert form.at(channels_in, 8) == moved


def test_one_count_for_many_of_the_other() -> None:
    table = TrafficTable([energy_form(priced_at_one(1e3), conv("c", 8, 8, 16, 32, 3))])
    many = table.joules(np.array([16]), np.array([[32], [8], [1]]))
    assert many.shape == (3, 1)
    assert many[:, 0].tolist() == [float(table.joules(np.array([16]), np.array([n]))[0]) for n in (32, 8, 1)]


@settings(max_examples=400, deadline=None)
@given(work=layers(), pair=st.tuples(st.integers(1, 64), st.integers(1, 64)), onchip=st.integers(1, 30_000))
def test_a_narrower_layer_is_split_as_one_made_so(
    work: LayerWork, pair: tuple[int, int], onchip: int
) -> None:
    spec = priced_at_one(onchip, "float32")
    n_in, n_out = (pair[0] * work.groups, pair[1] * work.groups) if work.kind == "dense" else (pair[0],) * 2
    made = layer_cost(spec, work.resized(n_in, n_out)).total_j
    assert energy_form(spec, work).at(n_in, n_out) == pytest.approx(made, rel=1e-12)


def test_splits_follow_the_channels() -> None:
    """8 of 16 channels out: weights come in 8 parts and no more, whatever the layer was made with."""
    # 152 bytes of weights, 32 in, 128 out: a window is 24, a row of the output 32, a halo 16
    made = conv("c", 4, 4, 2, 16, 3)
    # 75 bytes leave 19 for weights, 8 parts; 4 bands of 40 bytes would move 4 x 152 + 32 + 3 x 16 + 128
    assert energy_form(priced_at_one(75), made).at(2, 8) == 152 + 8 * 32 + 128
    # 74 bytes leave 18, 9 parts; 39 bytes are 5 bands of 4 rows; 42 bytes are 5 groups of 2 channels in
    assert energy_form(priced_at_one(74), made).at(2, 8) == 4 * 152 + 3 * 32 + 128
