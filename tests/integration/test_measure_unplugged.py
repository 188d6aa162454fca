"""A machine with a GPU and a processor, whose library, rights and files are taken away one by one.

Messages and labels change with each; a figure is measured, or there is none. The GPU draws 100 W, the package
20 W and its DRAM 3 W throughout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from powercap_tree import PowercapTree
from unprivileged import DROP, shared_folder

Build = Callable[..., Path]
GPU_W, PACKAGE_W, DRAM_W = 100.0, 20.0, 3.0
SCHEDULE = "gpu\ntick 0.02\nwatts 100\n"
REHEARSED = "rehearsed\n"
BEFORE = f"""
import sys
from joulecut.cli.main import main
main([*sys.argv[1:-2], "true"])
for stream in (sys.stdout, sys.stderr):
    stream.write({REHEARSED!r})
    stream.flush()
"""
"""A first run imports everything, as modules may be root's alone, before the rights are dropped."""


@dataclass
class Machine:
    """A folder that everybody may enter, with NVIDIA's library, its schedule, and a live powercap tree."""

    folder: Path
    tree: PowercapTree

    @property
    def library(self) -> Path:
        return self.folder / "libnvidia-ml.so.1"

    def schedule(self, text: str) -> None:
        (self.folder / "schedule.txt").write_text(text)

    def measure(self, *, sensor: str = "auto") -> Outcome:
        """``joulecut measure`` of 0.4 s of sleep, as a user without rights."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        mine = {"NVML_STUB_SCHEDULE": str(self.folder / "schedule.txt"), "LD_LIBRARY_PATH": str(self.folder)}
        words = ["measure", "--json", "--idle", "0", "--sensor", sensor]
        words += ["--powercap-root", str(self.tree.root), "--", "sleep", "0.4"]
        done = subprocess.run(
            [sys.executable, "-c", f"{BEFORE}\n{DROP}\nsys.exit(main(sys.argv[1:]))", *words],
            env=inherited | mine,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(
            done.returncode, done.stdout.rpartition(REHEARSED)[2], done.stderr.rpartition(REHEARSED)[2]
        )


@dataclass(frozen=True)
class Outcome:
    """What the command exited with and said."""

    code: int
    stdout: str
    stderr: str

    def measured(self, watts: float) -> dict[str, Any]:
        """The measurement, all of whose figures were measured, with so many watts in its total."""
        assert self.code == 0, self.stderr
        plain: dict[str, Any] = json.loads(self.stdout)
        assert {figure["origin"] for figure in _figures(plain)} == {"measured"}
        counted = [domain for domain in plain["domains"] if domain["counted"]]
        assert plain["total"]["value"] == pytest.approx(sum(one["energy"]["value"] for one in counted))
        assert plain["total"]["lo"] <= watts * plain["duration_s"] <= plain["total"]["hi"]
        return plain

    def refused(self) -> str:
        """The one sentence of a measurement that could not be made; nothing was run and nothing printed."""
        assert (self.code, self.stdout) == (125, "")
        assert self.stderr.count("\n") == 1
        return self.stderr


def _figures(plain: Any) -> Iterator[dict[str, Any]]:
    if isinstance(plain, dict):
        if "origin" in plain:
            yield plain
        for part in plain.values():
            yield from _figures(part)
    elif isinstance(plain, list):
        for part in plain:
            yield from _figures(part)


def _names(plain: dict[str, Any]) -> list[str]:
    return [domain["name"] for domain in plain["domains"] if domain["counted"]]


@pytest.fixture
def machine(nvml_library: Build) -> Iterator[Machine]:
    with shared_folder() as folder:
        tree = PowercapTree(folder)
        tree.add("intel-rapl:0", "package-0", watts=PACKAGE_W)
        tree.add("intel-rapl:0:0", "dram", watts=DRAM_W)
        made = Machine(folder, tree)
        shutil.copy(nvml_library(), made.library)
        made.schedule(SCHEDULE)
        with tree.live_process():
            yield made


def test_with_everything_in_place_gpu_and_processor_add_up(machine: Machine) -> None:
    plain = machine.measure().measured(GPU_W + PACKAGE_W + DRAM_W)
    assert (plain["sensor"], _names(plain)) == ("nvml+rapl", ["gpu:0", "package:0", "dram:0"])
    assert plain["reasons"] == [] or plain["quality"] == "degraded"
    assert plain["provenance"]["sensor_chosen"].endswith("powercap is used for package:0, dram:0")


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("error nvmlInitWithFlags 4\n" + SCHEDULE, "NVIDIA's driver refuses this user"),
        (SCHEDULE + "error nvmlDeviceGetTotalEnergyConsumption 4\nerror nvmlDeviceGetFieldValues 4\n"
         "error nvmlDeviceGetPowerUsage 4\n", "does not let this user read the energy of GPU 0"),
        (SCHEDULE + "mig 1\n", "is split by MIG"),
        ("error nvmlInitWithFlags 18\n" + SCHEDULE, "different versions"),
    ],
)  # fmt: skip
def test_a_gpu_that_is_there_and_cannot_be_read_is_said_beside_the_processors_joules(
    machine: Machine, schedule: str, why: str
) -> None:
    machine.schedule(schedule)
    plain = machine.measure().measured(PACKAGE_W + DRAM_W)
    assert _names(plain) == ["package:0", "dram:0"]
    (said,) = [reason for reason in plain["reasons"] if "GPU" in reason]
    assert said.startswith("the GPUs could not be read and are in no figure: ")
    assert why in said
    assert why in machine.measure(sensor="nvml").refused()


def test_without_the_library_there_is_no_gpu_and_provenance_says_so(machine: Machine) -> None:
    machine.library.unlink()
    plain = machine.measure().measured(PACKAGE_W + DRAM_W)
    assert not any("GPU" in reason for reason in plain["reasons"])
    assert "nvml is not used: NVIDIA's library" in plain["provenance"]["sensor_chosen"]


def test_without_the_gpus_counter_its_power_is_integrated_and_called_so(machine: Machine) -> None:
    machine.schedule(SCHEDULE + "error nvmlDeviceGetTotalEnergyConsumption 3\n")
    plain = machine.measure().measured(GPU_W + PACKAGE_W + DRAM_W)
    (gpu,) = [domain for domain in plain["domains"] if domain["name"] == "gpu:0"]
    assert "integrated" in gpu["source"]
    assert "integrated" in gpu["energy"]["method"]


def test_a_processor_that_may_not_be_read_is_said_beside_the_gpus_joules(machine: Machine) -> None:
    (machine.tree.folder("intel-rapl:0") / "energy_uj").chmod(0)
    plain = machine.measure().measured(GPU_W)
    assert _names(plain) == ["gpu:0"]
    (said,) = [reason for reason in plain["reasons"] if "processor" in reason]
    assert "may not be read" in said
    assert "`joulecut doctor` says what it takes" in said


def test_a_part_of_the_total_that_is_gone_takes_the_total_with_it(machine: Machine) -> None:
    (machine.tree.folder("intel-rapl:0:0") / "energy_uj").unlink()
    plain = machine.measure().measured(GPU_W)
    assert any("a total without it would be too small" in reason for reason in plain["reasons"])
    assert "would be too small" in machine.measure(sensor="rapl").refused()


def test_without_the_range_a_window_that_does_not_wrap_has_a_figure(machine: Machine) -> None:
    for zone in machine.tree.counters:
        (machine.tree.folder(zone) / "max_energy_range_uj").unlink()
    assert _names(machine.measure(sensor="rapl").measured(PACKAGE_W + DRAM_W)) == ["package:0", "dram:0"]


def test_with_all_taken_away_nothing_runs_and_the_first_thing_to_do_is_said(machine: Machine) -> None:
    machine.library.unlink()
    counter = machine.tree.folder("intel-rapl:0") / "energy_uj"
    counter.chmod(0)
    denied = machine.measure().refused()
    assert f"{counter.name} may not be read. To allow it for good" in denied
    counter.chmod(0o644)
    shutil.rmtree(machine.tree.root)
    missing = machine.measure().refused()
    assert "no energy sensor answers" in missing
    assert "nvml: NVIDIA's library" in missing
    assert "`joulecut doctor`" in missing
