"""What zero weights are worth: nothing without a declaration, and by hand's arithmetic with one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_devices import (
    BLOCK_ENTRY,
    COMPRESSED_ENTRY,
    GATE_ENTRY,
    GATING,
    GATING_TEXT,
    NM_DEVICE,
    NM_ENTRY,
    NM_TEXT,
    PLAIN,
)

from joulecut.errors import DeviceFileError, UsageError
from joulecut.hw_models.catalogue import all_devices, describe
from joulecut.hw_models.device_file import parse_devices
from joulecut.hw_models.energy import layer_cost
from joulecut.hw_models.explaining import explain
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.resolve import respecified
from joulecut.hw_models.sparsity import UNSTRUCTURED, Zeros, parse_pattern, sparse_price
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.writing import to_toml
from joulecut.workload.layer import LayerWork, Workload

PICO = 1e-12
TWO_OF_FOUR = Zeros(parse_pattern("2:4"), 0.5)


def linear(outputs: int = 16, inputs: int = 32, rows: int = 8, dtype: str = "float16") -> LayerWork:
    """A linear layer with a bias; two bytes a number, or one."""
    size = {"float16": 2, "int8": 1, "float32": 4}[dtype]
    weights, bias = outputs * inputs * size, outputs * size
    return LayerWork(
        "fc", "linear", "dense", rows * outputs * inputs, weights + bias, rows * inputs * size,
        rows * outputs * size, (rows, inputs), (rows, outputs), (outputs, inputs), inputs, outputs,
        dtype=dtype, bias_bytes=bias,
    )  # fmt: skip


def conv(dtype: str = "int8") -> LayerWork:
    """A 3x3 convolution of 8 to 16 channels on 10x10 positions, without a bias: 115,200 MACs."""
    size = {"float16": 2, "int8": 1, "float32": 4}[dtype]
    return LayerWork(
        "conv", "conv2d", "dense", 16 * 8 * 9 * 100, 16 * 8 * 9 * size, 800 * size, 1600 * size,
        (1, 8, 10, 10), (1, 16, 10, 10), (16, 8, 3, 3), 8, 16, dtype=dtype,
    )  # fmt: skip


def test_two_of_four_by_hand() -> None:
    """4,096 MACs at 10 pJ halved; 1,024 bytes of weights at 100 pJ times 0.5625; the bias keeps its price."""
    price = sparse_price(NM_DEVICE, linear(), TWO_OF_FOUR)
    dense_pj = 4096 * 10 + (1024 + 32) * 100 + (512 + 256) * 1
    sparse_pj = 2048 * 10 + (576 + 32) * 100 + (512 + 256) * 1
    assert price.dense.total_j == pytest.approx(dense_pj * PICO, rel=1e-12)
    assert price.cost.total_j == pytest.approx(sparse_pj * PICO, rel=1e-12)
    assert price.saved_j == pytest.approx((dense_pj - sparse_pj) * PICO, rel=1e-9)
    assert price.support is NM_DEVICE.sparsity[0]
    assert price.reason == ""
    assert price.told == "65.3 nJ"


@pytest.mark.parametrize(
    ("device", "layer", "pattern", "reason"),
    [
        (NM_DEVICE, linear(), "2:4", ""),
        (NM_DEVICE, linear(), "1:4", ""),
        (NM_DEVICE, linear(), "1:2", ""),
        (NM_DEVICE, linear(), "1:3", "skips 2:4 zeros of linear/float16, not 1:3 ones"),
        (NM_DEVICE, linear(), "3:4", "skips 2:4 zeros of linear/float16, not 3:4 ones"),
        (NM_DEVICE, linear(), "4:8", "skips 2:4 zeros of linear/float16, not 4:8 ones"),
        (NM_DEVICE, linear(), "unstructured", "skips 2:4 zeros of linear/float16, not unstructured ones"),
        (NM_DEVICE, linear(), "4x1", "skips 2:4 zeros of linear/float16, not 4x1 ones"),
        (NM_DEVICE, linear(outputs=15), "2:4", "from 16 x 32 x 8 .*, and this is 15 x 32 x 8"),
        (NM_DEVICE, linear(inputs=28), "2:4", "this is 16 x 28 x 8"),
        (NM_DEVICE, linear(rows=1), "2:4", "this is 16 x 32 x 1"),
        (NM_DEVICE, conv("float16"), "2:4", ""),
        (
            NM_DEVICE,
            replace(conv("float16"), op="conv1d"),
            "2:4",
            "no zero-skipping for conv1d/float16 on this",
        ),
        (replace(NM_DEVICE, dtype="int8"), linear(), "2:4", ""),
        (replace(NM_DEVICE, dtype="float32"), linear(), "2:4", "no zero-skipping for linear/float32 on this"),
        (GATING, conv(), "unstructured", ""),
        (GATING, conv(), "2:4", ""),
        (GATING, linear(dtype="int8"), "unstructured", "50.0 % zeros are too few"),
        (GATING, linear(dtype="int8"), "4x1", ""),
        (GATING, linear(dtype="int8"), "8x3", ""),
        (PLAIN, linear(), "2:4", "no zero-skipping for linear/float32 on this device"),
        (PLAIN, conv(), "unstructured", "no zero-skipping for conv2d/float32 on this device"),
    ],
)
def test_zeros_are_priced_only_where_op_dtype_shape_and_pattern_match(
    device: DeviceSpec, layer: LayerWork, pattern: str, reason: str
) -> None:
    price = sparse_price(device, layer, Zeros(parse_pattern(pattern), 0.5))
    assert bool(price.saved_j > 0) == (reason == "")
    assert bool(price.support) == (reason == "")
    if reason:
        assert price.saved_j == 0.0
        assert price.cost == layer_cost(device, layer)
        assert price.told.startswith("0 J: ")
        assert re.search(reason, price.reason), price.reason


def test_a_gate_saves_switched_energy_and_no_time() -> None:
    """A MAC takes 10 pJ, of which 1 W x 5 ps = 5 pJ are static. 80 % zeros at 0.5: 40 % of the other 5 pJ."""
    layer = conv()
    price = sparse_price(GATING, layer, Zeros(UNSTRUCTURED, 0.8))
    assert price.support is not None
    assert price.support.kind == "gate"
    assert price.saved_j == pytest.approx(115_200 * 5 * 0.4 * PICO, rel=1e-9)
    assert price.cost.duration_s == pytest.approx(price.dense.duration_s, rel=1e-9)
    assert price.cost.static_j == pytest.approx(115_200 * 5 * PICO, rel=1e-9)


@pytest.mark.parametrize("saved", [0.0, 0.25, 0.5, 1.0])
def test_time_that_is_saved_saves_static_energy_too(saved: float) -> None:
    (device,) = parse_devices(GATING_TEXT.replace("time_saved = 0.0", f"time_saved = {saved}"), "x.toml")
    price = sparse_price(device, conv(), Zeros(UNSTRUCTURED, 0.8))
    assert price.saved_j == pytest.approx(115_200 * 5 * 0.8 * (0.5 + saved) * PICO, rel=1e-4)
    assert price.cost.duration_s == pytest.approx(115_200 * 5e-12 * (1 - 0.8 * saved), rel=1e-4)


def test_compressed_weights_cost_their_bytes_by_hand() -> None:
    """1,152 weights of a byte; a quarter stays at 16 bits, which is half the bytes: 576 x 100 pJ saved."""
    device = replace(GATING, sparsity=GATING.sparsity[2:])
    price = sparse_price(device, conv(), Zeros(UNSTRUCTURED, 0.75))
    assert price.saved_j == pytest.approx(576 * 100 * PICO, rel=1e-9)
    few = sparse_price(device, conv(), Zeros(UNSTRUCTURED, 0.4))
    assert (few.saved_j, few.support) == (0.0, None)
    assert few.reason == "40.0 % zeros are too few to save anything on this device"


def test_blocks_by_hand() -> None:
    """Three quarters of 4,096 MACs x 10 pJ, static part included; of 512 bytes 128 x 10 bits are left."""
    price = sparse_price(GATING, linear(dtype="int8"), Zeros(parse_pattern("4x1"), 0.75))
    assert price.support is not None
    assert price.support.kind == "block"
    assert price.saved_j == pytest.approx((3072 * 10 + (512 - 160) * 100) * PICO, rel=1e-9)


def test_zero_activations_are_not_zero_weights() -> None:
    (device,) = parse_devices(GATING_TEXT.replace('operand = "weight"', 'operand = "activation"'), "x.toml")
    price = sparse_price(replace(device, sparsity=device.sparsity[:1]), conv(), Zeros(UNSTRUCTURED, 0.8))
    assert price.told == "0 J: this device skips zero activations of conv2d/int8, not zero weights"


def test_a_layer_without_zeros_costs_what_it_cost() -> None:
    price = sparse_price(GATING, conv(), Zeros(UNSTRUCTURED, 0.0))
    assert (price.saved_j, price.reason) == (0.0, "no weight is zero")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_zeros_never_add_energy_and_more_of_them_never_save_less(a: float, b: float, energy: float) -> None:
    entry = replace(GATING.sparsity[0], mac_energy_saved=energy, time_saved=energy / 2, bits_per_nonzero=12.0)
    device = replace(GATING, sparsity=(entry,))
    few, many = (sparse_price(device, conv(), Zeros(UNSTRUCTURED, z)) for z in sorted((a, b)))
    one_mac_j, one_byte_j = 10e-12, 100e-12  # both are whole numbers
    assert 0 <= few.saved_j <= many.saved_j + one_mac_j + one_byte_j
    assert many.cost.dynamic_j >= 0


def test_no_bundled_device_declares_what_no_source_says() -> None:
    """Vendors publish the throughput of 2:4 kernels, and no joules."""
    assert all(device.sparsity == () for device in all_devices())


def test_a_network_with_zeros_says_what_each_layer_saves() -> None:
    work = Workload("two", (linear(), replace(conv("float16"), path="stem", op="conv1d")))
    zeros = {"fc": TWO_OF_FOUR, "stem": Zeros(UNSTRUCTURED, 0.9)}
    dense, sparse = estimate(work, NM_DEVICE), estimate(work, NM_DEVICE, zeros=zeros)
    saved = sparse_price(NM_DEVICE, linear(), TWO_OF_FOUR).saved_j
    assert dense.total.value - sparse.total.value == pytest.approx(saved, rel=1e-9)
    told = "fc: 65.3 nJ; stem: 0 J: no zero-skipping for conv1d/float16 on this device"
    assert sparse.provenance["zero weights"] == told
    assert explain(sparse, device=NM_DEVICE).notes[0] == f"explained as if dense; zero weights save: {told}"


def test_a_written_device_reads_back_the_same() -> None:
    for device in (NM_DEVICE, GATING, PLAIN):
        assert parse_devices(to_toml([device]), "again.toml") == (device,)


def test_an_entry_may_hold_for_some_runtimes_only() -> None:
    other = NM_TEXT.split("[runtime.rt.float16]")[1].split("[[sparsity]]")[0]
    text = NM_TEXT + 'runtimes = ["rt"]\n' + f"[runtime.other.float16]{other}"
    with_it, without = parse_devices(text, "x.toml")
    assert (len(with_it.sparsity), without.sparsity) == (1, ())
    assert parse_devices(to_toml([with_it, without]), "again.toml") == (with_it, without)


def test_another_chip_takes_no_zeros_over() -> None:
    same = respecified(GATING, GATING.figures, mode="scaled")
    other = respecified(GATING, GATING.figures, mode="scaled", chip="other")
    assert (same.sparsity, other.sparsity) == (GATING.sparsity, ())
    assert describe(GATING).sparsity == GATING.sparsity
    assert [source.id for source in GATING.sources] == ["fit"]


def check(text: str, old: str, new: str, message: str) -> None:
    assert old in text
    with pytest.raises(DeviceFileError, match=message) as caught:
        parse_devices(text.replace(old, new), "x.toml")
    assert str(caught.value).startswith("x.toml: sparsity")


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (NM_TEXT, 'kind = "nm"\n', "", r"sparsity\[0\]\.kind is missing"),
        (NM_TEXT, '"nm"', '"nn"', r"sparsity\[0\]\.kind is 'nn'.*Choose one of: nm, block, gate, compressed"),
        (NM_TEXT, "mac_scale", "mac_scael", r"\[0\]\.mac_scael is not a known key\. Did you mean mac_scale"),
        (NM_TEXT, "mac_scale = 0.5\n", "", r"\[0\]\.mac_scale is missing"),
        (NM_TEXT, "mac_scale = 0.5", "mac_scale = 0", r"\[0\]\.mac_scale is 0, not above 0 to 1"),
        (NM_TEXT, "mac_scale = 0.5", "mac_scale = 1.5", r"\[0\]\.mac_scale is 1\.5, not above 0 to 1"),
        (NM_TEXT, "mac_scale = 0.5", "mac_scale = nan", r"\[0\]\.mac_scale is nan, not a finite number"),
        (NM_TEXT, "\nn = 2", "\nn = 4", r"\[0\]\.n is 4, not below m = 4"),
        (NM_TEXT, "\nn = 2", "\nn = 0", r"\[0\]\.n is 0, not a whole number from 1 up"),
        (NM_TEXT, "\nm = 4", "\nm = 4.5", r"\[0\]\.m is 4\.5, not a whole number"),
        (
            NM_TEXT,
            '["linear", "conv2d"]',
            '["softmax"]',
            r"\[0\]\.ops is 'softmax'.*conv1d, conv2d, conv3d, lin",
        ),
        (NM_TEXT, '["linear", "conv2d"]', '"linear"', r"\[0\]\.ops is 'linear', not a list"),
        (NM_TEXT, '["linear", "conv2d"]', "[]", r"\[0\]\.ops is \[\], not a list"),
        (NM_TEXT, '["float16", "int8"]', '["f16"]', r"\[0\]\.dtypes is 'f16'"),
        (NM_TEXT, "[16, 32, 8]", "[16, 32]", r"min_dims is \[16, 32\], not \[outputs, inputs, positions\]"),
        (NM_TEXT, "[16, 32, 8]", "[16, 0, 8]", r"\[0\]\.min_dims is 0, not a whole number from 1 up"),
        (NM_TEXT, '0.5625\nsource = "fit"', "0.5625", r"\[0\]\.source is missing"),
        (NM_TEXT, '0.5625\nsource = "fit"', '0.5625\nsource = "fitt"', r"Did you mean 'fit'"),
        (
            NM_TEXT,
            '0.5625\nsource = "fit"',
            '0.5625\nsource = "memory"',
            "rt/float16.*remembered.*make a prior",
        ),
        (NM_TEXT, "[[sparsity]]", "[sparsity]", r"is \{.*not a list of tables. Write \[\[sparsity\]\]"),
        (NM_TEXT, 'kind = "nm"', 'kind = "nm"\nruntimes = ["trt"]', r"\[0\]\.runtimes is 'trt'.*one of: rt"),
        (NM_TEXT, 'kind = "nm"', 'kind = "nm"\noperand = "weight"', r"\[0\]\.operand is not a known key"),
        (GATING_TEXT, '"weight"', '"bias"', r"\[0\]\.operand is 'bias'.*weight, activation"),
        (
            GATING_TEXT,
            "mac_energy_saved = 0.5",
            "mac_energy_saved = 2",
            r"\[0\]\.mac_energy_saved is 2, not from 0",
        ),
        (GATING_TEXT, "time_saved = 0.0", "time_saved = -1", r"\[0\]\.time_saved is -1, not from 0 to 1"),
        (
            GATING_TEXT,
            "bits_per_nonzero = 16",
            "bits_per_nonzero = 0",
            r"\[2\]\.bits_per_nonzero is 0, not above",
        ),
        (GATING_TEXT, "rows = 4", "rows = 1", r"\[1\]\.rows and columns are 1, which is no block"),
    ],
)
def test_mistakes_name_the_path_of_the_key(text: str, old: str, new: str, message: str) -> None:
    check(text, old, new, message)


def test_a_remembered_figure_may_make_a_prior() -> None:
    text = NM_TEXT.replace('0.5625\nsource = "fit"', '0.5625\nsource = "memory"')
    text = text.replace('mode = "calibrated-8"', 'mode = "datasheet"\nprior_only = true')
    assert len(parse_devices(text, "x.toml")[0].sparsity) == 1


@pytest.mark.parametrize(
    "text", ["2:2", "4:2", "0:4", "1x1", "2-4", "", "threshold", "2:4:8", "x4", "99999:4"]
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(UsageError, match="is no pattern of zeros"):
        parse_pattern(text)


def test_every_entry_is_shown_with_its_source() -> None:
    from io import StringIO

    from rich.console import Console

    from joulecut.reports.device_console import print_device

    assert all(
        entry in GATING_TEXT + NM_TEXT for entry in (BLOCK_ENTRY, COMPRESSED_ENTRY, GATE_ENTRY, NM_ENTRY)
    )
    shown = []
    for device in (GATING, NM_DEVICE, PLAIN):
        stream = StringIO()
        print_device(describe(device), Console(file=stream, width=250))
        shown.append(stream.getvalue())
    assert (
        "zero weights      │ conv2d" in shown[0].replace("  conv2d", "│ conv2d") or "zero weights" in shown[0]
    )
    for told in (
        "4x1 blocks of zeros",
        "16 bits for each other weight",
        "100.0 % of a MAC's switched energy",
    ):
        assert told in shown[0]
    assert "50.0 % of the MACs' energy and time left, 56.2 % of the weights' bytes" in shown[1]
    assert "16 x 32 x 8" in shown[1]
    assert "save no energy" in shown[2]
    assert "Zero weights that save energy" not in shown[2]
