"""The bundled devices, and how a device is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from joulecut.errors import UnknownDevice, UsageError
from joulecut.hw_models import describe, device, names
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.figures import PRIOR_KEYS
from joulecut.hw_models.host import instruction_set
from joulecut.hw_models.intervals import DATASHEET

DEVICES = all_devices()
FILE = """
schema = 1
chip = "mine"
category = "linux-board"
core = "core"
boundary = "wall_ac"
[source.s]
text = "measured"
evidence = "measured"
[runtime.a.float32]
mode = "scaled"
channel_step = { value = 1, source = "s" }
pj_per_mac_dense = { value = 1.0, source = "s" }
"""


def test_every_bundled_file_loads_under_its_listed_name() -> None:
    assert tuple(spec.name for spec in DEVICES) == names()
    for spec in DEVICES:
        assert device(spec.name) == spec


def test_enough_devices_of_each_kind_with_measured_energy() -> None:
    assert len(DEVICES) >= 35
    assert sum(not spec.prior_only for spec in DEVICES) >= 25
    chips = {(spec.category, spec.chip) for spec in DEVICES if not spec.prior_only}
    assert len(chips) >= 25
    counts = {kind: sum(1 for category, _ in chips if category == kind) for kind, _ in chips}
    assert counts["microcontroller"] >= 8
    assert counts["linux-board"] >= 4
    assert counts["accelerator"] >= 10
    assert counts["server-cpu"] >= 1
    assert counts["reference"] == 1
    cores = " ".join(spec.core for spec in DEVICES)
    assert all(core in cores for core in ("Cortex-M0+", "Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M85"))


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_every_figure_has_a_source_and_remembered_ones_only_make_priors(spec: object) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    for key, figure in chosen.figures.items():
        assert figure.source.text
        assert figure.unit
        if figure.source.evidence == "remembered":
            assert chosen.prior_only or key in PRIOR_KEYS
    shown = describe(chosen)
    assert shown.name == chosen.name
    assert shown.figures == tuple(chosen.figures.values())
    assert {figure.source for figure in shown.figures} == set(shown.sources)


def test_names_that_others_build_on() -> None:
    promised = {
        "reference/edge/float32",
        "raspberry-pi-4b/tflite/float32",
        "raspberry-pi-4b/armnn-neon/int8",
        "nucleo-l4r5zi/x-cube-ai/int8",
        "jetson-xavier-nx/tensorrt/int8",
    }
    assert promised <= set(names())


def test_the_reference_is_a_definition() -> None:
    spec = device("reference/edge/float32")
    assert {key: figure.value for key, figure in spec.figures.items()} == {
        "channel_step": 4, "pj_per_mac_dense": 4, "pj_per_weight_byte": 20, "pj_per_activation_byte": 20,
    }  # fmt: skip
    assert spec.pads == ("in", "out")
    assert spec.boundary == spec.mode == "definition"
    assert spec.interval.total_90 == 1.0


def test_only_the_reference_pads() -> None:
    assert [spec.name for spec in DEVICES if spec.pads] == ["reference/edge/float32"]


def test_priors_are_wide() -> None:
    for spec in DEVICES:
        assert spec.prior_only == (spec.mode == "datasheet")
        assert spec.interval.total_90 >= (DATASHEET - 1e-9 if spec.prior_only else 1.0)


def test_unknown_device_offers_close_names() -> None:
    with pytest.raises(UnknownDevice, match="raspberry-pi-4b/tflite/float32"):
        device("raspberry-pi-4b")
    with pytest.raises(UnknownDevice) as caught:
        device("nucleo-l4r5zi/x-cube/int8")
    assert "nucleo-l4r5zi/x-cube-ai/int8" in caught.value.close
    for name in ("", "zzzzzz", "../etc/passwd", "reference/edge/int8", "x" * 10_000):
        with pytest.raises(UnknownDevice):
            device(name)


def test_a_file_with_one_device(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    assert device(str(path)).name == "mine/a/float32"
    assert device(f"{path}#a/float32").name == "mine/a/float32"
    with pytest.raises(UnknownDevice, match="a/float32"):
        device(f"{path}#b/float32")


def test_a_file_with_several_devices_needs_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE + FILE[FILE.index("[runtime") :].replace("float32", "int8"))
    assert device(f"{path}#a/int8").dtype == "int8"
    with pytest.raises(UsageError, match="holds 2 devices") as caught:
        device(str(path))
    assert f"{path}#a/int8" in caught.value.hint


def test_auto_is_a_prior_for_the_host() -> None:
    spec = device("auto")
    assert spec.category == "host"
    assert spec.prior_only


def test_channel_steps_by_instruction_set() -> None:
    assert device("generic-x86-64-avx512/any/float32").channel_step == 16
    assert device("generic-x86-64-avx2/any/float32").channel_step == 8


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("x86_64", "flags: avx avx2 avx512f", "x86-64-avx512"),
        ("AMD64", "", "x86-64-avx2"),
        ("x86_64", "flags: avx2 avx512fp16x", "x86-64-avx2"),
        ("aarch64", "Features : fp asimd", "aarch64"),
    ],
)
def test_instruction_set(machine: str, cpuinfo: str, expected: str) -> None:
    assert instruction_set(machine, cpuinfo) == expected


def test_a_host_of_another_kind() -> None:
    with pytest.raises(UsageError, match="no generic device for a riscv64"):
        instruction_set("riscv64", "")


def test_importing_and_pricing_never_import_torch() -> None:
    code = (
        "import sys; import joulecut.hw_models as h; h.estimate; h.explain; h.describe(h.device('auto'));"
        "assert not {'torch', 'numpy', 'onnx', 'rich', 'pickle'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_in_the_package() -> None:
    import joulecut.hw_models

    assert not hasattr(joulecut.hw_models, "nothing")
    for name in joulecut.hw_models.__all__:
        assert getattr(joulecut.hw_models, name) is not None
