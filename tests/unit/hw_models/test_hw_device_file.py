"""Device files are read strictly: every error names the file and the path of the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulecut.errors import DeviceFileError
from joulecut.hw_models.device_file import parse_devices, read_devices
from joulecut.hw_models.intervals import DATASHEET

GOOD = """
schema = 1
chip = "my-board"
category = "linux-board"
core = "4x Cortex-A72"
boundary = "board_ac"

[source.fit]
text = "my own fit"
evidence = "measured"
date = "2026-11"

[source.memory]
text = "from memory"
evidence = "remembered"

[common]
idle_w = { value = 2.8, source = "fit" }

[runtime.tflite.float32]
mode = "calibrated-5"
runtime_version = "2.7"
channel_step = { value = 4, source = "memory" }
pj_per_mac_dense = { value = 600.0, source = "fit", range = [550.0, 660.0] }
active_w = { value = 5.5, source = "fit" }
"""

BY_MACS = """pj_per_mac_dense = { value = 600.0, source = "fit", range = [550.0, 660.0] }
active_w = { value = 5.5, source = "fit" }"""
BY_CYCLES = """pj_per_cycle = { value = 300, source = "fit" }
clock_mhz = { value = 100, source = "fit" }
cycles_per_mac_dense = { value = 1.5, source = "fit" }
cycles_per_weight_byte = { value = 0.5, source = "fit" }"""
CYCLES = GOOD.replace(BY_MACS, BY_CYCLES)


def test_a_good_file() -> None:
    (spec,) = parse_devices(GOOD, "good.toml")
    assert spec.name == "my-board/tflite/float32"
    assert spec.boundary == "wall_ac"
    assert spec.interval.total_90 == pytest.approx(1.3)
    assert spec.channel_step == 4
    assert spec.pads == ()
    assert spec.coefficients.idle_w == 2.8
    figure = spec.figures["pj_per_mac_dense"]
    assert (figure.value, figure.unit, figure.low, figure.high) == (600.0, "pJ/MAC", 550.0, 660.0)
    assert (figure.source.id, figure.source.evidence, figure.source.date) == ("fit", "measured", "2026-11")
    assert spec.coefficients.j_per_mac_dense == spec.coefficients.j_per_mac_depthwise == 600e-12


def test_cycles_make_joules_and_watts() -> None:
    (spec,) = parse_devices(CYCLES, "good.toml")
    assert spec.coefficients.j_per_mac_dense == pytest.approx(450e-12)
    assert spec.coefficients.j_per_mac_depthwise == pytest.approx(450e-12)
    assert spec.coefficients.j_per_weight_byte == pytest.approx(150e-12)
    assert spec.coefficients.active_w == pytest.approx(0.03)
    assert spec.clock_hz == 100e6


def test_a_runtimes_own_figure_wins_over_the_common_one() -> None:
    text = GOOD + 'idle_w = { value = 1.5, source = "fit" }\n'
    (spec,) = parse_devices(text, "good.toml")
    assert spec.coefficients.idle_w == 1.5


def test_boundaries_of_other_vocabulary_are_mapped() -> None:
    (spec,) = parse_devices(GOOD.replace("board_ac", "rapl_packages"), "x.toml")
    assert spec.boundary == "cpu_package"


AT = "runtime.tflite.float32"
MODE = 'mode = "calibrated-5"'


def check(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(DeviceFileError, match=message) as caught:
        parse_devices(GOOD.replace(old, new, 1), "x.toml")
    assert str(caught.value).startswith("x.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "pj_per_mac_dense =",
            "pj_per_mac_dens =",
            r"pj_per_mac_dens is not a known key\..*pj_per_mac_dense",
        ),
        ("active_w =", "active =", r"active is not a known key \(a key ends in its unit\).*active_w"),
        ('{ value = 5.5, source = "fit" }', "5.5", "active_w is a number without a source.*{ value = 5.5"),
        ('value = 5.5, source = "fit"', "value = 5.5", "active_w.source is missing"),
        ('5.5, source = "fit"', '5.5, source = "fitt"', "active_w.source names 'fitt'.*Did you mean 'fit'"),
        ('5.5, source = "fit"', '5.5, source = "zzz"', r"Add a table \[source.zzz\]"),
        ('5.5, source = "fit"', '5.5, source = "memory"', "active_w is a remembered figure"),
        ("value = 5.5", "value = -5.5", "active_w.value is -5.5, below 0"),
        ("value = 5.5", "value = nan", "active_w.value is nan, not a finite number"),
        ("value = 5.5", "value = inf", "active_w.value is inf, not a finite number"),
        ("value = 5.5", "value = true", "active_w.value is True, not a finite number"),
        ("value = 5.5", 'value = "5 W"', "active_w.value is '5 W', not a finite number"),
        ("value = 5.5", "valeu = 5.5", "active_w.valeu is not a known key.*Did you mean value"),
        ("value = 5.5", "value = 1.5", "idle_w is 2.8, above active_w = 1.5"),
        ("value = 4,", "value = 4.5,", "channel_step.value is 4.5, not a whole number"),
        ("value = 4,", "value = 0,", "channel_step.value is 0, below 1"),
        ("[550.0, 660.0]", "[610.0, 660.0]", r"dense.range \[610, 660\] does not hold the value 600"),
        ("[550.0, 660.0]", "[550.0]", r"dense.range is \[550.0\], not \[low, high\]"),
        (MODE, "", "mode is missing"),
        ("calibrated-5", "guessed", "mode is 'guessed'.*Modes: datasheet"),
        ("calibrated-5", "latency-measured", "mode is 'latency-measured', which only an estimate can be"),
        (MODE, f"{MODE}\nprior_only = true", "mode is 'calibrated-5'; a device with prior_only"),
        (MODE, f'{MODE}\npads = ["in"]', "pads prices a remembered channel_step"),
        (MODE, f'{MODE}\npads = ["up"]', "pads is 'up'.*in, out"),
        (MODE, f"{MODE}\nnote = 3", "note is 3, not a str"),
    ],
)
def test_errors_in_a_device_name_the_key(old: str, new: str, message: str) -> None:
    check(old, new, message)
    if "source.zzz" not in message:
        check(old, new, rf"{AT}\.")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("idle_w =", "idle =", r"common.idle is not a known key \(a key ends in its unit\).*idle_w"),
        ('2.8, source = "fit"', '2.8, source = "memory"', "common.idle_w is a remembered figure"),
        (
            "pj_per_mac_dense = {",
            "pj_per_weight_byte = {",
            f"{AT} needs either pj_per_mac_dense or pj_per_cycle",
        ),
        ("tflite.float32", "tflite.float33", "runtime.tflite.float33 is 'float33'.*float32"),
        ("tflite.float32", "TFLite.float32", "runtime.TFLite is 'TFLite'"),
        ("runtime.tflite", "runtimes.tflite", "runtimes is not a known key.*Did you mean runtime"),
        ("schema = 1", "schema = 2", "schema is 2, not 1"),
        ("schema = 1", "schema 1", "x.toml is not TOML"),
        ('chip = "my-board"', "", "chip is missing"),
        ("my-board", "My Board", "chip is 'My Board'.*lower-case"),
        ("linux-board", "toaster", "category is 'toaster'"),
        ("board_ac", "battery", "boundary is 'battery'.*wall_ac"),
        ('evidence = "measured"', 'evidence = "guessed"', "source.fit.evidence is 'guessed'.*remembered"),
        ('text = "my own fit"', 'text = " "', "source.fit.text is ' ', not a text"),
        ("[source.memory]", "[source]\nx = 1\n[source.memory]", "x.toml"),
    ],
)
def test_errors_elsewhere_name_the_key(old: str, new: str, message: str) -> None:
    check(old, new, message)


def test_an_active_power_of_nothing() -> None:
    text = GOOD.replace('[common]\nidle_w = { value = 2.8, source = "fit" }', "").replace(
        "value = 5.5", "value = 0"
    )
    with pytest.raises(DeviceFileError, match=f"{AT}.active_w.value is 0"):
        parse_devices(text, "x.toml")


@pytest.mark.parametrize("key", ["clock_mhz", "cycles_per_mac_dense", "channel_step"])
def test_a_core_by_cycles_needs_its_clock_and_macs(key: str) -> None:
    lines = [line for line in CYCLES.splitlines() if not line.startswith(f"{key} =")]
    with pytest.raises(DeviceFileError, match=f"{AT}.{key} is missing"):
        parse_devices("\n".join(lines), "x.toml")


def test_static_energy_cannot_exceed_the_whole() -> None:
    slow = GOOD.replace("active_w = { value = 5.5", "ps_per_mac = { value = 300")
    with pytest.raises(DeviceFileError, match=f"{AT}.idle_w times ps_per_mac is 840 pJ/MAC"):
        parse_devices(slow, "x.toml")


def test_a_prior_may_hold_remembered_figures() -> None:
    text = GOOD.replace('mode = "calibrated-5"', 'mode = "datasheet"\nprior_only = true')
    (spec,) = parse_devices(text.replace('5.5, source = "fit"', '5.5, source = "memory"'), "x.toml")
    assert spec.prior_only
    assert spec.interval.total_90 == pytest.approx(DATASHEET)
    assert spec.figures["active_w"].source.evidence == "remembered"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceFileError, match="cannot read the device file"):
        read_devices(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeviceFileError, match="not a text file"):
        read_devices(tmp_path / "binary.toml")


def test_a_file_without_devices() -> None:
    head = GOOD.split("[runtime", maxsplit=1)[0]
    with pytest.raises(DeviceFileError, match="runtime is missing"):
        parse_devices(head, "x.toml")
    with pytest.raises(DeviceFileError, match="runtime holds no device"):
        parse_devices(head + "[runtime]\n", "x.toml")
