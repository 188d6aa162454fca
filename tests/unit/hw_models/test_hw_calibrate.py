"""Calibration: coefficients that made the rows come back, rows that cannot be true are refused."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hw_devices import BOARD, CORE
from hw_networks import add, conv, depthwise, linear, resnet8
from numpy.typing import NDArray

from joulecut.errors import UsageError
from joulecut.hw_models import calibrate, device, estimate, to_toml
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.device_file import parse_devices
from joulecut.hw_models.fitting import fit
from joulecut.hw_models.resolve import respecified
from joulecut.hw_models.spec import DeviceSpec, Figure
from joulecut.workload.layer import Workload

Row = tuple[Workload, float | None, float | None]


def net(name: str, size: int, width: int, *, deep: int = 1, tail: int = 10) -> Workload:
    layers = [conv("stem", size, size, 3, width, 3)]
    for i in range(deep):
        layers += [depthwise(f"d{i}", size, width), conv(f"p{i}", size, size, width, width, 1)]
    layers += [add("add", size, width), linear("fc", width, tail)]
    return Workload(name, tuple(layers))


NETS = (
    net("a", 32, 16),
    net("b", 64, 32, deep=2),
    net("c", 16, 256, deep=4, tail=1000),
    net("d", 8, 64, deep=12),
    net("e", 96, 8, deep=6),
    net("f", 4, 512, deep=8, tail=4000),
    net("g", 112, 24),
    net("h", 7, 320, deep=20),
)


def other(spec: DeviceSpec, factors: dict[str, float]) -> DeviceSpec:
    """The same device with figures times factors."""
    figures = {
        key: replace(figure, value=figure.value * factors.get(key, 1.0))
        for key, figure in spec.figures.items()
    }
    return respecified(spec, figures, mode=spec.mode)


def rows_of(spec: DeviceSpec, nets: tuple[Workload, ...] = NETS) -> list[Row]:
    found: list[Row] = []
    for each in nets:
        profile = estimate(each, spec)
        found.append((each, profile.total.value, profile.duration.value))
    return found


TRUTH = other(
    BOARD,
    {
        "pj_per_mac_dense": 0.8, "pj_per_mac_depthwise": 2.0, "pj_per_activation_byte": 1.5,
        "uj_per_layer": 0.4, "pj_per_weight_byte": 0.6, "active_w": 1.4,
    },
)  # fmt: skip


def test_a_scale_is_found_from_one_network() -> None:
    twice = other(BOARD, {key: 2.0 for key in BOARD.figures if key.startswith(("pj", "uj"))})
    found = calibrate(BOARD, rows_of(twice, NETS[:1]))
    assert found.mode == "calibrated-1"
    for each in NETS:
        assert estimate(each, found).total.value == pytest.approx(
            2 * estimate(each, BOARD).total.value, rel=1e-3
        )


def test_eight_networks_give_the_shape_too() -> None:
    found = calibrate(BOARD, rows_of(TRUTH))
    assert found.coefficients.active_w == pytest.approx(7.0, rel=1e-9)
    unseen = net("unseen", 48, 48, deep=3)
    truth, before = (estimate(unseen, each).total.value for each in (TRUTH, BOARD))
    assert estimate(unseen, found).total.value == pytest.approx(truth, rel=0.02)
    assert abs(before / truth - 1) > 0.05
    assert found.calibration is not None
    assert max(abs(row.residual) for row in found.calibration.rows) < 0.02
    assert all(0.1 < found.figures[key].value / BOARD.figures[key].value < 10 for key in found.figures
               if key.startswith(("pj", "uj")))  # fmt: skip


def test_a_core_is_calibrated_in_cycles() -> None:
    truth = other(CORE, {"pj_per_cycle": 1.5, "cycles_per_mac_dense": 1.3, "cycles_per_mac_depthwise": 0.5})
    found = calibrate(CORE, rows_of(truth))
    assert found.figures["pj_per_cycle"].value == pytest.approx(450, rel=1e-9)
    assert found.figures["cycles_per_mac_dense"].value == pytest.approx(1.95, rel=0.02)
    for each in NETS:
        assert estimate(each, found).duration.value == pytest.approx(
            estimate(each, truth).duration.value, rel=0.02
        )


def test_latencies_and_one_power_reading() -> None:
    timed: list[Row] = [(each, None, seconds) for each, _, seconds in rows_of(TRUTH)]
    by_power = calibrate(BOARD, timed, power_w=7.0)
    by_row = calibrate(BOARD, [(NETS[0], rows_of(TRUTH)[0][1], timed[0][2]), *timed[1:]])
    for each in NETS:
        energy_j = estimate(each, TRUTH).total.value
        assert estimate(each, by_power).total.value == pytest.approx(energy_j, rel=0.03)
        assert estimate(each, by_row).total.value == pytest.approx(energy_j, rel=0.03)
    assert by_power.calibration is not None
    assert by_power.calibration.power_w == 7.0


def test_energies_without_latencies() -> None:
    found = calibrate(CORE, [(each, 2 * joules, None) for each, joules, _ in rows_of(CORE) if joules])
    assert found.figures["pj_per_cycle"].value == pytest.approx(600, rel=1e-3)
    assert found.figures["cycles_per_mac_dense"].value == pytest.approx(1.5, rel=1e-3)


def test_one_wild_row_does_not_carry_the_fit_away() -> None:
    rows = rows_of(TRUTH)
    wild = [(rows[0][0], 3 * (rows[0][1] or 0), rows[0][2]), *rows[1:]]
    unseen = net("unseen", 48, 48, deep=3)
    truth = estimate(unseen, TRUTH).total.value
    found = calibrate(BOARD, wild)
    assert estimate(unseen, found).total.value == pytest.approx(truth, rel=0.1)
    assert found.interval.total_90 > 1.3  # beyond the mode's 1.25


def test_fit_against_least_squares_in_logs() -> None:
    rng = np.random.default_rng(0)
    counts = rng.uniform(0.1, 1.0, (12, 3))
    values = counts @ np.array([1.0, 3.0, 0.5]) * np.exp(rng.normal(0, 0.01, 12))
    found = fit(counts, values, np.array([1.2, 2.0, 0.6]), shape_sd=100.0)

    from scipy.optimize import least_squares

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(counts @ np.exp(logs)) - np.log(values))

    free = least_squares(residuals, np.zeros(3), xtol=1e-12)
    assert found.shape * found.scales[0] == pytest.approx(np.exp(free.x), rel=0.01)


def test_groups_share_a_shape_and_keep_their_scales() -> None:
    counts = np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 2.0], [3.0, 1.0]])
    values = counts @ np.array([2.0, 5.0]) * np.array([1.0, 1.0, 4.0, 4.0])
    found = fit(counts, values, np.array([1.0, 1.0]), np.array([0, 0, 1, 1]), shape_sd=100.0)
    assert found.scales[1] / found.scales[0] == pytest.approx(4, rel=1e-4)
    assert found.shape[1] / found.shape[0] == pytest.approx(2.5, rel=1e-3)


def test_the_file_loads_back_equal_and_says_where_it_is_from() -> None:
    found = calibrate(BOARD, rows_of(TRUTH), chip="my-board")
    (again,) = parse_devices(to_toml([found], comment="mine"), "mine.toml")
    assert again == found
    assert again.name == "my-board/rt/float32"
    assert again.calibration is not None
    assert again.calibration.prior == "board/rt/float32"
    assert [row.network for row in again.calibration.rows] == [each.name for each in NETS]
    assert len(again.calibration.digest) == 64
    assert any("fit to 8 measured networks" in source.text for source in again.sources)
    assert calibrate(BOARD, rows_of(TRUTH)).calibration == again.calibration


def test_a_calibrated_device_can_be_calibrated_again() -> None:
    once = calibrate(BOARD, rows_of(TRUTH))
    twice = calibrate(once, [(each, 3 * (joules or 0), None) for each, joules, _ in rows_of(TRUTH)[:3]])
    (again,) = parse_devices(to_toml([twice]), "twice.toml")
    assert again == twice
    assert twice.mode == "calibrated-3"


@pytest.mark.parametrize("spec", all_devices(), ids=lambda spec: spec.name)
def test_every_bundled_device_can_be_a_prior(spec: DeviceSpec) -> None:
    (loaded,) = parse_devices(to_toml([spec]), "copy.toml")
    assert loaded == spec
    if spec.mode == "definition":
        with pytest.raises(UsageError, match="exists on paper only"):
            calibrate(spec, [(resnet8(), 1e-3, 1e-2)])
        return
    found = calibrate(spec, [(resnet8(), 1e-3, 1e-2)])
    assert estimate(resnet8(), found).total.value == pytest.approx(1e-3, rel=0.01)
    assert not found.prior_only
    assert parse_devices(to_toml([found]), "found.toml") == (found,)


GOOD: list[Row] = [(NETS[0], 1e-3, 1e-2), (NETS[1], 8e-3, 9e-2)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "takes 1 to 16 rows, not 0"),
        ([(net(str(i), 8, 8 + i), 1e-3, None) for i in range(17)], "takes 1 to 16 rows, not 17"),
        ([(NETS[0], 0.0, None)], r"the energy of row 1 \(a\) is 0.0 J, which is not a positive number"),
        ([(NETS[0], -1.0, None)], "is -1.0 J, which is not a positive number"),
        ([(NETS[0], math.nan, None)], "is nan J"),
        ([(NETS[0], 1.0, math.inf)], r"the latency of row 1 \(a\) is inf s"),
        ([(NETS[0], None, None)], r"row 1 \(a\) has neither joules nor seconds"),
        ([(NETS[0], None, 1e-2)], "a has a latency only, and no power turns it into joules"),
        ([(Workload("empty", ()), 1.0, None)], r"row 1 \(empty\) has no layers"),
        ([*GOOD, GOOD[0]], r"rows 1 and 3 are the same \(a\)"),
        ([*GOOD, (NETS[0], 2e-3, 1e-2)], "rows 1 and 3 contradict each other: one network"),
        ([GOOD[0], (NETS[1], 8.0, 9e-2)], "a runs at 100 mW, b at 88.9 W.*check the units"),
        ([(NETS[0], 1e-3, None), (NETS[1], 2e-4, None)], "b does no less of anything than a"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_fitted_to(rows: list[Row], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibrate(BOARD, rows)


def test_bad_power_and_name() -> None:
    with pytest.raises(UsageError, match="the power reading is 0 W"):
        calibrate(BOARD, [(NETS[0], None, 1e-2)], power_w=0)
    with pytest.raises(UsageError, match="'My Board' is no name of a device"):
        calibrate(BOARD, GOOD, chip="My Board")


def test_nothing_that_the_device_prices() -> None:
    only_macs = device("nvidia-h100-pcie-80gb/tensorrt-batched/int8")
    with pytest.raises(UsageError, match="a row holds nothing that nvidia-h100"):
        calibrate(only_macs, [(Workload("sum", (add("a", 4, 4),)), 1e-3, None)])


def test_remembered_figures_do_not_survive_a_calibration() -> None:
    found = calibrate(device("raspberry-pi-5/tflite/float32"), GOOD)
    priced = [figure for figure in found.figures.values() if figure.source.evidence == "remembered"]
    assert {figure.key for figure in priced} <= {"channel_step"}
    idle = Figure("idle_w", 100.0, "W", BOARD.figures["idle_w"].source)
    hot = respecified(BOARD, {**BOARD.figures, "idle_w": idle, "active_w": replace(idle, key="active_w")},
                      mode=BOARD.mode)  # fmt: skip
    assert "idle_w" not in calibrate(hot, GOOD).figures


def test_the_same_bits_in_another_process() -> None:
    code = (
        "from joulecut.hw_models import calibrate, device, to_toml\n"
        "from joulecut.workload.layer import LayerWork, Workload\n"
        "fc = LayerWork('fc', 'linear', 'dense', 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)\n"
        "board, rows = device('odroid-n2plus/tflite/int8'), [(Workload('w', (fc,)), 2e-3, 1e-3)]\n"
        "print(to_toml([calibrate(board, rows)]))"
    )
    outs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(2)
    }
    assert len(outs) == 1
